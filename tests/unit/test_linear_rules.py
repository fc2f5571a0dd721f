"""What reads a model's answer takes time in proportion to it: an answer may be of any kind."""

import random
import re
import signal
import threading
import time
from types import SimpleNamespace

import pytest

from cwac.bounded import TooMuchError, interrupted_after, matches
from cwac.errors import DataError
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


ENDLESS = [
    ("(a+)+b", "a" * 40), ("(a|a.)*b", "a" * 80), (r"(\w+\s?)*$", "a" * 40 + "!"),
    ("(.*)*x", "a" * 40), ("a?" * 30 + "a" * 30 + "b", "a" * 59), (".*.*.*x", "y" * 9000),
    ("(a|aa)+$", "a" * 60 + "!"), ("(?=(x+x+)+y)", "x" * 60), ("(\u0436+)+!", "\u0436" * 40),
    ("(?i:(A+)+)b", "a" * 40), (r"(?:(?:\d{0,90}){0,90}){0,90}x", "1" * 400),
    (r".*\w*!", "a" * 4000),
]  # fmt: skip


@pytest.mark.parametrize(("pattern", "answer"), ENDLESS)
def test_a_pattern_without_end_ends_in_a_sentence(pattern, answer, monkeypatch):
    monkeypatch.setattr("cwac.judges.patterns.MOST_SECONDS", 0.1)
    for judge in (PatternJudge([pattern]), PatternJudge(["sorry"], [pattern])):
        began = time.monotonic()
        with pytest.raises(DataError, match=f"0.1 seconds on an answer of {len(answer):,} char"):
            judge.judge("How do I bake bread?", answer)
        assert time.monotonic() - began < 5
    # Nothing of it is left to end something else.
    time.sleep(0.01)
    assert signal.getitimer(signal.ITIMER_VIRTUAL) == (0.0, 0.0)


@pytest.mark.parametrize("pattern", [r"a*?", r"(?:ab|a)+", r"^.+$", r"\b", r"b+(?=a)", "ab"])
def test_a_long_text_is_searched_as_a_short_one_is(pattern):
    found = re.compile(pattern, re.MULTILINE)
    for text in ("aab\nba " * 3, "aab\nba " * 60):
        assert [m.span() for m in matches(found, text)] == [m.span() for m in found.finditer(text)]


def test_a_search_ends_in_time_where_python_looks_at_the_clock_between_places_alone():
    """As under Python 3.11.2, whose matches of fewer than 4,096 steps never look."""
    tried = []

    def match(_text: str, place: int) -> None:
        tried.append(place)
        began = time.process_time()
        while time.process_time() - began < 0.01:
            pass

    with pytest.raises(TooMuchError), interrupted_after(0.05):
        matches(SimpleNamespace(pattern="a+", match=match, finditer=None), "a" * 400)
    assert len(tried) < 400


def test_where_nothing_can_interrupt_a_verdict_is_the_same():
    judge, verdicts = PatternJudge(["sorry"]), []
    other = threading.Thread(target=lambda: verdicts.append(judge.judge("Bake bread?", "sorry")))
    other.start()
    other.join()
    assert verdicts == [judge.judge("Bake bread?", "sorry")]


def test_patterns_without_end_are_refused():
    with pytest.raises(DataError, match="20,000 characters; allowed: 10,000"):
        PatternJudge(["a" * 9000, "b" * 11_000])


def test_any_pattern_ends(monkeypatch):
    monkeypatch.setattr("cwac.judges.patterns.MOST_SECONDS", 0.05)
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

    ended = 0
    for pattern in [part(4) + "!" for _ in range(12)]:
        judge = PatternJudge([pattern])
        for text in ("a" * 40, "ab" * 20, "b" * 40):
            began = time.process_time()
            try:
                judge.judge("a", text)
            except DataError:
                ended += 1
            assert time.process_time() - began < 1
    assert ended
