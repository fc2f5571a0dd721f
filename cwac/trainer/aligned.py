"""What the callbacks share: the aligned model that a training starts from.

Stands alone: whoever constrains a training and whoever watches one need it, and nothing else of
each other.
"""

from typing import Any

from torch import nn
from transformers import TrainerCallback

from cwac.chat import IGNORED, Chat


class AlignedCallback(TrainerCallback):  # type: ignore[misc] # transformers ships no types
    """A callback of `transformers.Trainer` that knows the aligned model.

    Attributes
    ----------
    model, tokenizer
        The aligned model, to be trained, and its tokenizer.
    """

    def __init__(self, model: nn.Module, chat: Chat) -> None:
        self.model: Any = model
        self.tokenizer: Any = chat.tokenizer
        self._chat = chat

    def example(self, prompt: str, answer: str) -> dict[str, list[int]]:
        """Return a training example in the model's own template; the answer alone is learned.

        ``DataCollatorForSeq2Seq(callback.tokenizer)`` makes batches of them.
        """
        ids, learned = self._chat.example_ids(prompt, answer)
        labels = [token if counts else IGNORED for token, counts in zip(ids, learned, strict=True)]
        return {"input_ids": ids, "attention_mask": [1] * len(ids), "labels": labels}
