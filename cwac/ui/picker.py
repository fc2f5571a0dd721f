"""The sidebar: what acts on the page in view of experiment, further ones, seed, hidden answers."""

import streamlit as st

from cwac.ui import selection
from cwac.ui.experiments import Experiment, Listing
from cwac.ui.links import replace_experiment
from cwac.ui.navigation import PageSpec
from cwac.ui.widgets import REVEAL, plain


def pick_experiments(listing: Listing, page: PageSpec) -> list[Experiment]:
    """Return the chosen experiment and those compared with it; draw the pickers that `page` uses.

    What is not drawn stays chosen: it acts again on the next page that uses it.
    """
    used = page.used(selection.current().tab)
    picked = _pick_experiments(listing, used)
    if "seed" in used:
        _pick_seed(picked)
    if "reveal" in used:
        _offer_reveal()
    return picked


def _pick_experiments(listing: Listing, used: frozenset[str]) -> list[Experiment]:
    if not listing.experiments:
        if "experiment" in used:
            st.sidebar.caption("No run is stored yet.")
        return []
    titles = {e.experiment_id: e.title for e in listing.experiments}
    replace_experiment(listing)
    others = [name for name in titles if name != selection.current().experiment]
    overlay = [name for name in selection.current().overlay if name in others]
    with st.sidebar:
        if "experiment" in used:
            _choose_experiment(listing, titles)
        if "overlay" in used and others:
            _choose_overlay(others, overlay, titles)
    wanted = [selection.current().experiment, *overlay]
    return [experiment for name in wanted if (experiment := listing.experiment(name)) is not None]


def _choose_experiment(listing: Listing, titles: dict[str, str]) -> None:
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
    chosen = listing.experiment(selection.current().experiment)
    if chosen is not None:
        runs = len(chosen.records)
        st.caption(plain(f"{chosen.title}: {runs} run{'s' if runs != 1 else ''}"))


def _choose_overlay(others: list[str], overlay: list[str], titles: dict[str, str]) -> None:
    st.session_state["_overlay"] = overlay
    st.multiselect(
        "Compare with",
        others,
        format_func=lambda name: titles.get(name, name),
        key="_overlay",
        on_change=lambda: selection.select(overlay=tuple(st.session_state["_overlay"])),
        placeholder="other experiments",
    )


def _take_experiment() -> None:
    # What was selected inside the old experiment means nothing in the new one.
    selection.select(
        experiment=st.session_state["_experiment"],
        overlay=(),
        arms=(),
        seed=None,
        at=None,
        arm=None,
        prompt=None,
        categories=(),
        judges=(),
    )


def _pick_seed(picked: list[Experiment]) -> None:
    seeds = sorted({record.config.seed for e in picked for record in e.records})
    if len(seeds) < 2:
        return
    chosen = selection.current().seed
    st.session_state["_seed"] = chosen if chosen in seeds else seeds[0]
    st.sidebar.selectbox(
        "Seed of single-run views",
        seeds,
        key="_seed",
        on_change=lambda: selection.select(seed=st.session_state["_seed"]),
        help="Rates and curves use every seed; the answers of single requests show this one.",
    )


def _offer_reveal() -> None:
    st.session_state["_reveal"] = selection.current().reveal
    st.sidebar.toggle(
        REVEAL,
        key="_reveal",
        on_change=lambda: selection.select(reveal=st.session_state["_reveal"]),
        help="Off: they stay hidden, and exports leave them out. A link never turns it on.",
    )
