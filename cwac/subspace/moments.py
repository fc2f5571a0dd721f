"""Second moments of linear maps' inputs, streamed, and which tokens are columns of X."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, Self

import torch
from torch import Tensor, nn

from cwac.anatomy import SMALL, LinearMap, forward_inputs
from cwac.chat import Batch
from cwac.config import TokenSet
from cwac.errors import DataError
from cwac.passes import Beginning
from cwac.scores import no_scores

REFUSAL_TOKENS: Final = 16
"""Tokens of the aligned model's own refusal that count as columns of X."""
WIDE: Final = 2048
"""Maps with more inputs are summed in float32, and their d_in x d_in matrices are not kept."""


class SecondMoments:
    """Mean second moments of maps' inputs, in memory that does not depend on token counts.

    Products and sums are in float64, so that the order and size of batches do not matter; in
    float32 for maps of more than 2,048 inputs, where memory decides. Of these the inputs themselves
    are kept while they are fewer than d_in, which is less. Maps that read the same tensor (query,
    key and value) share one matrix. What was read from a file stays the triangle that it is there,
    a quarter of the matrix in float64, until somebody wants the matrix.
    """

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._triangles: dict[str, Tensor] = {}
        self._rows: dict[str, list[Tensor]] = {}
        self._counts: dict[str, int] = {}
        self._shared: dict[str, str] = {}

    def accumulate(self, path: str, inputs: Tensor, times: Tensor | None = None) -> None:
        """Add the rows of `inputs` ``(N, d_in)``, each once or as often as `times` says."""
        size = inputs.shape[-1]
        columns = inputs.detach().to(torch.float32 if size > WIDE else torch.float64)
        count = self._counts.get(path, 0)
        self._counts[path] = count + (len(columns) if times is None else int(times.sum()))
        if times is not None:
            columns = columns * times.to(columns).sqrt()[:, None]
        if path in self._triangles:
            self._sums[path] = _whole(self._triangles.pop(path)) * count
        if size > WIDE and path not in self._sums:
            # A copy: a view would keep the whole batch.
            kept = self._rows.setdefault(path, [])
            kept.append(columns.clone())
            if sum(map(len, kept)) < size:
                return
            columns = torch.cat(self._rows.pop(path))
        if path not in self._sums:
            self._sums[path] = columns.T @ columns
        elif size > SMALL:
            # In place: a matrix of its own for each batch takes longer to add than to compute.
            self._sums[path].addmm_(columns.T, columns)
        else:
            self._sums[path] += columns.T @ columns

    def share(self, path: str, source: str) -> None:
        """Declare that map `path` reads the same inputs as map `source`."""
        self._shared[path] = source

    def source(self, path: str) -> str:
        """Return the map whose matrix `path` uses: itself unless it shares.

        Raises
        ------
        DataError
            Nothing was collected for this map.
        """
        source = self._shared.get(path, path)
        if source not in self._counts:
            raise DataError(f"no inputs were collected for {path}.")
        return source

    def __contains__(self, path: object) -> bool:
        return self._shared.get(str(path), str(path)) in self._counts

    def rows(self, path: str) -> Tensor | None:
        """Return a wide map's inputs ``(N, d_in)`` where they are fewer than d_in, else None.

        Their mean second moment is the map's: inputs that count more than once are longer.

        Raises
        ------
        DataError
            Nothing was collected for this map.
        """
        source = self.source(path)
        parts = self._rows.get(source)
        if not parts:
            return None
        rows, count = torch.cat(parts), self._counts[source]
        return rows if len(rows) == count else rows * float((len(rows) / count) ** 0.5)

    def matrix(self, path: str) -> Tensor:
        """Return the mean second moment ``X X^T / N``, float64 ``(d_in, d_in)``.

        Raises
        ------
        DataError
            Nothing was collected for this map.
        """
        source = self.source(path)
        rows = self.rows(path)
        count = self._counts[source]
        if rows is not None:
            return rows.double().T @ rows.double() / len(rows)
        if source in self._triangles:
            total = _whole(self._triangles[source]) * count
        else:
            total = self._sums[source].double()
        return total / max(count, 1)

    @property
    def tokens(self) -> int:
        """Columns behind every matrix."""
        return max(self._counts.values(), default=0)

    @property
    def on_cpu(self) -> bool:
        """Whether all of it lies in the machine's own memory."""
        rows = (row for each in self._rows.values() for row in each)
        kept = (*self._sums.values(), *self._triangles.values(), *rows)
        return all(tensor.device.type == "cpu" for tensor in kept)

    def up_to(self, d_in: int) -> Self:
        """Return the moments of maps with at most `d_in` inputs."""
        kept = type(self)()
        kept._sums = {path: s for path, s in self._sums.items() if len(s) <= d_in}
        kept._triangles = {p: t for p, t in self._triangles.items() if _side(t) <= d_in}
        paths = {**kept._sums, **kept._triangles}
        kept._counts = {path: self._counts[path] for path in paths}
        kept._shared = {p: s for p, s in self._shared.items() if s in paths}
        return kept

    def tensors(self) -> dict[str, Tensor]:
        """Return upper triangles of the mean matrices in float32, for storage."""
        summed = {
            path: self.matrix(path)[tuple(torch.triu_indices(len(s), len(s)))].float().cpu()
            for path, s in self._sums.items()
        }
        return {**self._triangles, **summed}

    def description(self) -> dict[str, Any]:
        """Return what :meth:`from_tensors` needs beside the tensors."""
        return {"counts": self._counts, "shared": self._shared}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor], description: Mapping[str, Any]) -> Self:
        """Rebuild what :meth:`tensors` and :meth:`description` gave."""
        moments = cls()
        moments._counts = {str(p): int(n) for p, n in description["counts"].items()}
        moments._shared = dict(description["shared"])
        moments._triangles = dict(tensors)
        return moments


