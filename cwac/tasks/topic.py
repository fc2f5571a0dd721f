"""Topic of a headline, like AG News."""

from cwac.interfaces import Task
from cwac.judges import Judge
from cwac.prompts import Example
from cwac.prompts.checks import chosen_label


class Topic(Task):
    """Say which of four topics a headline is about."""

    name = "topic"
    title = "Topic (AG-News-like)"
    chance = 0.25

    def is_correct(self, example: Example, response: str, judge: Judge) -> bool:  # noqa: ARG002
        """Whether the response begins with the right label."""
        choices = example.choices or (example.answer,)
        return chosen_label(response, choices) == example.answer
