"""What reads a model's answer takes time in proportion to it: an answer may be of any kind."""

import time

import pytest

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
