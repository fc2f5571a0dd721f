"""SaLoRA: adapters write nothing into the output directions that carry safe answers."""

from collections.abc import Sequence
from types import MappingProxyType
from typing import Final, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from cwac.adapters import Adapter, adapters_on
from cwac.anatomy import LinearMap, weight_of
from cwac.chat import IGNORED, collate
from cwac.interfaces import Method, MethodContext, MethodSettings
from cwac.methods._harmful import demonstrations
from cwac.passes import read_together
from cwac.prompts import Example
from cwac.subspace import SecondMoments, collect_second_moments

_AT_ONCE: Final = 32


class SaloraSettings(MethodSettings):
    """Settings of the safety module and of the start."""

    safety_rank: int = Field(default=32, ge=0)
    """Output directions of a map that adapters do not write to (r_s; published: 32); no more than
    half of the map's outputs, so that something is left to learn with. 0 protects none."""
    initialisation: Literal["task", "plain"] = "task"
    """``task``: adapters begin at the weight's leading singular directions, projected onto the
    outputs that the task uses, and the weight below gives up what they hold. ``plain``: as in
    LoRA, B at zero."""
    task_rank: int = Field(default=32, ge=1)
    """Output directions that count as the task's (r_t; published: 32)."""
    samples: int = Field(default=128, ge=1)
    """Examples of each kind that directions are measured on, at most."""


