"""How much a regular expression may backtrack: patterns come with a model, and some never end.

Python's engine tries one way of matching after the other, and ``(a+)+b`` has 2^n of them on n
letters. Counted are the ways that the text does not decide: whether a repeat goes on, which
alternative is taken. A repeat whose next character cannot begin what follows decides nothing.
"""

import importlib
import itertools
import math
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any, Final

_LENGTH: Final = 1_000
"""Characters of an answer, for the count; a repeat without end has as many ways to end."""
MOST_WAYS: Final = 1e7
"""Two repeats without end behind each other, and some alternatives."""
LONGEST: Final = 10_000
"""Characters of all patterns of a judge."""
_DEEPEST: Final = 5
"""Repeats in each other; more are counted as ways without end."""
# No public module has the parsed form; these two have been the same since Python 3.11.
_parser: Final[Any] = importlib.import_module("re._parser")
_code: Final[Any] = importlib.import_module("re._constants")
_CLASSES: Final = {
    _code.CATEGORY_DIGIT: r"\d", _code.CATEGORY_NOT_DIGIT: r"\D", _code.CATEGORY_SPACE: r"\s",
    _code.CATEGORY_NOT_SPACE: r"\S", _code.CATEGORY_WORD: r"\w", _code.CATEGORY_NOT_WORD: r"\W",
}  # fmt: skip
_REPEATS: Final = (_code.MAX_REPEAT, _code.MIN_REPEAT, _code.POSSESSIVE_REPEAT)
_Characters = frozenset[str]
_NONE: Final[_Characters] = frozenset()


def ways_of(pattern: str) -> float:
    r"""Return in how many ways a pattern may be tried at one place, infinity for too many.

    An upper bound but for what the engine finds out early; letters match in either case.

    Raises
    ------
    re.error
        It is no regular expression.

    Examples
    --------
    >>> ways_of("^(sorry|i cannot) .*help"), ways_of(r"(\w+\s+){0,3}help"), ways_of("(a+)+b")
    (1001.0, 4.0, inf)
    """
    parsed = _parser.parse(pattern, re.IGNORECASE)
    ways, _ = _Reader(parsed).sequence(parsed, _NONE)
    return ways


class _Reader:
    """Reads a parsed pattern from its end, so that what follows a part is known."""

    def __init__(self, parsed: Any) -> None:
        # Two sets of characters that overlap share an end of a range, a letter, or one of these.
        letters = {chr(number) for number in range(128)} | set("\xa0é\u2019\u0660中")
        for letter in [*letters, *_letters(parsed)]:
            letters |= _either_case(letter)
        self._all: Final[_Characters] = frozenset(letters)
        self._depth = 0

    def sequence(self, items: Any, after: _Characters) -> tuple[float, _Characters]:
        """Return the ways of parts behind each other, and with which characters they may begin.

        Parameters
        ----------
        items : parsed pattern
        after : frozenset of str
            What may follow it; what begins may be among it where the parts may be empty.
        """
        ways = 1.0
        for op, value in reversed(items):
            factor, after = self._part(op, value, after)
            ways *= factor
        return ways, after

    def _part(self, op: Any, value: Any, after: _Characters) -> tuple[float, _Characters]:
        if op in _REPEATS:
            self._depth += 1
            least, most, body = value
            read = math.inf, self._all
            if self._depth <= _DEEPEST:
                read = self._repeat(least, most, body, after)
            self._depth -= 1
            return read
        if op is _code.BRANCH:
            return self._branch(value[1], after)
        if op in {_code.SUBPATTERN, _code.ATOMIC_GROUP}:
            return self.sequence(value[-1] if op is _code.SUBPATTERN else value, after)
        if op is _code.GROUPREF_EXISTS:
            return self._branch([part for part in value[1:] if part is not None], self._all)
        if op in {_code.ASSERT, _code.ASSERT_NOT, _code.AT}:
            # These take no character.
            return 1.0 if op is _code.AT else self.sequence(value[1], _NONE)[0], after
        return 1.0, self._characters(op, value)

    def _repeat(
        self, least: int, most: Any, body: Any, after: _Characters
    ) -> tuple[float, _Characters]:
        most = _LENGTH if most is _code.MAXREPEAT else int(most)
        # What begins a further turn follows each turn but the last.
        _, first = self.sequence(body, after)
        inner, first = self.sequence(body, after | first if most > 1 else after)
        decided = not first & after
        begins = first if least else first | after
        if inner > 1.0:
            turns = math.inf if most * math.log(inner) > math.log(MOST_WAYS) else inner**most
            return turns if decided else 2 * turns, begins
        return 1.0 if decided else float(max(most - least, 0) + 1), begins

    def _branch(self, parts: Sequence[Any], after: _Characters) -> tuple[float, _Characters]:
        read = [(*self.sequence(part, after), _first_word(part)) for part in parts]
        begins = _NONE.union(*(first for _, first, _ in read))
        worded: dict[str, float] = defaultdict(float)
        for ways, _, word in read:
            worded[word] += ways
        # Of alternatives that are words, a text has one and those that it begins with.
        most: dict[str, float] = {}
        for word in filter(None, worded):
            alike = sum(worded.get(word[:end], 0.0) for end in range(1, len(word) + 1))
            most[word[0]] = max(most.get(word[0], 0.0), alike)
        left = (
            most.get(letter.lower(), 0.0)
            + sum(ways for ways, first, word in read if not word and letter in first)
            for letter in begins
        )
        return max(left, default=1.0), begins

    def _characters(self, op: Any, value: Any) -> _Characters:
        if op is _code.LITERAL:
            return frozenset(_either_case(chr(value)))
        if op is _code.NOT_LITERAL:
            return self._all - _either_case(chr(value))
        if op is _code.RANGE:
            low, high = value
            return frozenset(
                one for one in self._all if any(low <= ord(c) <= high for c in _either_case(one))
            )
        if op is _code.CATEGORY and value in _CLASSES:
            return frozenset(one for one in self._all if re.match(_CLASSES[value], one))
        if op is _code.IN:
            negated = value[0][0] is _code.NEGATE
            inside = _NONE.union(*(self._characters(*each) for each in value[negated:]))
            return self._all - inside if negated else inside
        return self._all


def _letters(items: Any) -> Iterable[str]:
    """Yield every character that a parsed pattern names."""
    layer = [items]
    while layer:
        each = layer.pop()
        if isinstance(each, tuple) and len(each) == 2 and each[0] in _NAMES:
            numbers = each[1] if each[0] is _code.RANGE else (each[1],)
            yield from map(chr, numbers)
        elif isinstance(each, list | tuple) or hasattr(each, "data"):
            layer += list(each)


_NAMES: Final = (_code.LITERAL, _code.NOT_LITERAL, _code.RANGE)


def _first_word(items: Any) -> str:
    """Return the letters that a part begins with for certain, in lower case; at most a few."""
    letters = itertools.takewhile(lambda item: item[0] is _code.LITERAL, itertools.islice(items, 8))
    return "".join(chr(number) for _, number in letters).lower()


def _either_case(letter: str) -> set[str]:
    return {letter, *(c for c in (letter.lower(), letter.upper()) if len(c) == 1)}
