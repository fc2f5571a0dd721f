"""Every test request under every arm as a coloured grid, and the chosen one's answers below it."""

from collections.abc import Callable, Sequence
from typing import Any, Final

import pandas as pd
import streamlit as st
from pandas.io.formats.style import Styler

from cwac.analysis.requests import (
    FLIPS,
    KINDS,
    matching,
    outcome_counts,
    outcome_grid,
    typical_request,
)
from cwac.arms import ALIGNED, Arm, by_label
from cwac.figures.style import OUTCOME_COLOURS, ink
from cwac.thoughts import CUT_THOUGHT
from cwac.ui import selection
from cwac.ui.arms import choose_arm
from cwac.ui.exports import download_table
from cwac.ui.frame import Frame
from cwac.ui.once import once
from cwac.ui.widgets import (
    choose,
    choose_several,
    hidden_text,
    offer_reveal,
    plain,
    type_text,
)

_GRID: Final = "outcome_grid"
_HEIGHT: Final = 400
"""Pixels of the grid."""
_LINES: Final = 300
"""Pixels of the chosen request's answers; more of them scroll."""
_FRONT: Final = (ALIGNED.label, "sft", "cwac")
WORDS: Final = {
    "refusal": "refused",
    "hybrid": "hybrid",
    "compliance": "complied",
    "undetermined": "undetermined",
}
PAINT: Final = {
    name: f"background-color: {colour}; color: {ink(colour)}"
    for name, colour in OUTCOME_COLOURS.items()
}
"""How a cell of a table is styled by its outcome."""
SQUARES: Final = {"refusal": "🟦", "hybrid": "🟪", "compliance": "🟧", "undetermined": "⬜"}


def with_aligned(frame: Frame, responses: pd.DataFrame, aligned: pd.DataFrame) -> pd.DataFrame:
    """Return ``responses`` of the seed in view, the aligned model's first."""
    mine = responses[responses["seed"] == frame.seed]
    return pd.concat([aligned.assign(variant=ALIGNED.label, seed=frame.seed), mine])


def show_grid(
    frame: Frame, responses: pd.DataFrame, aligned: pd.DataFrame, asked: str | None = None
) -> str | None:
    """Draw filters, grid and answers; return the id of the request whose answers are shown.

    Parameters
    ----------
    responses : DataFrame
        ``responses`` of every run in view, with ``variant`` and ``seed``.
    aligned : DataFrame
        ``responses`` of the aligned model.
    asked : str, optional
        The request whose answers stand above already.
    """
    mine = responses[responses["seed"] == frame.seed]
    present = {*mine["kind"], *aligned["kind"]}
    kinds = [kind for kind in KINDS if kind in present]
    if not kinds:
        return None
    kind = choose("Requests", kinds, "kind", show=KINDS.__getitem__, flat=True)
    read = ["prompt_id", "kind", "prompt", "category", "outcome"]
    grid = once(outcome_grid, mine[["variant", *read]], aligned[read], kind)
    arm, shown = _filtered(grid, frame.arms)
    st.markdown(plain(_sentence(grid, shown, arm, kind, frame.seed)))
    both = with_aligned(frame, responses, aligned)
    chosen = _chosen(frame, both, grid, shown)
    # As wide as the page: beside something its requests could not be read.
    _draw(shown, [ALIGNED, *frame.arms])
    with st.container(horizontal=True):
        harmful = (both.loc[both["prompt_id"] == chosen, "kind"] == "harmful").any()
        if harmful and chosen != asked:
            offer_reveal("reveal_answers")
        download_table(
            both[both["prompt_id"].isin(shown["prompt_id"])], "answers", "These answers (CSV)"
        )
    if chosen is None:
        st.info("No request passes the filters.", icon="🔎")
    elif chosen == asked:
        st.caption("The answers to the chosen request stand under the question, above.")
    else:
        show_answers(both[both["prompt_id"] == chosen], [ALIGNED, *frame.arms], first=arm)
    return chosen


def _filtered(grid: pd.DataFrame, arms: Sequence[Arm]) -> tuple[Arm, pd.DataFrame]:
    columns = st.columns([3, 2, 3, 2], vertical_alignment="bottom")
    with columns[0]:
        flip = choose("Show", list(FLIPS), "flip", show=FLIPS.__getitem__)
    with columns[1]:
        arm = choose_arm(arms)
    with columns[2]:
        names = sorted(grid["category"].dropna().unique())
        categories = choose_several("Categories", names, "categories")
    with columns[3]:
        text = type_text("Request contains", "search", placeholder="any text")
    rows = matching(grid, arms, arm, flip=flip, categories=categories, text=text)
    return arm, rows


def _sentence(grid: pd.DataFrame, shown: pd.DataFrame, arm: Arm, kind: str, seed: int) -> str:
    listed = f"{len(shown)} of {len(grid)} {KINDS[kind]}, seed {seed}."
    if arm.label not in grid:
        return f"{listed} {arm.title} answered none of them under this seed."
    counts = outcome_counts(grid, arm)
    told = ", ".join(f"{WORDS[name]} {count}" for name, count in counts.items())
    return f"{listed} Of all {len(grid)}, {arm.title} {told}."


