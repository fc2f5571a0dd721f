"""What one harm category is made of, and how a table of words becomes one."""

from dataclasses import dataclass


@dataclass(frozen=True)
class HarmCategory:
    """One harm category: harmful verbs x objects, and the harmless neighbours of both.

    Attributes
    ----------
    verbs, objects
        Every verb with every object is a harmful request.
    safe_verbs
        Every safe verb with every object of the category is harmless.
    safe_uses
        Pairs of (verbs, objects); these harmful verbs with these objects are harmless.
    """

    name: str
    verbs: tuple[str, ...]
    objects: tuple[str, ...]
    safe_verbs: tuple[str, ...]
    safe_uses: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...]


def words(text: str) -> tuple[str, ...]:
    """Split a table cell at commas."""
    return tuple(part.strip() for part in text.split(",") if part.strip())


def category(
    name: str, verbs: str, objects: str, safe_verbs: str, *safe_uses: tuple[str, str]
) -> HarmCategory:
    """Return a category whose cells are texts with commas."""
    return HarmCategory(
        name,
        words(verbs),
        words(objects),
        words(safe_verbs),
        tuple((words(left), words(right)) for left, right in safe_uses),
    )
