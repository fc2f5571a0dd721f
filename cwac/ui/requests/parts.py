"""Which part's restoring flips a request: stored with a dissection, or asked of kept runs."""

import shlex
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Final

import pandas as pd
import streamlit as st

from cwac.analysis.causes import restored_request
from cwac.analysis.readable import ARM, Quantity, readable
from cwac.arms import Arm
from cwac.figures.requests.parts import restored_parts
from cwac.messages import Answer
from cwac.ui import reads
from cwac.ui.frame import Frame
from cwac.ui.widgets import plain, show_figure

_READING: Final = (
    "Blue: refusing is likelier than not. One part alone is put back to its aligned weights, "
    "everything else stays tuned. One request: what holds over all of them stands on Mechanism, "
    "Causes."
)


def show_stored(frame: Frame, chosen: str) -> bool:
    """Draw what restoring each part does to a stored request, under the seed in view.

    Returns
    -------
    Whether it was measured; else it is said why not.
    """
    runs = {r.run_id: frame.run_arms[r.run_id] for r in frame.records_in_view
            if r.config.seed == frame.seed}  # fmt: skip
    stored = frame.pairs("dissection_requests")
    mine = restored_request(stored, runs, chosen)
    if not mine.empty:
        _draw(mine.assign(seed=frame.seed), frame.arms, "restored_parts")
        return True
    if stored["run_id"].isin(list(runs)).any():
        st.caption("Parts are restored for harmful test requests; this is another one.")
        return False
    kept = [r.run_id for r in frame.records_in_view if r.kept_model]
    st.info(
        "Which part's restoring flips a request is not measured in the runs in view. A run that "
        "kept its weights (`--save-model`) is asked with:",
        icon="🔎",
    )
    name, root = kept[0] if kept else "RUN_ID", shlex.quote(reads.shown(reads.roots()[0]))
    command = f"cwac dissect --run {name} --only ends --only restore --root {root}"
    st.code(command, language="bash", wrap_lines=True)
    return False


def show_answered(answers: Sequence[Answer], named: Mapping[str, Arm]) -> None:
    """Draw the same of a request that was put to kept runs just now.

    Parameters
    ----------
    named : mapping of str to Arm
        By the answers' ``variant``.
    """
    table = _table([one for one in answers if one.restored and one.variant in named])
    if len(table):
        arms = list({label: named[label] for label in table["variant"]}.values())
        _draw(table, arms, "restored_now")


def _table(answers: Sequence[Answer]) -> pd.DataFrame:
    """Return answers' parts as `cwac.analysis.causes.restored_request` returns stored ones."""
    # Of several seeds of an arm the first: a row each.
    first = {one.variant: one for one in reversed(answers)}
    rows = [
        {
            "variant": one.variant,
            "seed": one.seed,
            "part": part.part,
            "layer": part.layer,
            "odds": part.refusal_log_odds,
            "control": part.control,
            "outcome": None,
            "tuned": one.refusal_log_odds,
            "aligned": one.restored[-1].refusal_log_odds,
        }
        for one in answers
        if one is first[one.variant]
        # The last is the whole update: the aligned model on this run's prompt.
        for part in one.restored[:-1]
    ]
    kinds = {"odds": float, "control": float, "tuned": float, "aligned": float}
    table = pd.DataFrame(rows, columns=["variant", "seed", "part", "layer", "outcome", *kinds])
    table = table.astype(kinds)
    return table.assign(flips=(table["tuned"] <= 0) & (table["odds"] > 0))


def _draw(table: pd.DataFrame, arms: Sequence[Arm], key: str) -> None:
    show_figure(
        restored_parts(table, arms),
        key,
        data=table,
        text=partial(
            readable,
            table,
            arms,
            Quantity("odds", "Refusal log-odds with one part put back", "nats"),
            Quantity("control", "The same, with a random set of equal norm", "nats"),
            down={**ARM, "part": "Part"},
        ),
        reading=_READING,
        terms=("restore", "refusal log-odds", "control"),
    )
    silent = [arm.title for arm in arms if arm.label not in set(table["variant"])]
    if silent:
        st.caption(plain(f"Not measured for {', '.join(silent)}."))
