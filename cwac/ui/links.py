"""What a link names that is not here, and what is shown instead, a sentence each.

Stands alone because a link may name things that the sidebar, a tab or a list would choose
otherwise, each in its place: in silence another result would be taken for the one that was sent.
"""

from collections.abc import Collection, Iterator
from typing import Final

import streamlit as st

from cwac.intake import shown
from cwac.ui import selection
from cwac.ui.experiments import Listing
from cwac.ui.navigation import PAGES, PageSpec

_LOST: Final = "_lost_experiment"


def replace_experiment(listing: Listing) -> None:
    """Choose the first experiment where the link names none that is stored, and keep the name."""
    chosen = selection.current().experiment
    if listing.experiment(chosen) is None:
        first = listing.experiments[0]
        st.session_state[_LOST] = (chosen, first.experiment_id)
        selection.select(experiment=first.experiment_id, overlay=())


def missing(
    page: PageSpec, listing: Listing, labels: Collection[str], seeds: Collection[int]
) -> Iterator[str]:
    """Say what is selected and is not here.

    Parameters
    ----------
    labels : collection of str
        Of the arms in view.
    seeds : collection of int
        Those in view; none where no run is.
    """
    chosen = selection.current()
    yield from _tab(page, chosen.tab)
    yield from _experiment(listing, chosen.experiment)
    used = page.used(chosen.tab)
    if seeds and "seed" in used and chosen.seed not in (None, *seeds):
        yield f"The link names seed {chosen.seed}, which no run in view has; shown is {min(seeds)}."
    known = {*listing.titles, *labels}
    for label in dict.fromkeys([*chosen.arms, *filter(None, [chosen.arm])]):
        if label not in known:
            yield (
                f"The link names the arm {shown(label)}, which is not stored; the usual ones are "
                "shown instead."
            )
    methods = {record.config.method for one in listing.experiments for record in one.records}
    if chosen.method is not None and chosen.method not in methods:
        yield f"The link names the method {shown(chosen.method)}, which no stored run has."
    runs = {run.run_id for run in listing.runs}
    for name in chosen.marked:
        if name not in runs:
            yield f"The link names the run {shown(name)}, which is not stored; it is left out."


def _tab(page: PageSpec, tab: str | None) -> Iterator[str]:
    # A tab of another page was left open there.
    if tab is not None and page.tabs and not any(tab in one.tabs for one in PAGES.values()):
        title = page.tabs[page.open_tab(tab)]
        yield f"The link names the tab {shown(tab)}, which is none of this app's; shown is {title}."


def _experiment(listing: Listing, chosen: str | None) -> Iterator[str]:
    lost, instead = st.session_state.get(_LOST, (None, None))
    experiment = listing.experiment(chosen)
    if lost is not None and experiment is not None and chosen == instead:
        yield (
            f"The link names the experiment {shown(lost)}, which is not stored; shown is "
            f"{experiment.title}."
        )
