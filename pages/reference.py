"""Every method, the paper's figures beside the lab's, the words, the limits, how to cite."""

from cwac.ui.frame import page_frame
from cwac.ui.reference.methods import show_catalogue
from cwac.ui.reference.paper import show_paper
from cwac.ui.reference.words import show_citation, show_glossary, show_limits
from cwac.ui.sections import show_tabs

show_tabs(
    page_frame("reference"),
    {
        "methods": show_catalogue,
        "paper": show_paper,
        "glossary": show_glossary,
        "limits": show_limits,
        "cite": show_citation,
    },
)
