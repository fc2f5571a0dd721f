"""What logs of Inspect (UK AISI) are to us: which scorers are ours, what a sample keeps.

https://inspect.aisi.org.uk/eval-logs.html; written and read by inspect_ai itself, an extra. Stands
alone: writing logs and reading them agree here.
"""

import importlib.util
from typing import Final

from cwac.errors import ConfigError

SCORER: Final = "cwac"
"""The scorer of a log that we wrote; its values are outcomes."""
RIGHT: Final = "task"
"""The scorer of the task's examples: C and I, as Inspect marks right and wrong."""
KINDS: Final = ("harmful", "harmless", "lookalike", "task")
KEPT: Final = ("kind", "category", "unseen_category", "novel_template", "refusal_log_odds")
"""Columns of ``responses`` that have no place of their own in a sample: its metadata."""


def check_inspect() -> None:
    """Do nothing where inspect_ai is installed.

    Raises
    ------
    ConfigError
        It is not.
    """
    if importlib.util.find_spec("inspect_ai") is None:
        raise ConfigError(
            "logs of Inspect need the package inspect_ai, which is not installed; "
            'pip install "cwac-lab[inspect]" brings it.'
        )
