"""How far the output distribution on harmful requests is from the aligned model's."""

from typing import Final, Literal, TypeVar

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from cwac.chat import IGNORED, Item, collate
from cwac.features import scored_tokens
from cwac.interfaces import Method, MethodContext, MethodSettings
from cwac.methods._harmful import Rounds, demonstrations, evaluating, refused_prompts
from cwac.methods._tokens import OutputLayer
from cwac.passes import read_together

Compared = Literal["response", "scored"]
"""``response``: where a token of the safe answer is predicted; ``scored``: the last prompt
tokens, those that CWAC's loss looks at."""
ComparedOrAll = Compared | Literal["all"]
"""``all``: every position of prompt and answer; the sum is divided by the answer's tokens alone,
as the code of SafeGrad does (arXiv 2508.07172)."""
_CACHED_AT_ONCE: Final = 64


def divergence(scores: Tensor, aligned: Tensor) -> Tensor:
    """Return the mean ``KL(aligned || now)`` of rows of vocabulary scores, in nats.

    Parameters
    ----------
    scores, aligned : Tensor
        ``(tokens, vocabulary)``.
    """
    now, before = (functional.log_softmax(part.float(), dim=-1) for part in (scores, aligned))
    return functional.kl_div(now, before, reduction="batchmean", log_target=True)


class DivergenceSettings(MethodSettings):
    """What every use of the divergence can be told; methods say why and with which defaults."""

    strength: float = Field(default=1.0, ge=0)
    harmful_batch: int = Field(default=8, ge=1)
    tokens: ComparedOrAll = "response"


DivergenceSettingsT = TypeVar("DivergenceSettingsT", bound=DivergenceSettings)


class DivergenceMethod(Method[DivergenceSettingsT]):
    """A method that uses the divergence on harmful requests, once per step."""

    strength_knob = "strength"
    needs = frozenset({"safety_prompts", "safety_answers"})
    extra_passes = 0.5

    def __init__(self, settings: DivergenceSettingsT) -> None:
        super().__init__(settings)
        self.divergence: AlignedDivergence | None = None
        self.last: dict[str, float] = {}

    @property
    def is_on(self) -> bool:
        """Whether the divergence is used at all."""
        return self.settings.strength > 0

    def setup(self, context: MethodContext) -> None:
        """Cache what the aligned model's output layer reads at the compared tokens."""
        if self.is_on:
            self.divergence = AlignedDivergence(
                context, self.name, self.settings.tokens, self.settings.harmful_batch
            )

    def diagnostics(self) -> dict[str, float]:
        """Return the divergence of the last step, nats per token, and what the method adds."""
        return dict(self.last)


class AlignedDivergence:
    """``KL(pi_aligned || pi_theta)`` on the harmful batches that CWAC's loss is computed on.

    The aligned model's output layer reads cached inputs, so that no second model is run.

    Parameters
    ----------
    context : MethodContext
        Its model must still be the aligned one.
    method : str
        The method's name, for messages.
    compared : ComparedOrAll
    size : int
        Prompts of a batch.

    Raises
    ------
    DataError
        No harmful safety request is refused by the aligned model, or none has a safe answer
        unless `compared` is ``scored``.
    """

    def __init__(
        self, context: MethodContext, method: str, compared: ComparedOrAll, size: int
    ) -> None:
        self.pad_id, self.device = context.chat.pad_id, context.device
        self.items = _items(context, method, compared)
        self.divisors = [sum(mask) for _ids, mask in self.items]
        if compared == "all":
            self.items = [(ids, [True] * (len(ids) - 1) + [False]) for ids, _mask in self.items]
        self.head = OutputLayer(context)
        self.rounds = Rounds.of(context, len(self.items), size)
        self.aligned: dict[int, Tensor] = {}
        lengths = [len(ids) for ids, _mask in self.items]
        with evaluating(context.model):
            for places in read_together(context.anatomy, lengths, rows=_CACHED_AT_ONCE):
                input_ids, rows = self._batch(places)
                read = self.head.inputs(context.model, input_ids, rows)
                parts = torch.split(read, [sum(self.items[place][1]) for place in places])
                self.aligned |= zip(places, parts, strict=True)

    def loss(self, model: nn.Module) -> Tensor:
        """Return the divergence on the next harmful batch, nats per compared (answer) token."""
        places = self.rounds.take().tolist()
        input_ids, rows = self._batch(places)
        cached = torch.cat([self.aligned[place] for place in places])
        mean = divergence(*self.head.both(model, input_ids, rows, cached))
        # One unless every position is compared.
        loss: Tensor = mean * (len(rows) / sum(self.divisors[place] for place in places))
        return loss

    def _batch(self, places: list[int]) -> tuple[Tensor, Tensor]:
        """Return token ids and the flat positions whose scores are compared, row by row."""
        items = [self.items[place] for place in places]
        longest = max(len(ids) for ids, _mask in items)
        batch = collate(items, self.pad_id, max_length=longest).to(self.device)
        return batch.input_ids, (batch.labels.flatten() != IGNORED).nonzero()[:, 0]


def _items(context: MethodContext, method: str, compared: ComparedOrAll) -> list[Item]:
    """Return prompts as tokens, with True where the next-token distribution is compared."""
    chat = context.chat
    if compared == "scored":
        count = scored_tokens(chat)
        prompts = [chat.prompt_ids(prompt.text) for prompt in refused_prompts(context, method)]
        return [(ids, [i >= len(ids) - count for i in range(len(ids))]) for ids in prompts]
    examples = [chat.example_ids(e.prompt, e.answer) for e in demonstrations(context, method)]
    # A token is predicted at the position before it; nothing is predicted after the last one.
    return [(ids, [*mask[1:], False]) for ids, mask in examples]
