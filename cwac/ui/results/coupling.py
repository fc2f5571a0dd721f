"""CWAC's two halves: whether they reinforce each other, on two scales."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Final

import pandas as pd
import streamlit as st

from cwac import rates
from cwac.analysis import coupling
from cwac.analysis.outcomes import outcomes_of
from cwac.analysis.readable import Quantity, Readable, readable
from cwac.analysis.reported import reported, settings
from cwac.arms import Arm, title_of
from cwac.errors import DataError
from cwac.figures.results.coupling import MARGINS, RATES, coupling_figure
from cwac.statistics import Interaction, Outcomes
from cwac.ui.answers import Key, answers_in_view
from cwac.ui.exports import download_table
from cwac.ui.frame import Frame
from cwac.ui.sections import not_measured
from cwac.ui.widgets import plain, show_figure

END: Final = 0.02
"""Distance from 0 and 1 within which a rate counts as at the end of its scale."""


def show_coupling(frame: Frame) -> None:
    """Show whether the weight and the activation half reinforce each other."""
    margins = coupling.margins_of(frame.records_in_view)
    result = coupling.margin_coupling(margins)
    if result is not None:
        table = coupling.margin_table(margins)
        sentence = coupling.margin_sentence(result, table)
        show_figure(
            partial(coupling_figure, table, sentence.split(":")[0], MARGINS),
            "coupling_margin",
            data=table,
            text=_text(table, "Refusal log-odds", "nats"),
            reading="Parallel lines mean no interaction: the grey star marks where both halves "
            "would then end. Above it they reinforce, below it they overlap. In nats, natural "
            "logarithms of odds: one more is 2.7 times the odds, and the scale has no ends.",
            terms=("interaction", "refusal log-odds", "interval", "CWAC"),
        )
        st.markdown(plain(sentence))
        st.caption(
            plain(f"n = {int(table['n'].min())} harmful requests under {_seeds(result.seeds)} that "
                  "all four share; the interval is over seeds (Student's t), the requests taken as "
                  "given.")
        )  # fmt: skip
    _show_coupled_rates(frame)
    _show_reported()


def _seeds(count: int) -> str:
    return f"{count} seed{'s' if count != 1 else ''}"


def _show_coupled_rates(frame: Frame) -> None:
    """Test the same on harmful scores, whose logits say little near 0 and 100 %."""
    answers = answers_in_view(frame)
    in_table = answers.table["variant"].isin(coupling.FOUR)
    arms = outcomes_of(answers.table[in_table], "harmful_score")
    missing = [name for name in coupling.FOUR if name not in arms]
    if missing:
        not_measured(f"The 2 x 2 table (needs {', '.join(map(title_of, missing))} besides)")
        return
    try:
        interaction, table = _coupled(answers.key, arms)
    except DataError as problem:
        st.info(plain(str(problem)), icon="🕳️")
        return
    sentence = coupling.coupling_sentence(interaction)
    show_figure(
        partial(coupling_figure, table, f"On harmful scores: {_decapitalised(sentence)}", RATES),
        "coupling",
        data=table,
        text=_text(table, rates.RATES["harmful_score"].title, "%"),
        reading="The same four arms by what they answer. The grey star marks where both halves "
        "would end without interaction: each half multiplies the odds of harm (harmful to harmless "
        "answers) by the same, alone or not. Below it they reinforce, above it they overlap.",
        terms=("interaction", "harmful score", "interval", "CWAC"),
    )
    st.markdown(plain(sentence))
    ends = [name for name in coupling.FOUR if not END < arms[name].rate < 1 - END]
    st.caption(plain(_coupling_note(ends, interaction.n, interaction.seeds)))


def _text(table: pd.DataFrame, title: str, unit: str) -> Callable[[], Readable]:
    down = {"arm": "Arm", "weight": "Weight half", "activation": "Activation half"}
    arms = [Arm(method=name) for name in coupling.FOUR]
    return partial(readable, table, arms, Quantity("value", title, unit), down=down)


def _decapitalised(sentence: str) -> str:
    head = sentence.split(":", maxsplit=1)[0]
    return head[:1].lower() + head[1:]


@st.cache_data(max_entries=16, show_spinner=False)
def _coupled(key: Key, _arms: Mapping[str, Outcomes]) -> tuple[Interaction, pd.DataFrame]:
    del key
    return coupling.coupling(_arms), coupling.coupling_table(_arms)


def _coupling_note(ends: Sequence[str], n: int, seeds: int) -> str:
    note = f"n = {n} requests under {_seeds(seeds)} that all four share."
    if seeds == 1:
        note += " One seed says nothing about training noise: the interval is too narrow."
    if ends:
        note += (
            f" {', '.join(map(title_of, ends))}: within {100 * END:.0f} points of 0 or 100 %, "
            "where an effect of one half alone cannot show and the logit hangs on few requests; a "
            "milder attack may give another interaction."
        )
    return note


def _show_reported() -> None:
    table = coupling.reported_couplings(settings(reported(), "harmful_score"))
    lines = [
        f"{row['setting'].split(',')[0].removeprefix('T5 ')} {row['logit']:+.2f} nats "
        f"({row['points']:+.1f} points)"
        for _, row in table.iterrows()
    ]
    st.caption(
        "The same sum over the paper's own table 5, means of its three tasks, single runs without "
        f"intervals: {plain('; '.join(lines))}. All above 0: there the halves overlap."
    )
    download_table(table, "reported_coupling")
