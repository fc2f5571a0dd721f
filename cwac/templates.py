"""Chat templates are programs that came with a model: rendering them within bounds.

Every rendering is made in a process of its own, where its steps, its seconds, its memory and its
text are counted. Few are made: what surrounds a request is rendered once (:class:`cwac.chat.Chat`).
"""

import contextlib
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from cwac.bounded import BrokenError, TooMuchError, apart
from cwac.errors import ModelError

MOST_STEPS: Final = 300_000
"""Lines of a template that one rendering may run through; long ones take hundreds."""
MOST_SECONDS: Final = 10
"""What one rendering may take; long ones take a hundredth."""
MOST_MEMORY: Final = 2**30
"""Bytes that one rendering may take; long ones take a few megabytes."""
MOST_TEXT: Final = 1_000_000
"""Characters that a template may write around what was said; long ones write a few thousand."""
Messages = Sequence[Mapping[str, str]]
_passed: Final[set[str]] = set()
"""The trials that this process has seen to pass."""
_made: Final[dict[str, str]] = {}
"""What templates made of the conversations that they were tried on: a model that is loaded again
has the same ones rendered."""


def rendered(tokenizer: Any, messages: Messages, **options: Any) -> str:
    """Return a conversation as the text that the tokenizer's chat template makes of it.

    Parameters
    ----------
    tokenizer : PreTrainedTokenizerBase
        With a chat template.
    messages : sequence of mapping
        Each with ``role`` and ``content``.
    options
        What the template is told besides, ``add_generation_prompt`` for one.

    Raises
    ------
    ModelError
        The template is none, refuses them, or takes more steps, seconds, memory or text than any
        needs.
    """
    known = _made.get(_named(tokenizer, [(messages, options)]))
    if known is not None:
        return known
    try:
        return _apart(tokenizer, messages, options)
    except (TooMuchError, BrokenError) as problem:
        raise _unusable(problem) from None


def check_template(tokenizer: Any, kinds: Sequence[tuple[Messages, Mapping[str, Any]]]) -> None:
    """Refuse a chat template that does not end or fills the memory, before it is used.

    Parameters
    ----------
    tokenizer : PreTrainedTokenizerBase
        With a chat template.
    kinds : sequence of (Messages, mapping)
        A conversation with options of every kind that :func:`rendered` will be given. The template
        may refuse some, which is heard when they are asked for.

    Raises
    ------
    ModelError
        It reaches a bound.
    """
    trial = _named(tokenizer, kinds)
    if trial in _passed:
        return
    for messages, options in kinds:
        try:
            made = _apart(tokenizer, messages, options)
        except TooMuchError as problem:
            raise _unusable(problem) from None
        except BrokenError:
            continue
        _made[_named(tokenizer, [(messages, options)])] = made
    _passed.add(trial)


def _named(tokenizer: Any, kinds: Sequence[tuple[Messages, Mapping[str, Any]]]) -> str:
    return repr((tokenizer.chat_template, tokenizer.special_tokens_map, kinds))


def _apart(tokenizer: Any, messages: Messages, options: Mapping[str, Any]) -> str:
    most = MOST_TEXT + 2 * sum(len(one["content"]) for one in messages)

    def text() -> str:
        with _counted():
            made = str(tokenizer.apply_chat_template(list(messages), tokenize=False, **options))
        if len(made) > most:
            raise TooMuchError(f"more than {MOST_TEXT:,} characters")
        return made

    return apart(text, seconds=MOST_SECONDS, memory=MOST_MEMORY)


def _unusable(problem: Exception) -> ModelError:
    reason = f"it takes {problem}" if isinstance(problem, TooMuchError) else str(problem)
    return ModelError(f"the model's chat template cannot be used: {reason.rstrip('.')}.")


@contextlib.contextmanager
def _counted() -> Iterator[None]:
    """End the block with an error when it takes more steps than any template needs."""
    left = MOST_STEPS

    def count(_frame: Any, _event: str, _argument: Any) -> Any:
        nonlocal left
        left -= 1
        if left < 0:
            raise TooMuchError(f"more than {MOST_STEPS:,} steps")
        return count

    before = sys.gettrace()
    sys.settrace(count)
    try:
        yield
    finally:
        sys.settrace(before)
