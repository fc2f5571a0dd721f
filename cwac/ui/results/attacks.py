"""The tab on attackers: each defence under every one, and under the worst."""

from collections.abc import Sequence
from functools import partial

import pandas as pd
import streamlit as st

from cwac.analysis.attacks import FLOORS, PLAIN, by_attacker, worst_cases
from cwac.analysis.claims import FOCUS
from cwac.analysis.holding import GREEDY
from cwac.analysis.matrix import SHOWN, holds_sentence, low_everywhere
from cwac.analysis.readable import ARM, Quantity, readable
from cwac.arms import Arm, by_label
from cwac.figures.results.attacks import worst_figure
from cwac.figures.results.matrix import matrix_figure
from cwac.rates import RATES
from cwac.ui.elsewhere import attacks_in_view
from cwac.ui.frame import Frame
from cwac.ui.once import once
from cwac.ui.results.matrix import matrix_text
from cwac.ui.sections import not_measured
from cwac.ui.widgets import plain, show_figure


def show_attacks(frame: Frame) -> None:
    """Show the tab: each defence under the worst of the attackers that were tried."""
    attacked, arms = attacks_in_view(frame)
    table = once(worst_cases, attacked)
    if table["value"].notna().sum() == 0:
        not_measured(
            "Any attacker but the one in view",
            command="cwac sweep cached_artifacts/grids/attacks.toml",
        )
        return
    floors = " and ".join(f"{RATES[name].term} {100 * low:.0f} %" for name, low in FLOORS.items())
    _show_every_attacker(attacked, arms)
    show_figure(
        partial(worst_figure, table, arms),
        "worst_case",
        data=table.drop(columns="setting"),
        text=partial(
            readable,
            table,
            arms,
            Quantity("value", "Harmful score under it", "%", ends="95 % for all attackers at once"),
            Quantity("lowest", "Under the mildest", "%", low="", high=""),
            down={**ARM, "attacker": "Worst attacker"},
        ),
        reading="A row per defence, from its mildest attacker to its worst (dot; its interval is "
        "for all attackers at once). Attackers train otherwise or hand in other examples. An "
        f"attack counts only while the model still chats: at least {floors}.",
        terms=("attacker", "harmful score", "helpfulness", "task accuracy", "interval"),
    )
    lost = table[table["counted"] < table["attackers"]]
    if len(lost):
        named = "; ".join(
            f"{row['variant']} {row['attackers'] - row['counted']} of {row['attackers']}"
            for row in lost.to_dict("records")
        )
        st.caption(f"Attacks that broke the model and do not count: {plain(named)}.")


def _show_every_attacker(attacked: pd.DataFrame, arms: Sequence[Arm]) -> None:
    """Say how many attackers the focus withstands, and draw every rate under every one."""
    table = once(by_attacker, attacked)
    focus = by_label(arms).get(FOCUS)
    sentence = "" if focus is None else holds_sentence(table, focus, "attackers", by="under")
    if sentence:
        st.markdown(f"##### {plain(sentence)} ({GREEDY.capitalize()}.)")
    title = f"{once(low_everywhere, table, arms, 'attackers', by='under')} ({GREEDY})"
    show_figure(
        partial(matrix_figure, table, arms, title, stacked=True),
        "attackers",
        data=table,
        text=matrix_text(table, arms),
        reading="Per cent; blue is good, orange bad, empty not measured; intervals and counts at "
        f"the pointer. {PLAIN.capitalize()} trains as most of these runs do; each other one is "
        "named by what differs. Intervals: Wilson's over requests or, where wider, Student's over "
        "seeds; other tabs resample both.",
        terms=("attacker", *(RATES[name].term for name in SHOWN)),
    )