def _side(triangle: Tensor) -> int:
    return int(((8 * len(triangle) + 1) ** 0.5 - 1) / 2)


def _whole(triangle: Tensor) -> Tensor:
    """Return the symmetric matrix of an upper triangle, float64."""
    size = _side(triangle)
    upper = torch.zeros(size, size, dtype=torch.float64)
    upper[tuple(torch.triu_indices(size, size))] = triangle.double()
    return upper + upper.triu(1).T


def token_mask(
    which: TokenSet,
    prompt_lengths: Sequence[int],
    lengths: Sequence[int],
    *,
    closing_tokens: int,
    width: int,
) -> Tensor:
    """Return which tokens of right-padded sequences are columns of X, bool ``(B, width)``.

    Parameters
    ----------
    which : TokenSet
        ``prompt``: all prompt and template tokens; ``template``: the closing template tokens
        after the request; ``refusal``: the prompt and the first :data:`REFUSAL_TOKENS` tokens
        of the refusal; ``response``: the closing template tokens and those tokens of the
        refusal, without the request.
    prompt_lengths, lengths : sequence of int
        Tokens of the templated prompt, and of prompt and answer together.
    closing_tokens : int
        Template tokens after the request; at least the last prompt token is taken.
    width : int
        Tokens of the padded batch.
    """
    position = torch.arange(width)[None, :]
    prompt = torch.tensor(prompt_lengths)[:, None]
    if which == "prompt":
        return position < prompt
    after_request = position >= prompt - max(closing_tokens, 1)
    if which == "template":
        return (position < prompt) & after_request
    end = torch.minimum(prompt + REFUSAL_TOKENS, torch.tensor(lengths)[:, None])
    if which == "response":
        return (position < end) & after_request
    return position < end


@torch.no_grad()
def collect_second_moments(
    model: nn.Module,
    maps: Sequence[LinearMap],
    batches: Iterable[Batch],
    token_masks: Iterable[Tensor] | None = None,
    beginning: Beginning | None = None,
) -> SecondMoments:
    """Stream batches through `model` and sum the second moments of the maps' inputs.

    Parameters
    ----------
    batches : iterable of Batch
        Right-padded, with position ids.
    token_masks : iterable of Tensor, optional
        Which tokens count, bool ``(B, L)`` per batch; padding never counts.
    beginning : Beginning, optional
        What rows begin with: for the batches that it leads it is read once, and its tokens count
        as often as the masks, which it needs, say. Sums then agree to rounding.

    Raises
    ------
    DataError
        Not one token was counted.
    """
    moments = SecondMoments()
    reader = _InputReader(moments)
    was_training = model.training
    model.eval()
    masks = None if token_masks is None else list(token_masks)
    # Read for those that follow before anything counts.
    shared = 0 if beginning is None else len(beginning)
    if beginning is not None:
        beginning.read()
    handles = [
        model.get_submodule(entry.path).register_forward_pre_hook(reader.hook(entry.path))
        for entry in maps
    ]
    times = torch.zeros(shared, dtype=torch.long)
    try:
        for number, batch in enumerate(batches):
            mask = batch.attention_mask.bool()
            if masks is not None:
                mask = mask & masks[number].to(mask.device)
            inputs = forward_inputs(batch)
            if shared and beginning is not None and beginning.leads(batch):
                times += mask[:, :shared].sum(dim=0).cpu()
                mask, inputs = mask[:, shared:], beginning.inputs(batch.after(shared))
            reader.start(mask)
            with no_scores(model):
                model(**inputs)
        if beginning is not None and bool(times.any()):
            counted = times.to(beginning.device)
            reader.start(counted > 0, counted[counted > 0])
            with no_scores(model):
                model(**beginning.alone())
    finally:
        model.train(was_training)
        for handle in handles:
            handle.remove()
    if maps and moments.tokens == 0:
        raise DataError("no token was left to measure the safety subspace on.")
    return moments


class _InputReader:
    """Sums inputs seen by pre-hooks; a tensor that several maps read is summed once."""

    def __init__(self, moments: SecondMoments) -> None:
        self.moments = moments
        self.mask = torch.empty(0)
        self.times: Tensor | None = None
        # Maps that share an input read it one after the other, so the last one is enough;
        # holding the tensor keeps its identity unique.
        self.last: tuple[Tensor, str] | None = None

    def start(self, mask: Tensor, times: Tensor | None = None) -> None:
        self.mask = mask.reshape(-1)
        self.times = times
        self.last = None

    def hook(self, path: str) -> Any:
        def read(_module: nn.Module, arguments: tuple[Tensor, ...]) -> None:
            inputs = arguments[0]
            if self.last is not None and self.last[0] is inputs:
                self.moments.share(path, self.last[1])
                return
            self.last = (inputs, path)
            # Some architectures flatten (B, L, d) before the FFN; rows stay in the same order.
            rows = inputs.reshape(-1, inputs.shape[-1])[self.mask]
            self.moments.accumulate(path, rows, self.times)

        return read
