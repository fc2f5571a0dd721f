"""Runs the page that the address names."""

from typing import Final

import streamlit as st

from cwac.ui.navigation import PAGES, sections

_ROUTED: Final = "_routed"


def route() -> None:
    """Show the menu and run the chosen page; the first page opens by default."""
    st.session_state[_ROUTED] = True
    _navigation().run()


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
    home = PAGES[first]

    def redirect() -> None:
        st.switch_page(home.path, query_params=st.query_params.to_dict())

    # The first page's own address is the app's; its name must lead there too.
    alias = st.Page(redirect, title=home.title, url_path=first, visibility="hidden")
    menu[next(iter(menu))].append(alias)
    return st.navigation(menu)
