"""The Reference page: which results are laid beside the paper's, and what cannot be compared."""

from collections.abc import Sequence
from functools import partial
from typing import Any, Final

import pandas as pd
import streamlit as st

from cwac.analysis import orderings, reported
from cwac.analysis.idle import idle_arms
from cwac.analysis.orderings import FEWEST, Ours
from cwac.analysis.readable import Quantity, readable
from cwac.analysis.reported import OURS, QUANTITIES
from cwac.arms import title_of
from cwac.figures import reference as figures
from cwac.rates import RATES
from cwac.ui.answers import Answers, Key, answers_in_view
from cwac.ui.exports import download_table
from cwac.ui.folding import show_folded
from cwac.ui.frame import Frame
from cwac.ui.sections import link_to_page, not_measured
from cwac.ui.widgets import choose, plain, show_figure

_NOT_COMPARABLE: Final = {
    "Levels of any number": "The paper tunes chat models of 7 to 9 billion parameters; the "
    "organism here has about a million. Only orderings are set side by side.",
    RATES[
        "harmful_score"
    ].title: "The paper's is a moderation classifier's verdict (Ji et al. 2023) on its "
    "own pool of requests; here rules mark compliance on made-up or own requests, and gibberish "
    "counts as undetermined, not as harmful.",
    "The aligned model": "The paper never reports the harmful score before fine-tuning, so that "
    "no drift can be worked out from it; here it is measured.",
    "Uncertainty": "The paper prints single runs without seeds, intervals or tests; intervals on "
    "this page are ours alone.",
    "Poison": "The paper draws it from the pool that it also evaluates on; here training and "
    "test requests are disjoint.",
    "AlpacaEval, figures": "Win rates (table 2) and the figures over learning rate and epochs, "
    "which come without a table, have no counterpart here.",
}


def measured(frame: Frame, quantity: str) -> Ours | None:
    """Return our rates at default settings of the methods that the paper has, None without any.

    A method that did nothing here is plain fine-tuning under another name and has no place.
    """
    if not frame.experiments:
        return None
    config = frame.experiments[0].config
    answers = answers_in_view(frame)
    label = f"{config.task.label}, poison {config.poison_ratio:g}"
    ours = _ours(answers.key, quantity, label, config.poison_ratio, answers)
    return None if ours.rates.empty else ours


@st.cache_data(max_entries=16, show_spinner=False)
def _ours(key: Key, quantity: str, label: str, poison: float, _answers: Answers) -> Ours:
    del key
    responses = _answers.table
    acting = responses[~responses["variant"].isin(idle_arms(responses))]
    return orderings.ours(acting, quantity, tuple(OURS.values()), label, poison)


def show_orderings(frame: Frame, quantity: str) -> None:
    """Show ranks and Kendall's tau against the runs in view, or say that there are none."""
    ours = measured(frame, quantity)
    if ours is None:
        if frame.records:
            not_measured("Any of the paper's methods")
        else:
            st.info(
                "No run is stored yet, so that nothing stands beside the paper's numbers. Start "
                "one on the Runs page.",
                icon="🌱",
            )
            link_to_page("runs", "launch", label="Start a run")
        return
    table = reported.settings(reported.reported(), quantity)
    agreement = orderings.agreement(table, ours)
    ranks = orderings.rank_table(table, ours, quantity)
    if agreement["tau"].notna().any():
        show_figure(
            partial(figures.agreement_figure, agreement, ours, quantity),
            "paper_agreement",
            data=agreement,
            reading="1: the same order as ours, 0: no relation, -1: reversed. Bars: 95 % intervals "
            "from our seeds and requests alone; few methods make tau coarse. T1 to T5: the paper's "
            "tables.",
            terms=("Kendall's tau", "interval", "arm"),
        )
    else:
        st.info(f"An ordering takes {FEWEST} methods in common; there are fewer.", icon="🕳️")
    _show_few(agreement)
    show_figure(
        partial(figures.rank_figure, ranks, quantity),
        "paper_ranks",
        data=ranks,
        text=partial(
            readable,
            ranks,
            (),
            Quantity("value", f"{quantity.replace('_', ' ').capitalize()} (%)"),
            down={"setting": "Setting"},
            across=("method", "Method"),
            name=title_of,
            absent="",
        ),
        reading="A column of one shade is a method that all settings rank alike. Ranks are of "
        "point estimates: neighbours need not differ beyond noise. Empty: no such number in the "
        "paper.",
        terms=(quantity.replace("_", " "),),
    )


