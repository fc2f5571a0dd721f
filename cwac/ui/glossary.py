"""The lab's words, one sentence each, read from ``docs/glossary.md``."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import cwac

_ENTRY: Final = re.compile(r"^- \*\*(.+?)\*\*: (.+)$", re.MULTILINE)


def shipped_text(name: str) -> str:
    """Return a text that ships, by its path in the checkout or inside an installed package."""
    package = Path(cwac.__file__).resolve().parent
    home = package / "_shipped"
    return ((home if home.is_dir() else package.parent) / name).read_text(encoding="utf-8")


def read_glossary(text: str) -> dict[str, str]:
    r"""Return the definition of each term of a glossary, one ``- **term**: definition`` a line.

    Raises
    ------
    ValueError
        A term is defined twice.

    Examples
    --------
    >>> read_glossary("# Words\n\n- **arm**: A method with its settings.\n")
    {'arm': 'A method with its settings.'}
    """
    entries: list[tuple[str, str]] = _ENTRY.findall(text)
    terms = dict(entries)
    if len(terms) < len(entries):
        raise ValueError("the glossary defines a term twice.")
    return terms


def read_sections(text: str) -> dict[str, list[str]]:
    r"""Return the terms of a glossary under each of its headings of the second level.

    Examples
    --------
    >>> read_sections("# Words\n\n## Arms\n\n- **arm**: A method with its settings.\n")
    {'Arms': ['arm']}
    """
    parts = (part.partition("\n") for part in text.split("\n## ")[1:])
    return {title: list(read_glossary(rest)) for title, _, rest in parts}


_TEXT: Final = shipped_text("docs/glossary.md")
GLOSSARY: Final[Mapping[str, str]] = read_glossary(_TEXT)
SECTIONS: Final[Mapping[str, list[str]]] = read_sections(_TEXT)
"""The terms under each heading."""


def define(*terms: str) -> str:
    """Return the definitions of terms, one a line, for a help bubble.

    Raises
    ------
    KeyError
        A term is not in the glossary: that is a mistake of ours, which the tests find.
    """
    return "\n\n".join(f"**{term}**: {GLOSSARY[term]}" for term in terms)
