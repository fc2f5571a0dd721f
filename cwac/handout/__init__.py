"""Hand-outs: one HTML file with text, figures and tables, for the app and the command line."""

from cwac.handout.document import Handout, Section
from cwac.handout.experiment import experiment_handout
from cwac.handout.one_page import one_page_handout
from cwac.handout.page import render
from cwac.handout.stored import chosen

__all__ = ["Handout", "Section", "chosen", "experiment_handout", "one_page_handout", "render"]
