"""Sliders through stored interventions, what a few requests are answered changing beside them."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import pandas as pd
import streamlit as st

from cwac.analysis.causes import strongest
from cwac.analysis.interventions import of_arm, refused
from cwac.analysis.stepping import EVERYTHING, NOTHING, along_line, at_step, by_part
from cwac.arms import ALIGNED, Arm
from cwac.figures.panels import percent
from cwac.records import BETWEEN_ARMS, WHOLE_UPDATE, RunRecord, line_to
from cwac.ui import reads, selection
from cwac.ui.frame import Frame
from cwac.ui.requests.grid import PAINT, SQUARES, WORDS
from cwac.ui.widgets import choose, offer_reveal, plain

_WAYS: Final = {"restore": "restored", "transplant": "transplanted"}
_MEANT: Final = (
    "Restored: put back to its aligned weights in the tuned model. Transplanted: the tuned part is "
    "put into the aligned model."
)
_ROWS: Final = {90: 57, 10_000: 99}
"""Characters of the longest cell, and pixels of a row that holds two or four lines of it."""


@dataclass(frozen=True)
class Answered:
    """What one run of an arm is answered under the interventions that keep it.

    Attributes
    ----------
    table : DataFrame
        Its rows of ``dissection_answers``.
    record : RunRecord
        The run of the seed in view, or another one of the arm that has answers.
    requests : mapping of str to str
        The requests' texts by their ids.
    """

    table: pd.DataFrame
    record: RunRecord
    requests: Mapping[str, str]

    @classmethod
    def of(cls, frame: Frame, arm: Arm) -> "Answered":
        """Return those of an arm in view."""
        stored = frame.pairs("dissection_answers")
        have = set(stored["run_id"])
        runs = [r for r in frame.records_in_view if frame.run_arms[r.run_id] == arm]
        runs.sort(key=lambda r: (r.run_id not in have, r.config.seed != frame.seed))
        asked = frame.reference_table("responses")
        texts = dict(zip(asked["prompt_id"], asked["prompt"], strict=True))
        return cls(stored[stored["run_id"] == runs[0].run_id], runs[0], texts)


@st.fragment
def show_parts(answered: Answered, rows: pd.DataFrame, effects: pd.DataFrame, arm: Arm) -> None:
    """Draw a slider over the parts of the model, and the answers with each of them put back.

    Parameters
    ----------
    rows, effects : DataFrame
        `cwac.analysis.interventions.readings` and `cwac.analysis.causes.restored`.
    """
    st.subheader("What it answers, part by part", anchor=False)
    ways = [way for way in _WAYS if len(by_part(answered.table, way))]
    if not ways:
        _nothing_answered(answered)
        return
    left, right = st.columns([3, 2])
    way = ways[0]
    if len(ways) > 1:
        with left:
            way = choose(
                "One part alone is", ways, "view", show=_WAYS.__getitem__, flat=True, help=_MEANT
            )
    steps = by_part(answered.table, way)
    names = list(dict.fromkeys(steps["step"]))
    cause = strongest(effects, arm)
    first = cause["part"] if cause is not None and cause["part"] in names else names[0]
    with right if len(ways) > 1 else st.container():
        part = choose_step(f"The part that is {_WAYS[way]}", names, "part", first)
    st.caption(plain(_told_of_part(rows, arm, way, part)))
    whose = [arm.title, ALIGNED.title] if way == "restore" else [ALIGNED.title, arm.title]
    ends = dict(zip((NOTHING, EVERYTHING), whose, strict=True))
    show_answers(answered, steps, part, f"{part} {_WAYS[way]}", ends, key="parts")


def _told_of_part(rows: pd.DataFrame, arm: Arm, way: str, part: str) -> str:
    """Return what the stored rows say of a part over all requests, as means over seeds."""
    name, sought = way, part
    if part in {NOTHING, EVERYTHING}:
        tuned = (part == NOTHING) == (way == "restore")
        name, sought = "ends", NOTHING if tuned else EVERYTHING
    table = of_arm(rows, arm, name)
    mine = table[~table["control"] & (table["part"] == sought)]
    if mine.empty:
        return f"{part} {_WAYS[way]}."
    row = dict(mine.iloc[0])
    word = "back" if way == "restore" else "left"
    share = f"{percent(row['y'])} of the lost log-odds is {word}, over {row['n']:.0f} requests"
    parts = [text for text in (share if row["is_share"] else "", refused(row)) if text]
    return f"With {part} {_WAYS[way]}: {'; '.join(parts)}."


class Line(NamedTuple):
    """A line between two models' weights: the ``part`` of its rows, and what stands at 0 and 1."""

    part: str
    start: str
    end: str


def lines_of(frame: Frame, rows: pd.DataFrame, arm: Arm) -> list[Line]:
    """Return the lines along which an arm was walked, that from the aligned model first.

    Parameters
    ----------
    rows : DataFrame
        `cwac.analysis.interventions.readings`.
    """
    runs = {line_to(r.run_id): r for e in frame.listing.experiments for r in e.records}
    mine = rows[(rows["variant"] == arm.label) & (rows["trial"] == BETWEEN_ARMS)]
    lines = [Line(WHOLE_UPDATE, ALIGNED.title, arm.title)]
    for part in dict.fromkeys(mine["part"]):
        end = _named(frame, runs[part]) if part in runs else part.removeprefix("to ")
        lines.append(Line(part, arm.title, end))
    return lines


