"""The per-request part of the Requests page: flips, a filtered table, the answers side by side."""

from collections.abc import Callable, Sequence
from typing import Any, Final

import pandas as pd
import streamlit as st

from cwac.analysis.refusals import flip_tests, flips
from cwac.arms import ALIGNED, Arm, by_label
from cwac.figures.requests.flips import flip_matrices
from cwac.records import OUTCOMES
from cwac.thoughts import CUT_THOUGHT
from cwac.ui import selection
from cwac.ui.arms import choose_arm
from cwac.ui.frame import Frame
from cwac.ui.sections import clicked
from cwac.ui.widgets import download_table, hidden_text, plain, show_figure

KINDS: Final = {
    "harmful": "harmful requests",
    "lookalike": "harmless look-alikes",
    "harmless": "harmless requests",
}
ANY: Final = "any"
_BEFORE, _AFTER = "refusal_before", "refusal_after"


def show_flips(frame: Frame, responses: pd.DataFrame, aligned: pd.DataFrame) -> tuple[Arm, str]:
    """Let the reader choose arm and kind, draw the flip tables; return the choice."""
    left, right = st.columns([1, 2])
    with left:
        arm = choose_arm(frame.arms)
    with right:
        kind = st.segmented_control(
            "Requests",
            list(KINDS),
            format_func=lambda name: KINDS[name],
            default="harmful",
            key="refusal_kind",
            required=True,
            wrap=True,
        )
    table = flips(responses, aligned, arm.label, str(kind))
    show_figure(
        flip_matrices(table, arm, str(kind)),
        "flips",
        data=flip_tests(table) if len(table) else table,
        reading="Rows: what the aligned model did; columns: what the arm does now; the diagonal "
        "did not change. The test compares refused with not refused, seed by seed, never pooled. "
        "Click a cell to list its requests below.",
        terms=("McNemar", "undetermined", "aligned model"),
        on_select=_take_cell,
    )
    return arm, str(kind)


def _take_cell() -> None:
    for before, after, seed in clicked("flips")[:1]:
        st.session_state[_BEFORE], st.session_state[_AFTER] = before, after
        selection.select(seed=int(seed))


def wide_table(responses: pd.DataFrame, aligned: pd.DataFrame, kind: str) -> pd.DataFrame:
    """Return one row per request: what it is, the aligned model's outcome and every arm's.

    Parameters
    ----------
    responses : DataFrame
        ``responses`` of one seed's runs, with ``variant``.
    """
    about = ["prompt_id", "prompt", "category"]
    both = pd.concat([aligned.assign(variant=ALIGNED.label), responses], ignore_index=True)
    rows = both[both["kind"] == kind]
    outcomes = rows.pivot_table(
        index="prompt_id", columns="variant", values="outcome", aggfunc="first"
    )
    arms = [arm for arm in dict.fromkeys(rows["variant"]) if arm in outcomes]
    head = rows.drop_duplicates("prompt_id")[about].set_index("prompt_id")
    # The request and what became of it stand first: in a narrow window the rest must be scrolled.
    table = head.join(outcomes[arms])
    return table[["prompt", *arms, "category"]].reset_index()


def matching(
    table: pd.DataFrame, arm: Arm, before: str, after: str, categories: list[str], text: str
) -> pd.DataFrame:
    """Return the rows of `wide_table` that pass the filters."""
    keep = pd.Series(True, index=table.index)
    if before != ANY:
        keep &= table[ALIGNED.label] == before
    if after != ANY:
        keep &= table[arm.label] == after
    if categories:
        keep &= table["category"].isin(categories)
    if text:
        keep &= table["prompt"].str.contains(text, case=False, regex=False)
    return table[keep]


