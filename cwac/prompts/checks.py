"""How answers are marked: by their label, by a class word, by their last number."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Final

from cwac.config import Check

MAX_LABELS: Final = 20
"""More distinct answers than these are not labels."""
_FROM_WORD_TO_WORD: Final = re.compile(r"\w(?:.*\w)?", re.DOTALL)
_NUMBER: Final = re.compile(r"(?<![\w.])-?\d[\d,]*(?:\.\d+)?")
FINAL_ANSWER: Final = "####"
"""What stands before the result in GSM8K's answers."""


def _plain(text: str) -> str:
    # Not \W+$ replaced: it would look for the end from each mark of a row of them.
    words = _FROM_WORD_TO_WORD.search(" ".join(text.lower().split()))
    return words[0] if words else ""


def chosen_label(response: str, choices: Sequence[str]) -> str | None:
    """Return the label that a response begins with, None if it begins with none.

    Examples
    --------
    >>> chosen_label("Positive. I liked it.", ["negative", "positive"])
    'positive'
    >>> chosen_label("It is positive", ["negative", "positive"]) is None
    True
    """
    plain = _plain(response)
    # Longest first, so that "very good" is not read as "very".
    for label in sorted(choices, key=len, reverse=True):
        wanted = _plain(label) or label.lower()
        if plain.startswith(wanted) and not plain[len(wanted) : len(wanted) + 1].isalnum():
            return label
    return None


def named_label(response: str, choices: Sequence[str]) -> str | None:
    """Return the class that a response names first, None if it names none.

    Examples
    --------
    >>> named_label("This is about sports, not business.", ["Business", "Sports"])
    'Sports'
    """
    plain = _plain(response)
    places: list[tuple[int, int, str]] = []
    for label in choices:
        wanted = re.escape(_plain(label) or label.lower())
        if place := re.search(rf"(?<!\w){wanted}(?!\w)", plain):
            places.append((place.start(), -len(label), label))
    return min(places)[2] if places else None


def check_of(answers: Sequence[str]) -> Check:
    """Return how a file's answers can be checked.

    Examples
    --------
    >>> check_of(["positive", "negative"] * 5)
    'label'
    >>> check_of(["3 + 4 = 7. #### 7", "#### 12", "#### 3"])
    'number'
    """
    labels = distinct(answers)
    if len(labels) <= MAX_LABELS and len(labels) <= len(answers) / 4:
        return "label"
    marked = sum(FINAL_ANSWER in answer or _is_number(answer) for answer in answers)
    return "number" if marked >= 0.95 * len(answers) else "helpfulness"


def _is_number(text: str) -> bool:
    try:
        float(text.replace(",", ""))
    except ValueError:
        return False
    return True


def last_number(text: str) -> float | None:
    """Return the last number of a text, after ``####`` where it has that mark.

    Examples
    --------
    >>> last_number("He has 3 + 4 = 7 apples. #### 1,007")
    1007.0
    """
    numbers = _NUMBER.findall(text.rsplit(FINAL_ANSWER, 1)[-1]) or _NUMBER.findall(text)
    return float(numbers[-1].replace(",", "")) if numbers else None


def word_f1(response: str, reference: str) -> float:
    """Return the F1 score of a response's words against a reference's, order aside.

    Examples
    --------
    >>> word_f1("Mix the flour.", "mix the dough")
    0.6666666666666666
    """
    given, wanted = (Counter(re.findall(r"\w+", text.lower())) for text in (response, reference))
    shared = (given & wanted).total()
    return 2 * shared / (given.total() + wanted.total()) if shared else 0.0


def distinct(answers: Iterable[str]) -> tuple[str, ...]:
    """Return the distinct answers in alphabetical order."""
    return tuple(sorted(set(answers)))
