"""Was a request refused or answered? Rules, lists of phrases, and which judges can be named."""

from typing import Final

from cwac.judges import general, patterns
from cwac.judges.general import GeneralJudge, judge_of
from cwac.judges.known import JUDGES, KnownJudge, absolute_judge, parse_judge, rule_named
from cwac.judges.patterns import PatternJudge, load_judge
from cwac.judges.phrases import PHRASE_LISTS, PhraseJudge
from cwac.judges.verdict import (
    Judge,
    Reason,
    Verdict,
    content_overlap,
    fit_contents,
    prepare,
    takes_up,
    tells_evasion,
    tells_harm,
    tells_hybrids,
)

RULES: Final = {"general": general.RULE, "patterns": patterns.RULE}
"""The rules' numbers: what is measured under other ones has another name."""

__all__ = [
    "JUDGES",
    "PHRASE_LISTS",
    "RULES",
    "GeneralJudge",
    "Judge",
    "KnownJudge",
    "PatternJudge",
    "PhraseJudge",
    "Reason",
    "Verdict",
    "absolute_judge",
    "content_overlap",
    "fit_contents",
    "judge_of",
    "load_judge",
    "parse_judge",
    "prepare",
    "rule_named",
    "takes_up",
    "tells_evasion",
    "tells_harm",
    "tells_hybrids",
]