class Salora(Method[SaloraSettings]):
    r"""Train LoRA behind a fixed safety module, ``W' + s C_S B A`` with ``C_S = I - U_C U_C^T``.

    Notes
    -----
    U_C are the leading left singular vectors of ``W X_h``, a map's outputs for refused harmful
    safety requests with their safe answers. No input whatever can move an output along U_C: a left
    projector, where CWAC's on the right keeps the outputs for *harmful* inputs. With U those of
    ``W X_t`` on the training examples (poison among them: a defender does not know it) and
    ``W ~ Ubar_r S_r Vbar_r^T``, adapters begin at ``B_0 = U U^T Ubar_r sqrt(S_r)``,
    ``A_0 = sqrt(S_r) Vbar_r^T``, both over ``sqrt(s)``, and ``W' = W_0 - s C_S B_0 A_0``, so that
    training begins at the aligned model.

    As in the released code only the answers' tokens count. It adapts queries and values; here the
    maps are the experiment's. C_S is not a layer of its own: B's gradient is projected before
    clipping and B after every update, which gives the same forward passes, updates and merged
    ``B' = C_S B``.
    """

    name = "salora"
    title = "SaLoRA"
    summary = "Adapters cannot write to the output directions of safe answers, for any input."
    source = "Li et al. 2025, arXiv 2501.01765, sections 4.1 and 4.2; code homles11/SaLoRA."
    published = MappingProxyType({"safety_rank": 32, "task_rank": 32})
    deviation = (
        "Adapters on the experiment's maps, published on queries and values; the organisms' cards "
        "begin them as LoRA does, at a quarter of the published safety_rank = 32."
    )
    needs = frozenset({"safety_prompts", "safety_answers"})
    adapters = ("lora",)
    strength_knob = "safety_rank"

    def __init__(self, settings: SaloraSettings) -> None:
        super().__init__(settings)
        self.context: MethodContext | None = None
        self.maps: tuple[LinearMap, ...] = ()
        self.on: dict[str, Adapter] = {}
        self.protected: dict[str, Tensor] = {}

    def setup(self, context: MethodContext) -> None:
        """Find the protected output directions of every adapted map."""
        self.context = context
        self.on = adapters_on(context.model, context.anatomy.maps)
        self.maps = tuple(m for m in context.anatomy.maps if m.path in self.on)
        if self.settings.safety_rank > 0:
            moments = self._moments(context, demonstrations(context, self.name))
            for entry in self.maps:
                count = min(self.settings.safety_rank, entry.d_out // 2)
                weight = weight_of(context.aligned, entry)
                self.protected[entry.path] = output_directions(weight, moments, entry, count)

    @torch.no_grad()
    def training_data(self, examples: Sequence[Example]) -> Sequence[Example]:
        """Let the adapters begin where the task's outputs are; change no example."""
        context = self.context
        if self.settings.initialisation == "task" and context is not None:
            moments = self._moments(context, examples)
            for entry in self.maps:
                adapter, weight = self.on[entry.path], weight_of(context.model, entry)
                used = output_directions(weight, moments, entry, self.settings.task_rank)
                left, right = leading_factors(weight, adapter.a.shape[0])
                adapter.b.copy_(used @ (used.T @ left) * adapter.scaling**-0.5)
                adapter.a.copy_(right * adapter.scaling**-0.5)
            self._protect()
            for entry in self.maps:
                weight_of(context.model, entry).sub_(self.on[entry.path].change())
        return examples

    def before_clip(self, model: nn.Module) -> None:  # noqa: ARG002 - a hook
        """Take the protected directions out of the gradient, as the safety module does."""
        for path, basis in self.protected.items():
            gradient = self.on[path].b.grad
            if gradient is not None:
                gradient.addmm_(basis, basis.T @ gradient, alpha=-1.0)

    def after_step(self, model: nn.Module) -> None:  # noqa: ARG002 - a hook
        """Take them out of B, which the optimiser rescales."""
        self._protect()

    @torch.no_grad()
    def _protect(self) -> None:
        for path, basis in self.protected.items():
            factor = self.on[path].b
            factor.addmm_(basis, basis.T @ factor, alpha=-1.0)

    def _moments(self, context: MethodContext, examples: Sequence[Example]) -> SecondMoments:
        """Return second moments of the adapted maps' inputs at the tokens of the answers."""
        pairs = list(dict.fromkeys((e.prompt, e.answer) for e in examples))[: self.settings.samples]
        items = [context.chat.example_ids(*pair) for pair in pairs]
        limit = context.config.training.max_length
        lengths = [len(ids) for ids, _ in items]
        batches = [
            collate([items[place] for place in places], context.chat.pad_id, max_length=limit).to(
                context.device
            )
            for places in read_together(context.anatomy, lengths, rows=_AT_ONCE, limit=limit)
        ]
        answers = [batch.labels != IGNORED for batch in batches]
        return collect_second_moments(context.model, self.maps, batches, answers)


def output_directions(
    weight: Tensor, moments: SecondMoments, entry: LinearMap, count: int
) -> Tensor:
    """Return the leading left singular vectors of ``W X``, float32 ``(d_out, k)``.

    They are the eigenvectors of ``W (X X^T) W^T``, for which X itself is not kept.

    Parameters
    ----------
    count : int
        Directions; less where the outputs span fewer.
    """
    wide = weight.detach().double()
    values, vectors = torch.linalg.eigh(wide @ moments.matrix(entry.path).to(wide) @ wide.T)
    # Below this an eigenvalue is the rounding of a direction that no output has.
    spanned = int((values > values[-1] * len(values) * torch.finfo(torch.float64).eps).sum())
    leading: Tensor = vectors.flip(1)[:, : min(count, spanned)].to(weight)
    return leading


def leading_factors(weight: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """Return ``Ubar_r sqrt(S_r)`` and ``sqrt(S_r) Vbar_r^T`` of a weight's leading directions.

    Returns
    -------
    (Tensor, Tensor)
        ``(d_out, rank)`` and ``(rank, d_in)``, filled up with zeros where the rank is larger.
    """
    left, values, right = torch.linalg.svd(weight.detach(), full_matrices=False)
    scale = values[:rank].sqrt()
    missing = rank - len(scale)
    return (
        nn.functional.pad(left[:, :rank] * scale, (0, missing)),
        nn.functional.pad(scale[:, None] * right[:rank], (0, 0, 0, missing)),
    )
