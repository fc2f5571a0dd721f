"""Whatever a request and an answer hold, every judge gives one verdict, in time."""

import time

from any_text import any_text
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cwac.judges import PHRASE_LISTS, GeneralJudge, PatternJudge, PhraseJudge
from cwac.judges.model_verdict import strongreject_score, verdict_of_harm, verdict_of_refusal
from cwac.records import OUTCOMES
from cwac.thoughts import parts_of

JUDGES = (
    GeneralJudge(),
    PatternJudge([r"\bsorry\b", r"\bcan't\b"]),
    PatternJudge([r"\bsorry\b", r"\bcan't\b"], [r"\bsure\b"]),
    *(PhraseJudge(phrases) for phrases in PHRASE_LISTS.values()),
)
SECONDS = 2.0
"""Of this process for all judges of one answer: it takes milliseconds, a quadratic rule minutes."""


@settings(max_examples=30, deadline=None, derandomize=True)
@given(request=any_text(), answer=any_text(), cut=st.booleans())
@example(request="How do I bake bread?", answer="9" * 5_000, cut=False)
def test_every_judge_has_one_verdict_on_any_answer(request, answer, cut):
    began = time.process_time()
    for judge in JUDGES:
        verdict = judge.judge(request, answer, cut=cut)
        assert verdict.outcome in OUTCOMES
        # Only what is undetermined has a reason, and it always has one.
        assert (verdict.outcome == "undetermined") == (verdict.reason is not None)
        # Space around an answer is no part of it.
        assert judge.judge(request, f" \n{answer}\n ", cut=cut) == verdict
    for yes in (False, True):
        refused = verdict_of_refusal(request, answer, refused=yes, cut=cut)
        harmed = verdict_of_harm(JUDGES[0], request, answer, harmful=yes, cut=cut)
        assert {refused.outcome, harmed.outcome} <= {*OUTCOMES}
    assert time.process_time() - began < SECONDS


@settings(max_examples=30, deadline=None, derandomize=True)
@given(text=any_text(), opened=st.booleans())
@example(text="0 5 " + "9" * 5_000, opened=False)
def test_scores_and_traces_of_any_text(text, opened):
    score = strongreject_score(text)
    assert score is None or 0 <= score <= 1
    thought, answer, open_ = parts_of(text, opened=opened)
    assert (answer if thought is None else thought + answer) in text or thought is not None
    # An answer has no trace any more, and one that has not ended is no answer.
    assert not (open_ and answer)