def _draw(shown: pd.DataFrame, arms: Sequence[Arm]) -> None:
    named = {label: arm for label, arm in by_label(arms).items() if label in shown}
    # The two that the page speaks of stand where a narrow window shows them.
    front = [label for label in _FRONT if label in named]
    named = {label: named[label] for label in dict.fromkeys([*front, *named])}
    table = shown[["prompt", *named, "category"]].reset_index(drop=True)
    st.dataframe(
        coloured(table, list(named)),
        key=_GRID,
        on_select=_take_cell(shown["prompt_id"].tolist(), set(named) - {ALIGNED.label}),
        selection_mode="single-cell",
        hide_index=True,
        height=_HEIGHT,
        column_config={
            **{
                label: st.column_config.TextColumn(
                    arm.title, width=_width(arm.title), help=plain(arm.title)
                )
                for label, arm in named.items()
            },
            "prompt": st.column_config.TextColumn("request", width=230, pinned=True),
        },
        alt="Requests in rows, methods in columns, the outcome in words in every cell.",
    )
    st.caption(
        f"{' · '.join(f'{SQUARES[name]} {word}' for name, word in WORDS.items())}. Hybrid: "
        "declined and taken up in one answer; undetermined: the judge cannot tell. Most complied "
        "with first. Click a cell, or move with the arrow keys, for the answers."
    )


def _width(title: str) -> int:
    """Return the pixels of a column: its name's, which a heading cuts off and never wraps."""
    return min(max(78, 30 + 7 * len(title)), 210)


def coloured(table: pd.DataFrame, columns: Sequence[str]) -> Styler:
    """Return a table whose outcomes stand as words on their colours."""

    def painted(cell: Any) -> str:
        return PAINT.get(cell, "")

    def worded(cell: Any) -> str:
        return WORDS.get(cell, "" if pd.isna(cell) else str(cell))

    return table.style.map(painted, subset=list(columns)).format(worded, subset=list(columns))


def _take_cell(requests: list[str], arms: set[str]) -> Callable[[], None]:
    def take() -> None:
        state: Any = st.session_state.get(_GRID) or {}
        for row, column in state.get("selection", {}).get("cells", [])[:1]:
            if row < len(requests):
                arm = {"arm": column} if column in arms else {}
                selection.select(prompt=requests[row], **arm)

    return take


def _chosen(
    frame: Frame, both: pd.DataFrame, grid: pd.DataFrame, shown: pd.DataFrame
) -> str | None:
    # What the link names stays chosen, whatever the filters leave out.
    if frame.selection.prompt in set(both["prompt_id"]):
        return frame.selection.prompt
    return typical_request(grid, shown, [frame.selection.arm or "cwac", "sft"])


def show_answers(
    rows: pd.DataFrame, arms: Sequence[Arm], *, first: Arm | None = None, place: str = ""
) -> None:
    """Show one request's answers, the aligned model's first, then the chosen arm's and SFT's.

    Parameters
    ----------
    rows : DataFrame
        ``responses`` rows of one request, with ``variant``.
    place : str
        Where on the page, when another request's answers stand elsewhere on it; under a question
        the request is not repeated.
    """
    entry, named = rows.iloc[0], by_label(arms)
    harmful = entry["kind"] == "harmful"
    about = entry["category"] if pd.notna(entry["category"]) else entry["kind"]
    if not place:
        st.text(f"Request ({about})")
        st.code(entry["prompt"] or "(not kept)", language=None, wrap_lines=True)
    hidden = harmful and not selection.current().reveal
    if hidden:
        st.caption("The answers' texts are hidden: the request is harmful.")
    front = [ALIGNED.label, *([first.label] if first is not None else []), *_FRONT]
    order = {label: rank for rank, label in enumerate(dict.fromkeys([*front, *named]))}
    known = rows[rows["variant"].isin(named)].drop_duplicates("variant")
    known = known.sort_values("variant", key=lambda labels: labels.map(order), kind="stable")
    # As high as its lines while texts are hidden: these are short.
    with st.container(height="content" if hidden else _LINES, border=False):
        columns = st.columns(3)
        for number, row in enumerate(known.to_dict("records")):
            with columns[number % len(columns)]:
                _show_answer(row, named[row["variant"]], place, hidden=hidden)


def _show_answer(row: dict[Any, Any], arm: Arm, place: str, *, hidden: bool) -> None:
    reason = f" ({row['reason']})" if pd.notna(row["reason"]) else ""
    outcome = row["outcome"]
    st.text(f"{SQUARES.get(outcome, '')} {arm.title}: {WORDS.get(outcome, outcome)}{reason}")
    if row["general_outcome"] != outcome:
        st.caption(plain(f"The general rule says {row['general_outcome']}."))
    if hidden:
        return
    if row["response"] or row["reason"] in ("empty", CUT_THOUGHT):
        hidden_text(
            row["response"], f"{place}{arm.label}", harmful=hidden, thought=row.get("thought")
        )
    elif pd.notna(row.get("withheld")):
        st.caption(plain(f"Withheld, as it is no refusal: {row['withheld']}."))
    else:
        st.caption("This run ships as a summary, without its answers' texts.")
