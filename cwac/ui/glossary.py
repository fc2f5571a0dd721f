"""The lab's words, one sentence each, read from ``docs/glossary.md``."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import cwac

_ENTRY: Final = re.compile(r"^- \*\*(.+?)\*\*: (.+)$", re.MULTILINE)


def glossary_path() -> Path:
    """Return where the glossary lies: inside an installed package, or in the checkout beside it."""
    package = Path(cwac.__file__).resolve().parent
    home = package / "_shipped"
    return (home if home.is_dir() else package.parent) / "docs" / "glossary.md"


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


GLOSSARY: Final[Mapping[str, str]] = read_glossary(glossary_path().read_text(encoding="utf-8"))


def define(*terms: str) -> str:
    """Return the definitions of terms, one a line, for a help bubble.

    Raises
    ------
    KeyError
        A term is not in the glossary: that is a mistake of ours, which the tests find.
    """
    return "\n\n".join(f"**{term}**: {GLOSSARY[term]}" for term in terms)