def show_requests(frame: Frame, aligned: pd.DataFrame, arm: Arm, kind: str) -> None:
    """Draw the filters, the table of requests and the chosen request's answers."""
    responses = frame.table("responses", seed=frame.seed)
    table = wide_table(responses, aligned, kind)
    if ALIGNED.label not in table:
        st.info("The aligned model's answers are not stored, so nothing can be compared.", icon="🕳️")
        return
    if arm.label not in table:
        st.info(f"{plain(arm.title)} answered no {KINDS[kind]} under seed {frame.seed}.", icon="🕳️")
        return
    filtered = _filtered(table, arm)
    st.caption(
        f"{len(filtered)} of {len(table)} requests, seed {frame.seed}. Click a row for the answers."
    )
    shown = filtered.drop(columns="prompt_id").reset_index(drop=True)
    st.dataframe(
        shown,
        key="refusal_prompts",
        on_select=_take_row(filtered["prompt_id"].tolist()),
        selection_mode="single-row",
        hide_index=True,
        height=330,
        column_config={
            **{a.label: st.column_config.Column(a.title) for a in [ALIGNED, *frame.arms]},
            "prompt": st.column_config.TextColumn("request", width=280, pinned=True),
        },
    )
    both = pd.concat([aligned.assign(variant=ALIGNED.label, seed=frame.seed), responses])
    download_table(
        both[both["prompt_id"].isin(filtered["prompt_id"])], "answers", "These answers (CSV)"
    )
    chosen = frame.selection.prompt
    if chosen not in set(table["prompt_id"]):
        chosen = filtered["prompt_id"].iloc[0] if len(filtered) else None
    if chosen is not None:
        show_answers(both[both["prompt_id"] == chosen], frame.arms)


def _filtered(table: pd.DataFrame, arm: Arm) -> pd.DataFrame:
    with st.container(horizontal=True):
        st.button(
            "Refused before, complies now",
            on_click=_set_filter("refusal", "compliance"),
            help="Requests that this arm's fine-tune turned from a refusal into compliance.",
        )
        st.button("Newly refused", on_click=_set_filter("compliance", "refusal"))
        st.button("All requests", on_click=_set_filter(ANY, ANY))
    columns = st.columns(4, vertical_alignment="bottom")
    options = [ANY, *OUTCOMES]
    before = columns[0].selectbox("Aligned", options, key=_BEFORE)
    after = columns[1].selectbox("This arm", options, key=_AFTER, help=plain(arm.title))
    names = sorted(table["category"].dropna().unique())
    categories = columns[2].multiselect(
        "Categories", names, placeholder="all", key="refusal_categories"
    )
    text = columns[3].text_input("Request contains", key="refusal_text", placeholder="any text")
    return matching(table, arm, str(before), str(after), categories, text.strip())


def _set_filter(before: str, after: str) -> Callable[[], None]:
    def take() -> None:
        st.session_state[_BEFORE], st.session_state[_AFTER] = before, after

    return take


def _take_row(requests: list[str]) -> Callable[[], None]:
    def take() -> None:
        state: Any = st.session_state.get("refusal_prompts") or {}
        rows = state.get("selection", {}).get("rows", [])
        if rows and rows[0] < len(requests):
            selection.select(prompt=requests[rows[0]])

    return take


def show_answers(rows: pd.DataFrame, arms: Sequence[Arm]) -> None:
    """Show one request's answers side by side, the aligned model first.

    Parameters
    ----------
    rows : DataFrame
        ``responses`` rows of one request, with ``variant``.
    """
    first, named = rows.iloc[0], by_label([ALIGNED, *arms])
    st.text(f"Request ({first['category'] if pd.notna(first['category']) else first['kind']})")
    st.code(first["prompt"], language=None, wrap_lines=True)
    columns = st.columns(2)
    for place, (_, row) in enumerate(rows.iterrows()):
        with columns[place % 2], st.container(border=True):
            reason = f" ({row['reason']})" if pd.notna(row["reason"]) else ""
            st.text(f"{named[row['variant']].title}: {row['outcome']}{reason}")
            if row["general_outcome"] != row["outcome"]:
                st.caption(plain(f"The general rule says {row['general_outcome']}."))
            key = f"answer_{row['variant']}_{row['seed']}_{row['prompt_id']}"
            if row["response"] or row["reason"] in ("empty", CUT_THOUGHT):
                harmful = row["kind"] == "harmful"
                hidden_text(row["response"], key, harmful=harmful, thought=row.get("thought"))
            else:
                st.caption("This run ships as a summary, without its answers' texts.")
