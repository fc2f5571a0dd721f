"""What a reader writes to a run: a note and tags, beside the runs and never inside a record.

``<root>/.notes/<run_id>.json`` in the reader's own root, for shipped runs too: a record is what a
run was, and its checksums hold.
"""

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from cwac.artifacts.atomic import write_text
from cwac.artifacts.leftovers import NOTES
from cwac.errors import ArtifactError
from cwac.intake import check_plain, is_text, names_in, parse_json, shown
from cwac.records import is_name

LONGEST: Final = 2_000
"""Characters of a note."""
TAGS: Final = 12
LONGEST_TAG: Final = 40
_LARGEST: Final = 100_000


@dataclass(frozen=True)
class Note:
    """A note on a run."""

    text: str = ""
    tags: tuple[str, ...] = ()


def save_note(root: Path, run_id: str, note: Note) -> None:
    """Store a note, in the place of an earlier one; an empty one removes it.

    Raises
    ------
    ArtifactError
        A text or a tag is too long or no text, there are too many tags, or the name is none.
    """
    if not is_name(run_id):
        raise ArtifactError(f"{shown(run_id)} is not the name of a run.")
    _check(note)
    path = root / NOTES / f"{run_id}.json"
    if note == Note():
        with suppress(FileNotFoundError):
            path.unlink()
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, json.dumps(asdict(note), ensure_ascii=False))


def read_notes(root: Path) -> Mapping[str, Note]:
    """Return the notes of a root by run; those that cannot be read are left out."""
    notes = {}
    for path in note_files(root):
        with suppress(ArtifactError):
            notes[path.stem] = read_note(path)
    return notes


def note_files(root: Path) -> list[Path]:
    """Return the files that hold notes."""
    names = names_in(root / NOTES)
    return [root / NOTES / n for n in names if n.endswith(".json") and not n.startswith(".")]


def read_note(path: Path) -> Note:
    """Return what a file of a note holds.

    Raises
    ------
    ArtifactError
        Names the file, and what is wrong with it.
    """
    try:
        check_plain(path, _LARGEST)
        raw: Any = parse_json(path.read_bytes())
        note = Note(raw["text"], tuple(raw["tags"]))
        _check(note)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, ArtifactError):
        raise ArtifactError(f"the note {NOTES}/{path.name} cannot be read.") from None
    return note


def _check(note: Note) -> None:
    if len(note.text) > LONGEST or not is_text(note.text):
        raise ArtifactError(f"a note has at most {LONGEST:,} characters; this has "
                            f"{len(note.text):,}.")  # fmt: skip
    if len(note.tags) > TAGS:
        raise ArtifactError(f"a run has at most {TAGS} tags, not {len(note.tags)}.")
    for tag in note.tags:
        if not 0 < len(tag) <= LONGEST_TAG or not is_text(tag):
            raise ArtifactError(f"a tag has 1 to {LONGEST_TAG} characters, not {shown(tag, 60)}.")
