"""The citation file, read: one home of title, version and authors, and BibTeX made of it.

Stands alone because the file is YAML of a fixed form, for which no library is asked for.
"""

import re
from typing import Final

_LINE: Final = re.compile(r"^(?P<indent> *)(?:- )?(?P<key>[a-z-]+): *(?P<value>.+)$")


def read_citation(text: str) -> dict[str, str]:
    r"""Return the fields of a ``CITATION.cff``; those of its reference are ``reference.*``.

    Examples
    --------
    >>> read_citation('title: "A"\nauthors:\n  - name: B\nreferences:\n  - title: C')
    {'title': 'A', 'name': 'B', 'reference.title': 'C'}

    People of several names are joined as BibTeX has them.

    >>> read_citation("- family-names: A\n  given-names: B.\n- family-names: C")
    {'name': 'A, B. and C'}
    """
    fields: dict[str, str] = {}
    prefix = ""
    for line in text.splitlines():
        if line.startswith("references:"):
            prefix = "reference."
        read = _LINE.match(line)
        if not read:
            continue
        key, value, name = read["key"], read["value"].strip().strip('"'), f"{prefix}name"
        if key == "family-names":
            fields[name] = f"{fields[name]} and {value}" if name in fields else value
        elif key == "given-names":
            fields[name] += f", {value}"
        else:
            fields.setdefault(prefix + key, value)
    return fields


def bibtex(text: str) -> str:
    """Return the entries of a ``CITATION.cff`` in BibTeX: the software's and its reference's."""
    fields = read_citation(text)
    return "\n\n".join(
        (
            # In braces: a group's name is no first and last name.
            _entry(
                "software", "cwac_lab", fields["title"], f"{{{fields['name']}}}", _version(fields)
            ),
            _entry(
                "misc",
                "cwac",
                fields["reference.title"],
                fields["reference.name"],
                {"note": fields["reference.notes"], "year": fields["reference.year"]},
            ),
        )
    )


def _version(fields: dict[str, str]) -> dict[str, str]:
    return {name: fields[name] for name in ("version", "license") if name in fields}


def _entry(kind: str, key: str, title: str, author: str, further: dict[str, str]) -> str:
    lines = {"title": f"{{{title}}}", "author": author, **further}
    body = ",\n".join(f"  {name} = {{{value}}}" for name, value in lines.items())
    return f"@{kind}{{{key},\n{body}\n}}"
