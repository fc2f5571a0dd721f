"""Deleting the marked runs: asked once for each choice, and undone with one button."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import streamlit as st

from cwac.artifacts import StoredRun, empty_trash, restore_trash, trash_runs, trashed
from cwac.errors import ArtifactError
from cwac.ui import reads, selection
from cwac.ui.readonly import check_writable, read_only
from cwac.ui.widgets import plain

_DOOMED: Final = "runs_doomed"
"""The choice that the reader is asked about; another choice is not confirmed by it."""


def show_deletion(marked: Sequence[StoredRun]) -> None:
    """Offer to delete the marked runs, after a question that belongs to this choice alone."""
    if read_only():
        st.caption("Read-only: runs stay.")
        return
    own = tuple(sorted(run.run_id for run in marked if reads.origin(run.root) != "shipped"))
    if not own:
        st.caption("Shipped runs stay.")
        return
    if st.session_state.get(_DOOMED) != own:
        st.session_state.pop(_DOOMED, None)
        label = "Delete" if len(own) == 1 else f"Delete {len(own)} runs"
        st.button(label, key="runs_delete", on_click=_ask, args=(own,))
        return
    shipped = len(marked) - len(own)
    rest = f" The {shipped} shipped ones stay." if shipped else ""
    named = own[0] if len(own) == 1 else f"{len(own)} runs"
    st.warning(plain(f"Delete {named}? They go to the trash, from which they can be put back until "
                     f"the next ones are deleted, for a week at most.{rest}"))  # fmt: skip
    with st.container(horizontal=True):
        st.button(
            "Move to the trash", key="runs_delete_now", type="primary", on_click=_delete,
            args=(own,),
        )  # fmt: skip
        st.button("Keep", key="runs_keep", on_click=_ask, args=(None,))


def show_trash() -> None:
    """Say what is in the trash, and offer to put it back."""
    names = trashed(_root())
    if not names or read_only():
        return
    named = names[0] if len(names) == 1 else f"{len(names)} runs"
    with st.container(horizontal=True, vertical_alignment="center"):
        st.info(plain(f"Deleted: {named}."), icon="🗑️")
        st.button("Undo", key="runs_undo", on_click=_restore)
        st.button("Delete for good", key="runs_empty", on_click=_empty)


def _root() -> Path:
    return Path(reads.roots()[0])


def _ask(choice: tuple[str, ...] | None) -> None:
    st.session_state[_DOOMED] = choice


def _delete(choice: tuple[str, ...]) -> None:
    st.session_state.pop(_DOOMED, None)
    try:
        check_writable()
        trash_runs(reads.store(), choice)
    except (ArtifactError, OSError) as problem:
        st.session_state["runs_problem"] = str(problem)
        return
    kept = [name for name in selection.current().marked if name not in choice]
    selection.select(marked=tuple(kept))


def _restore() -> None:
    try:
        check_writable()
        restore_trash(_root())
    except (ArtifactError, OSError) as problem:
        st.session_state["runs_problem"] = str(problem)


def _empty() -> None:
    try:
        check_writable()
        empty_trash(_root())
    except (ArtifactError, OSError) as problem:
        st.session_state["runs_problem"] = str(problem)
