"""Lisa: spells of alignment between spells of fine-tuning, each held near where it began."""

from collections.abc import Sequence
from types import MappingProxyType

import torch
from pydantic import Field
from torch import Tensor, nn

from cwac.interfaces import Method, MethodContext, PenaltySettings
from cwac.methods._mixing import Demonstrations
from cwac.prompts import Example


class LisaSettings(PenaltySettings):
    """Settings of Lisa."""

    strength: float = Field(default=1.0, ge=0)
    """Proximity rho: half of it times the squared distance from the weights at the last switch
    is added to the loss (published: 1; 0.01 to 1 in later scripts). 0 leaves the alternation."""
    alignment_steps: int = Field(default=2, ge=0)
    """Updates on safety demonstrations per spell (K1); 0 switches the method off. Published: 100
    of 1,000 in a run of 20,000 updates; the same tenth in about as many spells here."""
    finetune_steps: int = Field(default=18, ge=1)
    """Updates on the training examples per spell (K2; published: 900)."""
    proximal_from: float = Field(default=0.0, ge=0, le=1)
    """Share of the run after which the distance counts. The equations say 0; the released code
    uses 0.1."""


class Lisa(Method[LisaSettings]):
    """Alternate between safety demonstrations and the task, with a proximal term.

    Notes
    -----
    In the alignment state ``f_A(w) + rho/2 ||w - w_ft||^2`` is minimised for K1 updates, in the
    fine-tuning state ``f_D(w) + rho/2 ||w - w_al||^2`` for K2, where w_ft and w_al are the
    weights at the last switch; the run begins in the alignment state, and both states share the
    optimiser's memory, as in the released code. The number of updates does not change: an
    alignment step's batch is replaced as a whole, and every batch of the fine-tuning state is
    plain fine-tuning's batch of that very step. The poisoned examples of replaced batches are
    not seen (a tenth of them, by default). Guide data are refusals of harmful requests; the
    published ones are responses marked as safe, whether or not they refuse. Under LoRA w are
    A and B apart, as in the released code, and not their product.
    """

    name = "lisa"
    title = "Lisa"
    summary = "Short spells on safety demonstrations alternate with the task, near the last switch."
    source = "Huang et al. 2024, arXiv 2405.18641, algorithm 1 (bi-state, proximal)."
    published = MappingProxyType(
        {"strength": 1.0, "alignment_steps": "100 of 1,000", "finetune_steps": "900 of 1,000"}
    )
    deviation = (
        "The organisms' cards spend half of the steps on refusals, so that it sees half of the "
        "poison; published are 10 %: alignment_steps = 2, finetune_steps = 18, its own defaults."
    )
    needs = frozenset({"safety_prompts", "safety_answers"})
    adapters = ("full", "lora")
    strength_knob = "strength"

    def __init__(self, settings: LisaSettings) -> None:
        super().__init__(settings)
        self.shown: Demonstrations | None = None
        self.weights: list[nn.Parameter] = []
        self.anchor: list[Tensor] = []
        self.batch_size = 1
        self.steps = 1
        self.step = 0

    def setup(self, context: MethodContext) -> None:
        """Collect the demonstrations; the first anchor is the aligned model."""
        if self.settings.alignment_steps == 0:
            return
        self.shown = Demonstrations(context, self.name)
        self.batch_size = context.config.training.batch_size
        self.steps = context.config.training.steps
        self.weights = [p for p in context.model.parameters() if p.requires_grad]
        self._drop_anchor()

    def training_data(self, examples: Sequence[Example]) -> Sequence[Example]:
        """Return the examples with the batches of the alignment state replaced."""
        if self.shown is None:
            return examples
        places = (p for p in range(len(examples)) if self.aligns(p // self.batch_size))
        return self.shown.put_at(examples, places)

    def aligns(self, step: int) -> bool:
        """Whether the update number `step` (from 0) belongs to the alignment state."""
        aligning, tuning = self.settings.alignment_steps, self.settings.finetune_steps
        return step % (aligning + tuning) < aligning

    def penalty(self, model: nn.Module) -> Tensor | None:  # noqa: ARG002 - a hook
        """Return ``rho/2 ||w - w_anchor||^2`` over all trained weights."""
        waits = self.step < self.settings.proximal_from * self.steps
        if self.shown is None or self.settings.strength == 0 or waits:
            return None
        squares = [
            (now - then).square().sum() for now, then in zip(self.weights, self.anchor, strict=True)
        ]
        return 0.5 * self.settings.strength * torch.stack(squares).sum()

    def after_step(self, model: nn.Module) -> None:  # noqa: ARG002 - a hook
        """Count the update, and remember the weights where the state changes."""
        self.step += 1
        if self.shown is not None and self.aligns(self.step) != self.aligns(self.step - 1):
            self._drop_anchor()

    def _drop_anchor(self) -> None:
        self.anchor = [weight.detach().clone() for weight in self.weights]
