"""What the analysis pages share: clicks that set the selection, and words for what is missing."""

from collections.abc import Callable, Mapping
from typing import Any, Final

import streamlit as st

from cwac.ui import reads, selection
from cwac.ui.frame import Frame
from cwac.ui.request import RunRequest, adapter_settings

_FILES: Final = (
    "harmful",
    "harmful_answer_column",
    "harmless",
    "harmless_answer_column",
    "harmless_where",
    "lookalike",
    "prompt_column",
    "answer_column",
)
SEEDS: Final = (
    "Points are means over seeds, bars and bands run from the lowest seed to the highest."
)


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
    found = [point.get("customdata") for point in points]
    return [list(v.values()) if isinstance(v, dict) else list(v) for v in found if v is not None]


def not_measured(what: str, *, command: str | None = None) -> None:
    """Say that the runs in view do not hold what a section shows, and what would change it."""
    st.info(f"{what} was not measured in the runs in view.", icon="🕳️")
    if command is not None:
        st.caption("This starts what is missing; it then appears here:")
        st.code(command, language="bash", wrap_lines=True)


def command_like(frame: Frame, method: str, settings: Mapping[str, Any] | None = None) -> str:
    """Return the command that adds an arm to the experiment in view, with the seeds it has.

    Parameters
    ----------
    settings : mapping, optional
        ``name.key`` to value, as for ``--set``.
    """
    config = frame.experiments[0].config
    own = {record.config.seed for record in frame.experiments[0].records}
    files = config.prompts.non_default() | config.task.non_default()
    training = config.training
    return RunRequest(
        model=config.model.source,
        task=config.task.source,
        poison=config.poison_ratio,
        methods=(method,),
        seeds=tuple(sorted(own)),
        steps=training.steps,
        learning_rate=training.learning_rate,
        batch_size=training.batch_size,
        settings=adapter_settings(training.adapter) | dict(settings or {}),
        adapter=None if isinstance(training.adapter, str) else training.adapter.kind,
        files={name.replace("_", "-"): str(files[name]) for name in _FILES if name in files},
        save_model=False,
    ).command(reads.shown(reads.roots()[0]))
