"""A read-only, ordered mapping from names to plug-ins."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from difflib import get_close_matches
from typing import Any, Generic, TypeVar

from cwac.errors import UnknownNameError

T = TypeVar("T")


def _name_of(entry: Any) -> str:
    return str(entry.name)


class Registry(Mapping[str, T], Generic[T]):
    """Plug-ins by name, built from one explicit list.

    Parameters
    ----------
    kind : str
        What the entries are, in the singular, for messages ("method").
    entries : iterable
        The plug-ins, in the order in which they are listed and drawn.
    key : callable, optional
        Gives an entry's name; its ``name`` attribute by default.

    Raises
    ------
    ValueError
        Two entries share a name.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> fruits = Registry("fruit", [SimpleNamespace(name="apple"), SimpleNamespace(name="pear")])
    >>> list(fruits)
    ['apple', 'pear']
    >>> fruits["aple"]
    Traceback (most recent call last):
    cwac.errors.UnknownNameError: unknown fruit 'aple' (did you mean 'apple'?); known: apple, pear.
    """

    def __init__(
        self, kind: str, entries: Iterable[T], *, key: Callable[[T], str] = _name_of
    ) -> None:
        self.kind = kind
        self._entries: dict[str, T] = {}
        for entry in entries:
            name = key(entry)
            if name in self._entries:
                raise ValueError(f"two {kind} entries are named {name!r}")
            self._entries[name] = entry

    def __getitem__(self, name: str) -> T:
        if name not in self._entries:
            close = get_close_matches(name, self._entries, n=1)
            hint = f" (did you mean {close[0]!r}?)" if close else ""
            known = ", ".join(self._entries)
            raise UnknownNameError(f"unknown {self.kind} {name!r}{hint}; known: {known}.")
        return self._entries[name]

    def __contains__(self, name: object) -> bool:
        # Mapping's own version relies on KeyError, which __getitem__ does not raise.
        return name in self._entries

    def get(self, name: str, default: Any = None) -> Any:
        """Return the entry, or `default` where the name is not registered."""
        return self._entries.get(name, default)

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)
