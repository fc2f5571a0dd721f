"""Whether the app may change anything: ``cwac app --read-only`` shows stored runs and no more.

Stands alone because everything that starts, asks, adds or deletes looks here, and nothing else
decides it. The functions that do so refuse (`check_writable`); the controls that would call them
are not drawn, or disabled.
"""

import os
from typing import Final

import streamlit as st

from cwac.errors import ArtifactError

VARIABLE: Final = "CWAC_READ_ONLY"
"""The environment variable that the command line sets for the server."""
SENTENCE: Final = (
    "This app is read-only: it shows what is stored, and starts, asks, adds and deletes nothing."
)


class ReadOnlyError(ArtifactError):
    """Something would have been changed in a read-only app."""


def read_only() -> bool:
    """Whether nothing may be started, asked, added or deleted; `VARIABLE` is set, not to 0."""
    return os.environ.get(VARIABLE, "") not in {"", "0"}


def check_writable() -> None:
    """Do nothing where the app may change something.

    Raises
    ------
    ReadOnlyError
        The app is read-only.
    """
    if read_only():
        raise ReadOnlyError(SENTENCE)


def show_read_only() -> bool:
    """Say in place of controls that the app is read-only, where it is; return whether it is."""
    if read_only():
        st.info(SENTENCE, icon="🔒")
    return read_only()
