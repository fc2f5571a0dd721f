"""Harmful score against task accuracy, over strengths and poison, and the 2 x 2 test."""

import streamlit as st

from cwac.ui import trade_off
from cwac.ui.choices import show_choices
from cwac.ui.frame import page_frame

frame = page_frame("trade_off")
# Drawn in this order, filled in another: the rest must not wait for the methods' knobs, nor the
# first figures for what takes longest.
top, choices, rest, limits = (st.container() for _ in range(4))
with rest:
    trade_off.show_poison(frame)
    trade_off.show_coupling(frame)
with top:
    st.subheader("Harmful score against task accuracy", anchor=False)
    knobs = trade_off.knobs_or_message()
    found = trade_off.points_in_view(frame, knobs)
    trade_off.show_points(found)
with limits:
    trade_off.show_limits(frame, found, knobs)
with choices:
    show_choices(frame, knobs)
