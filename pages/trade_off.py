"""Harmful score against task accuracy, over strengths and poison, and the 2 x 2 test."""

import streamlit as st

from cwac.ui import trade_off
from cwac.ui.attacks import show_attacks
from cwac.ui.frame import page_frame
from cwac.ui.hidden import show_hidden

frame = page_frame("trade_off")
# Drawn in this order, filled in another: nothing waits for what takes longer than itself.
top, hidden, attacked, choices, rest, limits = (st.container() for _ in range(6))


def show_rest() -> None:
    """Fill what needs no method's knob."""
    with rest:
        trade_off.show_poison(frame)
        trade_off.show_coupling(frame)


first = not trade_off.knobs_known()
if first:
    show_rest()
with top:
    st.subheader("Harmful score against task accuracy", anchor=False)
    knobs = trade_off.knobs_or_message()
    shown = trade_off.points_in_view(frame, knobs)
    trade_off.show_points(shown)
with hidden:
    show_hidden(frame, shown.points)
with attacked:
    show_attacks(frame)
if not first:
    show_rest()
with limits:
    trade_off.show_limits(frame, shown, knobs)
with choices:
    trade_off.show_choices(frame, knobs)
