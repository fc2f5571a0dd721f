"""Runs the page that the address names."""

import streamlit as st

from cwac.ui.navigation import PAGES, sections


def route() -> None:
    """Show the menu and run the chosen page; the first page opens by default."""
    first = next(iter(PAGES))
    menu = {
        heading: [
            st.Page(page.path, title=page.title, icon=page.icon, default=page.name == first)
            for page in pages
        ]
        for heading, pages in sections().items()
    }
    st.navigation(menu).run()
