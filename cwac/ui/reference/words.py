"""The tabs that show texts of the lab: the glossary, the limits, how to cite."""

import re
from typing import Final

import streamlit as st

from cwac.analysis.reported import source
from cwac.ui.folding import fold
from cwac.ui.frame import Frame
from cwac.ui.glossary import GLOSSARY, SECTIONS, shipped_text
from cwac.ui.reference.citation import bibtex, read_citation
from cwac.ui.widgets import plain, type_text

_EXAMPLES = "every word must occur: drift, refusal, latent …"
LIMITS = "docs/limits.md"
_LINK: Final = re.compile(r"\[[^\]]+\]\(([\w.]+\.md)\)")
CITATION = "CITATION.cff"


def matching(words: str) -> dict[str, dict[str, str]]:
    """Return the glossary's entries, by section, in which every word occurs."""
    wanted = words.lower().split()
    kept: dict[str, dict[str, str]] = {}
    for section, terms in SECTIONS.items():
        entries = {
            term: GLOSSARY[term]
            for term in terms
            if all(word in f"{term} {GLOSSARY[term]}".lower() for word in wanted)
        }
        if entries:
            kept[section] = entries
    return kept


def show_glossary(frame: Frame) -> None:
    """Show the tab: every word of the lab, searched."""
    del frame
    words = type_text("Search the glossary", "words", placeholder=_EXAMPLES)
    kept = matching(words)
    count = sum(map(len, kept.values()))
    if not count:
        st.info("No term matches; clear the search.", icon="🔎")
        return
    st.caption(f"{count} of {len(GLOSSARY)} terms, one sentence each; charts explain theirs too.")
    for place, (section, entries) in enumerate(kept.items()):
        opened = place == 0 or bool(words)
        label = f"**{plain(section)}** ({len(entries)})"
        with fold(label, f"words_{section}", expanded=opened):
            lines = (f"- **{plain(term)}**: {plain(text)}" for term, text in entries.items())
            st.markdown("\n".join(lines))


def show_limits(frame: Frame) -> None:
    """Show the tab: how far the results go, and where they stop."""
    del frame
    # A text of the lab's own, its heading left out: the tab has it. What it links to is no page
    # of the app, and a number keeps its unit on its line.
    text = shipped_text(LIMITS).partition("\n")[2]
    st.markdown(re.sub(r"(?<=\d) %", "\u00a0%", _LINK.sub(r"`docs/\1`", text)))


def show_citation(frame: Frame) -> None:
    """Show the tab: how to cite the lab and the paper whose method it studies."""
    del frame
    text = shipped_text(CITATION)
    st.markdown(plain(read_citation(text)["message"]))
    st.code(bibtex(text), language=None, wrap_lines=True)
    st.caption(f"Reported figures that the lab sets beside its own: {plain(source())}")
    with fold(f"The file {CITATION}, which reference managers read", "folded_citation"):
        st.code(text, language=None, wrap_lines=True)
