"""Every method with its source and cost, and the paper's figures beside the lab's."""

from cwac.ui.frame import page_frame
from cwac.ui.reference.methods import show_catalogue
from cwac.ui.reference.paper import show_paper
from cwac.ui.sections import show_tabs

show_tabs(page_frame("reference"), {"methods": show_catalogue, "paper": show_paper})
