"""Chat templates are programs that came with a model: rendering them within bounds.

A template is tried once in a process of its own, which the system ends when it computes too long:
a single step (a product of huge numbers, say) cannot be interrupted from inside. After that it is
rendered here, where its steps, its seconds and its text are counted.
"""

import contextlib
import gc
import os
import select
import signal
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, Never

import psutil
from jinja2 import Environment, TemplateError

from cwac.errors import ModelError, first_line

MOST_STEPS: Final = 300_000
"""Lines of a template that one rendering may run through; long ones take hundreds."""
MOST_SECONDS: Final = 10
"""What one rendering may take; long ones take a hundredth."""
MOST_MEMORY: Final = 2**30
"""Bytes that one rendering may take; long ones take a few megabytes."""
MOST_TEXT: Final = 1_000_000
"""Characters that a template may write around what was said; long ones write a few thousand."""
Messages = Sequence[Mapping[str, str]]
# As PyTorch's loaders of data do: elsewhere the system's libraries do not bear it.
_FORKS: Final = sys.platform == "linux"
_PATIENCE: Final = 6
"""How much longer than its own time a trial may take on a busy machine."""
_passed: Final[set[str]] = set()
"""The trials that this process has seen to pass."""


class _TooMuchError(Exception):
    """A rendering reached a bound."""


def rendered(tokenizer: Any, messages: Messages, **options: Any) -> str:
    """Return a conversation as the text that the tokenizer's chat template makes of it.

    Parameters
    ----------
    tokenizer : PreTrainedTokenizerBase
        With a chat template that :func:`check_template` let pass.
    messages : sequence of mapping
        Each with ``role`` and ``content``.
    options
        What the template is told besides, ``add_generation_prompt`` for one.

    Raises
    ------
    ModelError
        The template refuses them, or takes more steps, seconds or text than any needs.
    """
    try:
        return _within_bounds(tokenizer, messages, options)
    except Exception as problem:
        # Jinja raises whatever the template raises.
        raise ModelError(_sentence(problem)) from problem


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
        It reaches a bound, raises to a power (one such step can take years, and none needs it), or
        is no template.
    """
    source = tokenizer.chat_template
    trial = repr((source, tokenizer.special_tokens_map, kinds))
    if trial in _passed:
        return
    for text in source.values() if isinstance(source, Mapping) else [source]:
        try:
            signs = {sign for _, kind, sign in Environment().lex(text) if kind == "operator"}
        except TemplateError as problem:
            raise ModelError(_sentence(problem)) from None
        if "**" in signs:
            raise ModelError(_sentence("it raises to a power"))

    def tried() -> str:
        with _little_memory():
            for messages, options in kinds:
                try:
                    _within_bounds(tokenizer, messages, options)
                except (_TooMuchError, MemoryError) as problem:
                    return _reason(problem)
                except Exception:
                    continue
        return ""

    if reason := _apart(tried) if _FORKS else tried():
        raise ModelError(_sentence(reason))
    _passed.add(trial)


def _within_bounds(tokenizer: Any, messages: Messages, options: Mapping[str, Any]) -> str:
    with _counted():
        text = str(tokenizer.apply_chat_template(list(messages), tokenize=False, **options))
    if len(text) > MOST_TEXT + 2 * sum(len(one["content"]) for one in messages):
        raise _TooMuchError(f"it writes more than {MOST_TEXT:,} characters")
    return text


def _sentence(reason: str | BaseException) -> str:
    reason = reason if isinstance(reason, str) else _reason(reason)
    return f"the model's chat template cannot be used: {reason.rstrip('.')}."


def _reason(problem: BaseException) -> str:
    if isinstance(problem, MemoryError):
        return f"it takes more than {MOST_MEMORY / 2**30:.2g} GiB of memory"
    return first_line(problem)


@contextlib.contextmanager
def _counted() -> Iterator[None]:
    """End the block with an error when it takes more steps or time than any template needs."""
    left, end = MOST_STEPS, time.thread_time() + MOST_SECONDS

    def count(_frame: Any, _event: str, _argument: Any) -> Any:
        nonlocal left
        left -= 1
        if left < 0:
            raise _TooMuchError(f"it takes more than {MOST_STEPS:,} steps")
        if time.thread_time() > end:
            raise _TooMuchError(f"it takes more than {MOST_SECONDS} seconds")
        return count

    before = sys.gettrace()
    sys.settrace(count)
    try:
        yield
    finally:
        sys.settrace(before)


@contextlib.contextmanager
def _little_memory() -> Iterator[None]:
    """Let the block take `MOST_MEMORY` at most, where the system can limit it.

    One step can ask for all there is: a text times ten thousand million.
    """
    try:
        import resource  # noqa: PLC0415 - not on every system
    except ImportError:
        yield
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    most = psutil.Process().memory_info().vms + MOST_MEMORY
    limits = [limit for limit in (soft, hard) if limit != resource.RLIM_INFINITY]
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_AS, (min([most, *limits]), hard))
    try:
        yield
    finally:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def _apart(trial: Callable[[], str]) -> str:
    """Return what a trial in a process of its own says, or what became of that process."""
    reading, writing = os.pipe()
    with warnings.catch_warnings():
        # Python warns of the locks of other threads; the trial takes none of theirs.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        _answer(trial, writing)
    os.close(writing)
    too_long = f"it takes more than {MOST_SECONDS} seconds"
    ended = False
    try:
        if not select.select([reading], [], [], _PATIENCE * MOST_SECONDS)[0]:
            return too_long
        said = os.read(reading, 4096).decode()
        # What is written is one piece, and the end of the pipe is the end of the process.
        ended = not said
    finally:
        os.close(reading)
        if not ended:
            os.kill(child, signal.SIGKILL)
        number = os.WTERMSIG(os.waitpid(child, 0)[1])
    if said:
        return said[1:]
    if number in {signal.SIGXCPU, signal.SIGKILL}:
        return too_long
    return f"it ends the process that renders it (signal {number})"


def _answer(trial: Callable[[], str], writing: int) -> Never:
    """Run a trial in the process that was made for it, write what it says, and end."""
    import resource  # noqa: PLC0415 - not on every system

    try:
        # Nothing of the other process is cleaned up here.
        gc.disable()
        signal.signal(signal.SIGXCPU, signal.SIG_DFL)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        _, hard = resource.getrlimit(resource.RLIMIT_CPU)
        resource.setrlimit(resource.RLIMIT_CPU, (MOST_SECONDS, hard))
        os.write(writing, f"={trial()}".encode(errors="replace")[:4096])
    finally:
        os._exit(0)
