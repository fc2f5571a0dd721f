"""The sidebar: which experiments are in view, which seed, and whether answers are shown."""

import streamlit as st

from cwac.intake import shown
from cwac.ui import selection
from cwac.ui.experiments import Experiment, Listing
from cwac.ui.widgets import REVEAL, plain


def pick_experiments(listing: Listing) -> list[Experiment]:
    """Draw the pickers of the sidebar; return the chosen experiment and those compared with it."""
    if not listing.experiments:
        st.sidebar.caption("No run is stored yet.")
        return []
    titles = {e.experiment_id: e.title for e in listing.experiments}
    chosen = selection.current()
    if chosen.experiment not in titles:
        if chosen.experiment is not None:
            name = shown(chosen.experiment)
            st.sidebar.warning(plain(f"The experiment {name} of the link is not stored."))
        selection.select(experiment=next(iter(titles)), overlay=())
    with st.sidebar:
        st.session_state["_experiment"] = selection.current().experiment
        st.selectbox(
            "Experiment",
            list(titles),
            format_func=lambda name: titles.get(name, name),
            key="_experiment",
            on_change=_take_experiment,
            help="Runs that differ in method and seed alone, so that they can be compared.",
        )
        # The box cuts long names; here they wrap.
        chosen_one = listing.experiment(selection.current().experiment)
        if chosen_one is not None:
            runs = len(chosen_one.records)
            st.caption(plain(f"{chosen_one.title}: {runs} run{'s' if runs != 1 else ''}"))
        others = [name for name in titles if name != selection.current().experiment]
        overlay = [name for name in selection.current().overlay if name in others]
        if others:
            st.session_state["_overlay"] = overlay
            st.multiselect(
                "Compare with",
                others,
                format_func=lambda name: titles.get(name, name),
                key="_overlay",
                on_change=lambda: selection.select(overlay=tuple(st.session_state["_overlay"])),
                placeholder="other experiments",
            )
    wanted = [selection.current().experiment, *overlay]
    picked = [experiment for name in wanted if (experiment := listing.experiment(name)) is not None]
    _pick_seed(picked)
    return picked


def _take_experiment() -> None:
    # What was selected inside the old experiment means nothing in the new one.
    selection.select(
        experiment=st.session_state["_experiment"],
        overlay=(),
        arms=(),
        seed=None,
        arm=None,
        prompt=None,
        categories=(),
        judges=(),
    )


def _pick_seed(picked: list[Experiment]) -> None:
    seeds = sorted({record.config.seed for e in picked for record in e.records})
    with st.sidebar:
        if len(seeds) > 1:
            chosen = selection.current().seed
            st.session_state["_seed"] = chosen if chosen in seeds else seeds[0]
            st.selectbox(
                "Seed of single-run views",
                seeds,
                key="_seed",
                on_change=lambda: selection.select(seed=st.session_state["_seed"]),
                help="Rates, claims, curves, heatmaps and flip tables use every seed; the table of "
                "requests and the answers show this one.",
            )
        st.session_state["_reveal"] = selection.current().reveal
        st.toggle(
            REVEAL,
            key="_reveal",
            on_change=lambda: selection.select(reveal=st.session_state["_reveal"]),
            help="Off: they stay hidden, and exports leave them out. A link never turns it on.",
        )