def _show_few(agreement: pd.DataFrame) -> None:
    most = int(agreement["methods"].max())
    few = int((agreement["methods"] < FEWEST).sum())
    parts = [f"At most {most} methods are in both."]
    if most >= FEWEST:
        orders = 1
        for number in range(2, most + 1):
            orders *= number
        parts.append(f"By chance alone {most} methods agree fully once in {orders} orders.")
    if few:
        parts.append(f"{few} settings share fewer than {FEWEST} with ours and have no tau.")
    st.caption(" ".join(parts))


def show_averages() -> None:
    """Show the printed averages that do not add up, and cells that two tables print unlike."""
    table = reported.reported()
    means = reported.averages(table)
    off = means[~means["adds_up"]]
    st.markdown(
        f"**{len(off)} of {len(means)}** printed averages differ from the mean of their printed "
        "cells by more than rounding. This page uses the recomputed ones throughout."
    )
    shown = off.drop(columns="adds_up").assign(quantity=off["quantity"].map(QUANTITIES))
    number: Any = st.column_config.NumberColumn
    st.dataframe(
        shown,
        hide_index=True,
        key="paper_averages",
        column_config={
            "printed": number("printed (%)", format="%.2f"),
            "recomputed": number("true mean (%)", format="%.2f"),
            "difference": number("difference (points)", format="%+.2f"),
            "hidden_cell": number(
                "one more cell (%)",
                format="%.2f",
                help="What one further, unprinted cell would have to be for the printed average to "
                "hold. In table 3 it is plausible throughout as a column without poison.",
            ),
        },
    )
    download_table(means, "paper_averages", "All averages (CSV)")


def show_repeated() -> None:
    """Show what tables 1 and 5 print for the same cell."""
    table = reported.repeated_cells(reported.reported())
    apart = table["difference"].abs()
    st.markdown(
        f"Tables 1 and 5 both print **{len(table)}** numbers for the same model, method and task: "
        f"they differ by {apart.median():.1f} points in the median and by up to "
        f"{apart.max():.1f}. A gap between two methods below that says little."
    )
    shown = table.assign(quantity=table["quantity"].map(QUANTITIES))
    shown = shown.loc[apart.sort_values(ascending=False).index]
    number: Any = st.column_config.NumberColumn
    st.dataframe(
        shown,
        hide_index=True,
        key="paper_repeated",
        height=250,
        column_config={
            "table_1": number("table 1 (%)", format="%.2f"),
            "table_5": number("table 5 (%)", format="%.2f"),
            "difference": number("difference (points)", format="%+.2f"),
        },
    )
    download_table(table, "paper_repeated")


def show_limits(frame: Frame) -> None:
    """Say what cannot be compared and why, and which methods one side lacks."""
    default = {r.arm.method for r in frame.records if not r.arm.changed}
    lines = [f"**{title}.** {text}" for title, text in _NOT_COMPARABLE.items()]
    st.markdown("\n".join(f"- {line}" for line in (*lines, *_one_sided(default))))


def _one_sided(default: set[str]) -> Sequence[str]:
    missing = [theirs for theirs, ours in OURS.items() if ours not in default]
    further = sorted(default - set(OURS.values()))
    lines = []
    if missing:
        lines.append(f"**In the paper, not in the runs in view:** {plain(', '.join(missing))}.")
    if further:
        named = plain(", ".join(map(title_of, further)))
        lines.append(f"**In the runs in view, not in the paper:** {named}.")
    return lines


def show_paper(frame: Frame) -> None:
    """Show the tab: the paper's reported figures beside the lab's own."""
    st.caption(f"Reported figures, not measured here: {reported.source()}")

    st.subheader("Do methods come out in the same order?", anchor=False)
    quantity = choose(
        "Quantity",
        sorted(QUANTITIES),
        "rate",
        show=QUANTITIES.__getitem__,
        flat=True,
    )
    show_orderings(frame, quantity)

    show_folded("What cannot be compared, and why", "folded_limits", lambda: show_limits(frame))
    show_folded("Do the paper's averages add up?", "folded_averages", show_averages)
    show_folded("Do the paper's tables agree with each other?", "folded_repeated", show_repeated)
    show_folded("All reported figures, as printed", "folded_reported", show_reported)


def show_reported() -> None:
    """Show every figure as the paper prints it."""
    st.dataframe(reported.reported(), hide_index=True, key="paper_reported")
    download_table(reported.reported(), "paper_reported")
