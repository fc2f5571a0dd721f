"""Runs the page that the address names."""

from functools import partial
from typing import Final

import streamlit as st

from cwac.memory import share_memory
from cwac.ui import selection
from cwac.ui.memory import give_back
from cwac.ui.navigation import MOVED, PAGES, sections

_ROUTED: Final = "_routed"


def route() -> None:
    """Show the menu and run the chosen page; the first page opens by default."""
    share_memory()
    st.session_state[_ROUTED] = True
    try:
        _navigation().run()
    finally:
        give_back()


def through_router() -> None:
    """Start again through `route` where a page runs without it.

    Until `st.navigation` was called once in a server's life, Streamlit takes the folder of pages
    for its older kind of app: a link to a page then runs that file alone, under a menu of file
    names.
    """
    if _ROUTED not in st.session_state:
        st.session_state[_ROUTED] = True
        _navigation()
        st.rerun()


def _navigation() -> st.Page:
    first = next(iter(PAGES))
    menu = {
        heading: [
            st.Page(
                page.path,
                title=page.title,
                icon=page.icon,
                default=page.name == first,
                url_path="home" if page.name == first else None,
            )
            for page in pages
        ]
        for heading, pages in sections().items()
    }
    # The first page's own address is the app's; its name must lead there too.
    moved = {first: (first, None), **MOVED}
    hidden = [
        st.Page(partial(_redirect, page, tab), title=old, url_path=old, visibility="hidden")
        for old, (page, tab) in moved.items()
    ]
    menu[next(iter(menu))].extend(hidden)
    return st.navigation(menu, position="top" if selection.coming().presenter else "sidebar")


def _redirect(page: str, tab: str | None) -> None:
    query = st.query_params.to_dict() if tab is None else {**st.query_params.to_dict(), "tab": tab}
    st.switch_page(PAGES[page].path, query_params=query)