def _named(frame: Frame, record: RunRecord) -> str:
    name = f"{record.arm.title}, seed {record.config.seed}"
    if record.experiment_id == frame.stored_id:
        return name
    return f"{name} ({record.config.task.label}, poison ratio {record.config.poison_ratio:g})"


def choose_line(lines: Sequence[Line]) -> Line:
    """Let the reader choose one of the lines, where there are several."""
    if len(lines) == 1:
        return lines[0]
    named = {line.part: line for line in lines}
    titles = {line.part: f"{line.start} to {line.end}" for line in lines}
    return named[choose("Path", list(named), "line", show=titles.__getitem__, flat=True)]


def show_along(answered: Answered, line: Line, dose: str) -> None:
    """Draw the answers at a point of a line, between those at 0 and at 1."""
    steps = along_line(answered.table, line.part)
    if steps.empty:
        st.caption("What single requests are answered along this path is not stored.")
        return
    ends = {"0": f"{line.start} (0)", "1": f"{line.end} (1)"}
    show_answers(answered, steps, dose, f"at {dose}", ends, key="path")


def choose_step(label: str, steps: Sequence[str], name: str, first: str) -> str:
    """Let the reader move a slider over a field of the shared selection; return the step.

    Parameters
    ----------
    first : str
        Where it stands while the link names no step.
    """
    chosen, key = getattr(selection.current(), name), f"_{name}"
    st.session_state[key] = chosen if chosen in steps else first
    if len(steps) < 2:
        return first

    def take() -> None:
        selection.select(**{name: st.session_state[key]})

    return str(st.select_slider(label, steps, key=key, on_change=take))


def show_answers(
    answered: Answered,
    steps: pd.DataFrame,
    step: str,
    heading: str,
    ends: Mapping[str, str],
    *,
    key: str,
) -> None:
    """Draw requests in rows: what is answered at a step, between both ends.

    Parameters
    ----------
    ends : mapping of str to str
        The first and the last column: a step and its heading.
    key : str
        Unique on the page.
    """
    here = at_step(steps, step)
    first, last = ends
    columns = {
        ends[first]: at_step(steps, first),
        f"▸ {heading}": here,
        ends[last]: at_step(steps, last),
    }
    requests = list(dict.fromkeys(steps["prompt_id"]))
    reveal = selection.current().reveal
    texts = pd.DataFrame(
        {
            "request": [answered.requests.get(name) or name for name in requests],
            **{
                title: [_told(rows.get(name), reveal=reveal) for name in requests]
                for title, rows in columns.items()
            },
        }
    )
    paint = pd.DataFrame("", texts.index, texts.columns)
    for title, rows in columns.items():
        paint[title] = [PAINT.get(str(rows.get(name, {}).get("outcome")), "") for name in requests]
    longest = min(int(texts.map(len).to_numpy().max()), max(_ROWS))
    st.dataframe(
        texts.style.apply(lambda _: paint, axis=None),
        key=f"answers_{key}",
        hide_index=True,
        row_height=next(height for most, height in _ROWS.items() if longest <= most),
        alt="Requests in rows; what is answered at the slider's step, between both ends.",
    )
    count = sum(row["outcome"] == "refusal" for row in here.values())
    words = " · ".join(f"{SQUARES[name]} {word}" for name, word in WORDS.items())
    numbers = "" if reveal else " Numbers: refusal log-odds in nats."
    told, button = st.columns(2)
    with button:
        offer_reveal(f"reveal_{key}")
    told.caption(
        f"{count} of these {len(here)} requests are refused here; they are some of the sample, the "
        f"same at every step, seed {answered.record.config.seed}. {words}.{numbers}"
    )


def _told(row: Mapping[Any, Any] | None, *, reveal: bool) -> str:
    """Return an answer beside its outcome; the request is harmful, and the answer may be hidden."""
    if row is None:
        return "not stored"
    word = WORDS.get(row["outcome"], str(row["outcome"]))
    if pd.notna(row["withheld"]):
        return f"{word} (withheld: {row['withheld']})"
    if not reveal:
        odds = row["refusal_log_odds"]
        return word if pd.isna(odds) else f"{word}, {odds:+.1f}"
    return f"{word}: {row['response'] or '(empty)'}"


def _nothing_answered(answered: Answered) -> None:
    record = answered.record
    text = "What single requests are answered there is not stored with this dissection. "
    if not record.kept_model and not record.config.is_measured:
        st.caption(f"{text}The run kept no weights, so that it cannot be added.")
        return
    st.caption(f"{text}This adds it:")
    root = shlex.quote(reads.shown(reads.roots()[0]))
    only = " ".join(f"--only {name}" for name in ("ends", "restore", "path"))
    command = f"cwac dissect --run {record.run_id} {only} --root {root}"
    st.code(command, language="bash", wrap_lines=True)
