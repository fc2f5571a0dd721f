"""Hand-outs: one HTML file with text, figures and tables, for the app and the command line."""

from cwac.handout.document import Handout, Section
from cwac.handout.page import render

__all__ = ["Handout", "Section", "render"]
