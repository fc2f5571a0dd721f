"""On which tasks and models each method holds, what it costs, and what may be claimed."""

from cwac.ui.frame import page_frame
from cwac.ui.results.attacks import show_attacks
from cwac.ui.results.choices import show_ablations
from cwac.ui.results.claims import show_claims
from cwac.ui.results.cost import show_beyond_greedy, show_cost
from cwac.ui.results.everywhere import show_everywhere
from cwac.ui.results.matrix import show_matrix
from cwac.ui.results.poison import show_poison
from cwac.ui.sections import show_tabs

show_tabs(
    page_frame("results"),
    {
        "tasks": show_matrix,
        "settings": show_everywhere,
        "cost": show_cost,
        "poison": show_poison,
        "claims": show_claims,
        "attacks": show_attacks,
        "choices": show_ablations,
        "hidden": show_beyond_greedy,
    },
)
