"""A note and tags for a run, kept in the reader's own root; shipped runs can have them too."""

from collections.abc import Mapping
from pathlib import Path

import streamlit as st

from cwac.artifacts import Note, read_notes, save_note
from cwac.errors import ArtifactError
from cwac.ui import reads
from cwac.ui.readonly import check_writable, read_only


def notes_in_view() -> Mapping[str, Note]:
    """Return every note of the reader's own root, by run."""
    return read_notes(Path(reads.roots()[0]))


def show_note(run_id: str, notes: Mapping[str, Note]) -> None:
    """Let the reader write a note and tags; both are stored when they change."""
    note = notes.get(run_id, Note())
    tags = list(dict.fromkeys(tag for each in notes.values() for tag in each.tags))
    left, right = st.columns([3, 2])
    text_key, tags_key = f"note_{run_id}", f"tags_{run_id}"
    st.session_state[text_key], st.session_state[tags_key] = note.text, list(note.tags)

    def take() -> None:
        words = tuple(str(tag).strip() for tag in st.session_state[tags_key])
        new = Note(str(st.session_state[text_key]).strip(), tuple(filter(None, words)))
        try:
            check_writable()
            save_note(Path(reads.roots()[0]), run_id, new)
        except (ArtifactError, OSError) as problem:
            st.session_state["runs_problem"] = str(problem)

    fixed = read_only()
    left.text_input("Note", key=text_key, on_change=take, placeholder="none", disabled=fixed)
    right.multiselect(
        "Tags",
        tags,
        key=tags_key,
        on_change=take,
        accept_new_options=True,
        disabled=fixed,
        placeholder="type one",
    )
