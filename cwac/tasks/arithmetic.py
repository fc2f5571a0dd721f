"""Word problems, like GSM8K."""

from cwac.interfaces import Task
from cwac.judges import Judge
from cwac.prompts import Example
from cwac.prompts.checks import last_number


class Arithmetic(Task):
    """Solve a word problem; the last number of the response counts."""

    name = "arithmetic"
    title = "Arithmetic (GSM8K-like)"

    def is_correct(self, example: Example, response: str, judge: Judge) -> bool:  # noqa: ARG002
        """Whether the last number is the right one."""
        return last_number(response) == last_number(example.answer)
