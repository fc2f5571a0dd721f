"""What the analysis pages share: clicks that set the selection, and words for what is missing."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any, Final

import pandas as pd
import streamlit as st

from cwac import flags
from cwac.arms import Arm
from cwac.artifacts import card_defaults
from cwac.ui import reads, selection
from cwac.ui.frame import Frame
from cwac.ui.navigation import PAGES
from cwac.ui.widgets import plain

_MOST_NAMED: Final = 4
"""Arms that a reading aid lists; of more the rest is counted."""


def show_tabs(frame: Frame, contents: Mapping[str, Callable[[Frame], None]]) -> None:
    """Draw a page's tabs and run what the open one shows; the link keeps which one is open.

    Parameters
    ----------
    contents : mapping of str to callable
        By the names of the page's ``PageSpec.tabs``: what draws the tab.
    """
    titles = frame.page.tabs
    key = f"_tab_{frame.page.name}"
    st.session_state[key] = titles[frame.page.open_tab(selection.current().tab)]

    def take() -> None:
        names = {title: name for name, title in titles.items()}
        selection.select(tab=names[st.session_state[key]])

    for name, tab in zip(
        titles, st.tabs(list(titles.values()), key=key, on_change=take), strict=True
    ):
        # What is not seen is not computed.
        if tab.open:
            with tab:
                contents[name](frame)


def link_to_page(page: str, tab: str | None = None, *, label: str) -> None:
    """Show a link to a page, and to a tab of it, that keeps what is selected."""
    spec = PAGES[page]
    query = selection.as_link(tab=tab)
    st.page_link(spec.path, label=label, icon=spec.icon, query_params=query)


def selects(key: str, *fields: str | None) -> Callable[[], None]:
    """Return a callback that takes over what was clicked in a chart.

    Parameters
    ----------
    key : str
        The chart's key.
    *fields : str or None
        What the entries of a point's ``customdata`` stand for, from the first on; None skips one.

    Notes
    -----
    A callback runs once per click. Reading the chart's state on every rerun instead would
    overwrite what the reader chose elsewhere since.
    """

    def take() -> None:
        points = clicked(key)
        if points:
            values = zip(fields, points[0], strict=False)
            selection.select(**{name: value for name, value in values if name is not None})

    return take


def clicked(key: str) -> list[list[Any]]:
    """Return the ``customdata`` of the points selected in a chart."""
    state: Any = st.session_state.get(key) or {}
    points = state.get("selection", {}).get("points", [])
    rows = [point.get("customdata") for point in points]
    return [list(v.values()) if isinstance(v, dict) else list(v) for v in rows if v is not None]


def not_measured(subject: str, *, command: str | None = None) -> None:
    """Say that the runs in view do not hold what a section shows, and what would change it."""
    st.info(f"{plain(subject)} was not measured in the runs in view.", icon="🕳️")
    if command is not None:
        st.caption("This starts what is missing; it then appears here:")
        st.code(command, language=None, wrap_lines=True)


def lacking(arms: Iterable[Arm], table: pd.DataFrame, said: str = "Not stored for") -> str:
    """Return the end of a reading aid: which arms have no row in what is drawn, empty for none.

    An arm that is missing in silence reads as one that was never in view.

    Parameters
    ----------
    arms : iterable of Arm
        The arms in view.
    table : DataFrame
        What is drawn, with ``variant``.
    said : str
        What is the matter with them.
    """
    known = set(table["variant"])
    missing = [arm.title for arm in arms if arm.label not in known]
    if len(missing) > _MOST_NAMED:
        missing[_MOST_NAMED - 1 :] = [f"{len(missing) - _MOST_NAMED + 1} more"]
    return " " + plain(f"{said}: {', '.join(missing)}.") if missing else ""


def command_like(
    frame: Frame,
    method: str,
    settings: Mapping[str, Any] | None = None,
    *,
    poison: float | None = None,
) -> str:
    """Return the command that adds an arm to the experiment in view, with the seeds it has.

    Parameters
    ----------
    settings : mapping, optional
        The method's settings that differ from its defaults.
    poison : float, optional
        Another poison ratio than the experiment's: the arm is one of an experiment beside it.
    """
    experiment = frame.experiments[0]
    seeds = sorted({record.config.seed for record in experiment.records})
    shared = flags.stated(experiment.config, card_defaults(experiment.config.model.source))
    if poison is not None:
        shared = replace(shared, sections={**shared.sections, "poison_ratio": poison})
    plan = replace(shared, arms=[(method, dict(settings or {}))], seeds=seeds)
    return flags.command(plan, "--root", reads.shown(reads.roots()[0]))
