"""Was a request refused or answered? Rules, lists of phrases, and which judges can be named."""

from cwac.judges.general import GeneralJudge
from cwac.judges.known import JUDGES, KnownJudge, absolute_judge, parse_judge, rule_named
from cwac.judges.patterns import PatternJudge, load_judge
from cwac.judges.phrases import PHRASE_LISTS, PhraseJudge
from cwac.judges.verdict import Judge, Reason, Verdict, content_overlap, prepare, tells_harm

__all__ = [
    "JUDGES",
    "PHRASE_LISTS",
    "GeneralJudge",
    "Judge",
    "KnownJudge",
    "PatternJudge",
    "PhraseJudge",
    "Reason",
    "Verdict",
    "absolute_judge",
    "content_overlap",
    "load_judge",
    "parse_judge",
    "prepare",
    "rule_named",
    "tells_harm",
]
