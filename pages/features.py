"""Which safety features changed under each arm, and which the penalty held."""

from cwac.ui.features.changes import show_held, show_moved
from cwac.ui.features.fit import show_fit
from cwac.ui.features.latents import show_latents
from cwac.ui.frame import page_frame
from cwac.ui.sections import show_tabs

show_tabs(
    page_frame("features"),
    {"latents": show_latents, "moved": show_moved, "held": show_held, "fit": show_fit},
)
