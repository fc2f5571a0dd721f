"""What safety costs each method, under how much poison it holds, and what may be claimed."""

from cwac.ui.frame import page_frame
from cwac.ui.results.attacks import show_attacks
from cwac.ui.results.claims import show_claims
from cwac.ui.results.trade_off import show_cost, show_poison, show_what_matters
from cwac.ui.sections import show_tabs

show_tabs(
    page_frame("results"),
    {
        "cost": show_cost,
        "poison": show_poison,
        "claims": show_claims,
        "choices": show_what_matters,
        "attacks": show_attacks,
    },
)
