"""Names in a row, as a sentence has them.

Stands alone because sentences about seeds, models, methods and judges all end in such a row.
"""

from collections.abc import Iterable


def enumerated(names: Iterable[str]) -> str:
    """Return one name or more with commas between them and "and" before the last.

    Examples
    --------
    >>> enumerated(["a", "b", "c"]), enumerated(["a"])
    ('a, b and c', 'a')
    """
    *most, last = names
    return f"{', '.join(most)} and {last}" if most else last
