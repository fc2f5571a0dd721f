"""Thinking traces: their marks, and what of an answer is left without them.

Kept apart because templates, decoding, judging and pages read it, and because it needs no torch.
A trace is no answer: one may weigh every harmful step and end in a refusal, or the reverse.
"""

from typing import Final, NamedTuple

MARKS: Final = (("<think>", "</think>"), ("<|channel>", "<channel|>"), ("[THINK]", "[/THINK]"))
"""Qwen3, DeepSeek-R1 and SmolLM3; Gemma 4; Magistral."""
SWITCH: Final = "enable_thinking"
"""What a template calls the switch that asks for a trace, or for none."""
CUT_THOUGHT: Final = "cut thought"
"""Why an answer is undetermined whose trace had not ended at its cap."""


def switch_of(template: object, *, thinking: bool) -> dict[str, bool]:
    """Return what a chat template is told of thinking: nothing where it has no switch.

    Examples
    --------
    >>> switch_of("{% if enable_thinking %}", thinking=False), switch_of(None, thinking=False)
    ({'enable_thinking': False}, {})
    """
    return {SWITCH: thinking} if SWITCH in str(template) else {}


def ending_of(prompt: str) -> str:
    r"""Return what ends the trace that a prompt begins, nothing where it begins none.

    Examples
    --------
    >>> ending_of("<assistant><think>"), ending_of("<assistant>")
    ('\n</think>\n\n', '')
    """
    ends = [end for begin, end in MARKS if prompt.rstrip().endswith(begin)]
    return f"\n{ends[0]}\n\n" if ends else ""


class Parts(NamedTuple):
    """An answer in its parts.

    Attributes
    ----------
    thought : str or None
        The trace, None where there is none.
    answer : str
        What follows it.
    open : bool
        Whether the trace was begun and does not end.
    """

    thought: str | None
    answer: str
    open: bool = False


def parts_of(text: str, *, opened: bool = False) -> Parts:
    """Return a text without its thinking trace, and the trace.

    Parameters
    ----------
    opened : bool
        Whether the prompt ended inside a trace, so that the text begins in it.

    Notes
    -----
    All before the last closing mark is the trace, also where the opening mark stood in the prompt
    and the text lacks it.

    Examples
    --------
    >>> parts_of("<think>They want a lock picked.</think> I can't help with that.")
    Parts(thought='They want a lock picked.', answer="I can't help with that.", open=False)
    >>> parts_of("<think>They want a").open
    True
    """
    for opening, closing in MARKS:
        head, mark, rest = text.rpartition(closing)
        if mark:
            return Parts(head.strip().removeprefix(opening).strip(), rest.strip())
        if text.lstrip().startswith(opening):
            return Parts(text.strip().removeprefix(opening).strip(), "", open=True)
    return Parts(text.strip(), "", open=True) if opened else Parts(None, text)
