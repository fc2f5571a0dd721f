"""Every flag once: a command is read into what it states, and what is stated prints as a command.

A run is stated by what differs from the defaults, as a :class:`Plan`. Flags fill it
(:meth:`Plan.of`, :func:`parse`), and it prints as flags again (:func:`arguments`,
:func:`command`); what has no flag is printed as ``--set section.key=value``. A new flag is one
entry of :data:`FLAGS`.
"""

from cwac.flags.listing import (
    COMMANDS,
    FLAGS,
    MEASURE,
    RUN,
    AsJson,
    Flag,
    LogTo,
    Root,
    takes,
    words_of,
)
from cwac.flags.plan import SECTIONS, Plan, arguments, command, parse, setting, stated

__all__ = [
    "COMMANDS", "FLAGS", "MEASURE", "RUN", "SECTIONS", "AsJson", "Flag", "LogTo", "Plan", "Root",
    "arguments", "command", "parse", "setting", "stated", "takes", "words_of",
]  # fmt: skip
