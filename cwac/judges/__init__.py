"""Was a request refused or answered? Two rules, by patterns alone."""

from cwac.judges.general import GeneralJudge
from cwac.judges.patterns import PatternJudge, load_judge
from cwac.judges.verdict import Judge, Reason, Verdict, content_overlap

__all__ = [
    "GeneralJudge",
    "Judge",
    "PatternJudge",
    "Reason",
    "Verdict",
    "content_overlap",
    "load_judge",
]
