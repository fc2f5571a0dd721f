"""The Trade-off page's section on attackers: each defence under the worst of them.

Stands alone because its runs are of other experiments than the one in view.
"""

import streamlit as st

from cwac.analysis.attacks import FLOORS, attacked_runs, of_setting, worst_cases
from cwac.figures.trade_off.attacks import worst_figure
from cwac.rates import RATES
from cwac.ui.frame import Frame
from cwac.ui.widgets import show_figure


def show_attacks(frame: Frame) -> None:
    """Draw each defence's worst case over attackers; nothing where there were none."""
    if not frame.experiments:
        return
    first = frame.experiments[0]
    judge = first.judge
    alike = [r for e in frame.listing.experiments if e.judge == judge for r in e.records]
    runs = of_setting(alike, first.records[0])
    table = worst_cases(attacked_runs(runs))
    if table["value"].notna().sum() == 0:
        return
    st.subheader("Under the worst attacker", anchor=False)
    floors = " and ".join(f"{RATES[name].term} {100 * low:.0f} %" for name, low in FLOORS.items())
    show_figure(
        worst_figure(table, list({r.arm.label: r.arm.over(None) for r in runs}.values())),
        "worst_case",
        data=table.drop(columns="setting"),
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
        st.caption(f"Attacks that broke the model and do not count: {named}.")
