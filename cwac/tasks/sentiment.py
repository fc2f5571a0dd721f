"""Sentiment of a review, like SST-2."""

from cwac.interfaces import Task
from cwac.judges import Judge
from cwac.prompts import Example
from cwac.prompts.checks import chosen_label


class Sentiment(Task):
    """Say whether a review is positive or negative."""

    name = "sentiment"
    title = "Sentiment (SST-2-like)"
    chance = 0.5

    def is_correct(self, example: Example, response: str, judge: Judge) -> bool:  # noqa: ARG002
        """Whether the response begins with the right label."""
        choices = example.choices or ("negative", "positive")
        return chosen_label(response, choices) == example.answer
