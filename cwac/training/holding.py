"""What is trained outside the decoder layers, and the output layer's own constraint.

A constraint on the decoder's maps reaches neither the embedding nor the output layer. Both can be
held for every arm alike, so that arms differ in their method alone.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from cwac.anatomy import Anatomy, embedding_parameters, weight_of
from cwac.config import TrainingConfig
from cwac.errors import ConfigError
from cwac.interfaces import MethodContext
from cwac.subspace import remove_protected_


@contextmanager
def frozen(model: nn.Module, anatomy: Anatomy, config: TrainingConfig) -> Iterator[None]:
    """Leave the embedding or the output layer untrained inside the block, as `config` says.

    Raises
    ------
    ConfigError
        The output layer is to be trained apart from an embedding that it is tied to.
    """
    if anatomy.tied and not config.train_embeddings and config.output_layer == "projected":
        raise ConfigError(
            "training.output_layer = 'projected' is not allowed with train_embeddings = false "
            "here: embedding and output layer are one parameter, and it is frozen."
        )
    held: list[nn.Parameter] = []
    if not config.train_embeddings:
        held += embedding_parameters(model, anatomy)
    if config.output_layer == "frozen":
        held.append(model.get_parameter(anatomy.output.parameter))
    before = [parameter.requires_grad for parameter in held]
    for parameter in held:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter, trained in zip(held, before, strict=True):
            parameter.requires_grad_(trained)


class OutputProjection:
    """Keeps the output layer's change out of what refused requests give it as input.

    ``W <- W0 + (W - W0)(I - U U^T)`` after every step, U the leading eigenvectors of the final
    normed states' second moment on the refused harmful requests (CWAC's equations 12 to 15,
    arXiv 2604.12384, on the one map that the paper leaves out). Where the output layer is tied to
    the embedding, the embedding's change is projected with it.

    Parameters
    ----------
    context : MethodContext
        Its model must be the aligned one.
    """

    def __init__(self, context: MethodContext) -> None:
        entry = context.anatomy.output
        subspace = context.yardstick.subspace
        if entry.path not in subspace:
            subspace = context.fit_subspace(outer_maps=True)
        self.basis: Tensor = subspace.bases[entry.path].to(context.device)
        self.weight = weight_of(context.model, entry).detach()
        self.aligned = weight_of(context.aligned, entry)

    @torch.no_grad()
    def apply(self) -> None:
        """Project the change since the aligned weights."""
        remove_protected_(self.weight, self.weight - self.aligned, self.basis)
