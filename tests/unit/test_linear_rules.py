"""What reads a model's answer takes time in proportion to it: an answer may be of any kind."""

import random
import re
import time

import pytest

from cwac.errors import DataError
from cwac.judges.backtracking import MOST_WAYS, ways_of
from cwac.judges.general import GeneralJudge
from cwac.judges.patterns import PatternJudge
from cwac.judges.verdict import degeneracy
from cwac.prompts.checks import chosen_label, named_label

PIECES = ("a", "a''", "'t ", "!", "\u2019", "I'm sorry, but ")
JUDGE = PatternJudge([r"\bsorry\b", r"\bno\b"], [r"\bsure\b"])
READERS = {
    "the marks of a label": lambda text: chosen_label(f"{text} b", ["good"]),
    "a named class": lambda text: named_label(f"x {text} b", ["good", "bad"]),
    "loops": lambda text: degeneracy(f"x {text} b"),
    "the general rule": lambda text: GeneralJudge().judge("How do I bake bread?", text),
    "patterns": lambda text: JUDGE.judge("How do I bake bread?", text),
}
SHORT, TIMES = 2500, 8


def seconds(read, text: str) -> float:
    """Return the least of three readings, in seconds of this process."""
    spent = []
    for _ in range(3):
        began = time.process_time()
        read(text)
        spent.append(time.process_time() - began)
    return min(spent)


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("piece", PIECES)
def test_eight_times_the_text_takes_no_sixty_four_times_the_time(reader, piece):
    short, long = (piece * (size // len(piece)) for size in (SHORT, TIMES * SHORT))
    spent = seconds(READERS[reader], long)
    # Below a few milliseconds the clock is what is measured; quadratic ones take seconds.
    assert spent < 0.02 or spent < 3 * TIMES * seconds(READERS[reader], short)


@pytest.mark.parametrize(
    "text",
    [
        "mix it well, mix it well, mix it well, mix it well,",
        "they're here they're here they're here they're here",
        "it's, s, s, s, and so on",
        "'tis so 'tis so 'tis so 'tis so 'tis so",
    ],
)
def test_a_stretch_four_times_running_is_a_loop(text):
    assert degeneracy(text) == "repeated"


def test_clauses_that_decline_are_blank_wherever_they_overlap():
    judge = PatternJudge([r"i am sorry", r"sorry, no", r"no"], [r"sure"])
    text = "i am sorry, no way. bread sure. no, sure: bread"
    assert judge._without_refusals(text) == " " * 20 + "bread sure.     sure: bread"


@pytest.mark.parametrize(
    "pattern",
    ["(a+)+b", "(a|a.)*b", r"(\w+\s?)*$", "(.*)*x", "a?" * 30 + "a" * 30, ".*.*.*x", "(a|aa)+$",
     "(?=(x+x+)+y)", "(\u0436+)+!", "(?i:(A+)+)b", r"(?:(?:\d{0,90}){0,90}){0,90}x",
     "(?:" * 60 + "a" + ")*" * 60],
)  # fmt: skip
def test_a_pattern_that_may_never_end_is_refused(pattern):
    began = time.monotonic()
    for patterns in ([pattern], ["sorry"]):
        with pytest.raises(DataError, match="may take for ever"):
            PatternJudge(patterns, [pattern])
    assert time.monotonic() - began < 5


def test_patterns_without_end_are_refused():
    with pytest.raises(DataError, match="20,000 characters; allowed: 10,000"):
        PatternJudge(["a" * 9000, "b" * 11_000])


@pytest.mark.parametrize(
    "pattern",
    [r"^\s*to \w+.*, start with a simple plan\b", r"\bi (can't|cannot|can not|won't) (help|do)\b",
     r"(?:\w+\s+){0,3}help", "i('m| am) (so |really |very )*sorry", "(?:no|nor) .{0,80}(help|harm)",
     "(i'm sorry|i am sorry|i cannot|i can't).*(help|assist|do).*", r"(?:\w+, )*and\b"],
)  # fmt: skip
def test_patterns_as_people_write_them_are_taken(pattern):
    assert PatternJudge([pattern], [pattern]).name == "patterns"


def test_what_is_taken_ends():
    draw = random.Random(0)

    def part(depth: int) -> str:
        kind = draw.randrange(6 if depth else 2)
        if kind < 2:
            return draw.choice(("a", "b", "ab", "[ab]", "."))
        if kind == 2:
            return f"(?:{part(depth - 1)}|{part(depth - 1)})"
        if kind == 3:
            return part(depth - 1) + part(depth - 1)
        return f"(?:{part(depth - 1)}){draw.choice('*+?')}"

    drawn = [part(4) + "!" for _ in range(300)]
    taken = [pattern for pattern in drawn if ways_of(pattern) <= MOST_WAYS]
    assert 50 < len(taken) < 290
    began = time.process_time()
    for pattern in taken:
        for text in ("a" * 40, "ab" * 20, "b" * 40):
            re.search(pattern, text)
    assert time.process_time() - began < 5
