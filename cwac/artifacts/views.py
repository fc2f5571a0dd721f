"""Views that a reader saved: a name and the link that shows it, beside the notes.

``<root>/.notes/.views.json`` in the reader's own root. A link holds what is chosen and no text of
a run; what a later version does not know in it is left out where it is opened.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from cwac.artifacts.atomic import write_text
from cwac.artifacts.leftovers import NOTES
from cwac.errors import ArtifactError
from cwac.intake import check_plain, is_text, parse_json, shown

_FILE: Final = ".views.json"
VIEWS: Final = 50
LONGEST_NAME: Final = 60
_LARGEST: Final = 200_000
Link = Mapping[str, list[str]]
"""The query of a link: each name with its values."""


def views_file(root: Path) -> Path:
    """Return where the views of a root are saved."""
    return root / NOTES / _FILE


def read_views(root: Path) -> dict[str, Link]:
    """Return the saved views of a root by name, in the order of saving.

    Raises
    ------
    ArtifactError
        The file is damaged.
    """
    path = views_file(root)
    if not path.exists():
        return {}
    try:
        check_plain(path, _LARGEST)
        raw: Any = parse_json(path.read_bytes())
        views = {name: _link(link) for name, link in raw.items()}
    except (OSError, ValueError, TypeError, AttributeError, ArtifactError):
        raise ArtifactError(f"the saved views {NOTES}/{_FILE} cannot be read.") from None
    return {name: link for name, link in views.items() if is_text(name)}


def save_view(root: Path, name: str, link: Link) -> None:
    """Store a view under a name, in the place of an earlier one of that name.

    Raises
    ------
    ArtifactError
        The name is empty, too long or no text; there are too many; or the file is damaged, which
        is then left as it is.
    """
    if not 0 < len(name) <= LONGEST_NAME or not is_text(name):
        raise ArtifactError(
            f"a view's name has 1 to {LONGEST_NAME} characters, not {shown(name, 80)}."
        )
    views = read_views(root)
    if name not in views and len(views) >= VIEWS:
        raise ArtifactError(f"at most {VIEWS} views can be saved; remove one first.")
    _write(root, {**views, name: _link(link)})


def delete_view(root: Path, name: str) -> None:
    """Remove a view; nothing happens where there is none of that name."""
    _write(root, {other: link for other, link in read_views(root).items() if other != name})


def _write(root: Path, views: Mapping[str, Link]) -> None:
    path = views_file(root)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, json.dumps(views, ensure_ascii=False))


def _link(link: Any) -> Link:
    return {str(name): [str(value) for value in list(values)] for name, values in link.items()}
