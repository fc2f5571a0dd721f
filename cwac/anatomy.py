"""Where decoder layers, FFN output projections and linear maps sit, and how each is stored."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final, Protocol

from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from cwac.config import Maps
from cwac.errors import ModelError

# Of the decoder, which may be part of a model that reads images too; the second is GPT-2's.
LAYER_LISTS: Final = ("layers", "h")
# Relative to a decoder layer. GPT-2's attn.c_proj must not match, hence the full suffix.
FFN_OUTPUTS: Final = ("mlp.down_proj", "mlp.dense_4h_to_h", "mlp.c_proj", "fc2")


SMALL: Final = 512
"""Up to this many inputs, or a residual stream this wide, all is computed in full and in batches of
one size, as the stored runs of the organism were, so that their fits do not change. What is wider
goes the faster ways, which agree to rounding."""


class TokenBatch(Protocol):
    """What a forward pass needs of a batch: right-padded, with explicit positions."""

    input_ids: Tensor
    attention_mask: Tensor
    position_ids: Tensor


@dataclass(frozen=True)
class LinearMap:
    """One linear map inside a decoder layer.

    Attributes
    ----------
    layer : int
        Decoder layer, from 0.
    name : str
        Path inside the layer (``mlp.down_proj``).
    path : str
        Path inside the model (``model.layers.0.mlp.down_proj``).
    parameter : str
        Name of the weight parameter.
    ffn_output : bool
        Whether it writes the FFN's output into the residual stream.
    transposed : bool
        Whether the weight is stored as ``(d_in, d_out)``, as GPT-2's Conv1D does.
    d_in, d_out : int
        Sizes of input and output.
    """

    layer: int
    name: str
    path: str
    parameter: str
    ffn_output: bool
    transposed: bool
    d_in: int
    d_out: int


@dataclass(frozen=True)
class Anatomy:
    """Where the parts of a model sit.

    Attributes
    ----------
    layers_path : str
        Path of the list of decoder layers.
    n_layers, d_model : int
        Decoder layers, and the residual stream's size.
    maps : tuple of LinearMap
        Linear maps inside the decoder layers.
    embedding, output : LinearMap
        The token embedding, as a map from one-hot tokens (layer -1), and the output layer (layer
        `n_layers`); they name one parameter where they are tied.
    """

    layers_path: str
    n_layers: int
    d_model: int
    maps: tuple[LinearMap, ...]
    embedding: LinearMap
    output: LinearMap

    @property
    def tied(self) -> bool:
        """Whether embedding and output layer are one parameter."""
        return self.embedding.parameter == self.output.parameter

    def select(self, which: Maps, layers: Sequence[int] | None = None) -> tuple[LinearMap, ...]:
        """Return FFN output projections (``ffn``) or all linear maps (``all``) of some layers.

        Raises
        ------
        ModelError
            A layer does not exist.
        """
        return select_maps(self.maps, which, self.check_layers(layers))

    def check_layers(self, layers: Sequence[int] | None) -> tuple[int, ...]:
        """Return the named layers in order, all of them for None.

        Raises
        ------
        ModelError
            A layer does not exist.
        """
        wanted = range(self.n_layers) if layers is None else sorted(set(layers))
        for layer in wanted:
            if not 0 <= layer < self.n_layers:
                raise ModelError(
                    f"there is no decoder layer {layer}; the model has layers 0 to "
                    f"{self.n_layers - 1}."
                )
        return tuple(wanted)


def select_maps(
    maps: Sequence[LinearMap], which: Maps, layers: Sequence[int] | None = None
) -> tuple[LinearMap, ...]:
    """Return the maps of a selection, in their order."""
    return tuple(
        entry
        for entry in maps
        if (which == "all" or entry.ffn_output) and (layers is None or entry.layer in layers)
    )


def anatomy_of(model: nn.Module) -> Anatomy:
    """Find the decoder layers of a Hugging Face causal language model and their linear maps.

    Raises
    ------
    ModelError
        The architecture is unknown; the message names what was looked for.
    """
    layers_path, layers = _find_layers(model)
    maps: list[LinearMap] = []
    for index, layer in enumerate(layers):
        inside = [
            _describe(index, name, f"{layers_path}.{index}.{name}", module)
            for name, module in layer.named_modules()
            if isinstance(module, nn.Linear | Conv1D)
        ]
        if sum(entry.ffn_output for entry in inside) != 1:
            raise ModelError(
                f"{type(model).__name__}: layer {index} has no single FFN output projection; "
                f"looked for {', '.join(FFN_OUTPUTS)} in {layers_path}.{index}."
            )
        maps.extend(inside)
    d_model = next(entry.d_out for entry in maps if entry.ffn_output)
    embedding, output = _outer_maps(model, len(layers))
    return Anatomy(layers_path, len(layers), d_model, tuple(maps), embedding, output)


def _outer_maps(model: Any, n_layers: int) -> tuple[LinearMap, LinearMap]:
    embedding, head = model.get_input_embeddings(), model.get_output_embeddings()
    if not isinstance(embedding, nn.Embedding) or head is None:
        raise ModelError(f"{type(model).__name__} has no token embedding or no output layer.")
    paths = {module: path for path, module in model.named_modules()}
    # A tied parameter is named once, by its first place.
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    vocabulary, d_model = embedding.weight.shape
    return (
        # Stored as (tokens, d_model), which is (d_in, d_out).
        LinearMap(
            -1, "embedding", paths[embedding], names[id(embedding.weight)],
            ffn_output=False, transposed=True, d_in=vocabulary, d_out=d_model,
        ),
        LinearMap(
            n_layers, "output", paths[head], names[id(head.weight)],
            ffn_output=False, transposed=False, d_in=head.weight.shape[1],
            d_out=head.weight.shape[0],
        ),
    )  # fmt: skip


def embedding_parameters(model: nn.Module, anatomy: Anatomy) -> list[nn.Parameter]:
    """Return the weights of token and position embeddings, wherever they stand."""
    inside = f"{anatomy.layers_path}."
    return [
        module.get_parameter("weight")
        for path, module in model.named_modules()
        if isinstance(module, nn.Embedding) and not path.startswith(inside)
    ]


def _find_layers(model: nn.Module) -> tuple[str, nn.ModuleList]:
    find = getattr(model, "get_decoder", None)
    decoder: Any = model if find is None else find()
    for name in LAYER_LISTS:
        layers = getattr(decoder, name, None)
        if isinstance(layers, nn.ModuleList) and len(layers):
            path = next(path for path, module in model.named_modules() if module is layers)
            return path, layers
    raise ModelError(
        f"{type(model).__name__} is of an unknown architecture: looked for decoder layers "
        f"({', '.join(LAYER_LISTS)}) in its decoder, {type(decoder).__name__}."
    )


def _describe(layer: int, name: str, path: str, module: nn.Module) -> LinearMap:
    weight = module.get_parameter("weight")
    transposed = isinstance(module, Conv1D)
    rows, columns = weight.shape
    d_in, d_out = (rows, columns) if transposed else (columns, rows)
    return LinearMap(
        layer, name, path, f"{path}.weight", name in FFN_OUTPUTS, transposed, d_in, d_out
    )


def layer_module(model: nn.Module, anatomy: Anatomy, layer: int) -> nn.Module:
    """Return decoder layer `layer`; negative indices are refused."""
    (index,) = anatomy.check_layers([layer])
    return model.get_submodule(f"{anatomy.layers_path}.{index}")


def weight_of(source: nn.Module | Mapping[str, Tensor], entry: LinearMap) -> Tensor:
    """Return a map's weight as a ``(d_out, d_in)`` view, whichever way it is stored.

    `source` is a model or a mapping from parameter names to tensors. Writing in place into the
    view (under ``no_grad``) writes into the parameter.
    """
    if isinstance(source, nn.Module):
        weight: Tensor = source.get_parameter(entry.parameter)
    else:
        weight = source[entry.parameter]
    return weight.T if entry.transposed else weight


def gradient_of(model: nn.Module, entry: LinearMap) -> Tensor | None:
    """Return a map's gradient as a ``(d_out, d_in)`` view, None where there is none."""
    gradient = model.get_parameter(entry.parameter).grad
    if gradient is None:
        return None
    return gradient.T if entry.transposed else gradient


class _Cut(Exception):  # noqa: N818 - no error: it ends a forward pass early
    """The highest requested layer has been computed."""


@dataclass
class ResidualStreams:
    """Runs forward passes that end after the highest requested layer.

    Attributes
    ----------
    streams : dict of int to Tensor
        The residual stream after each requested layer in the last pass, ``(B, L, d_model)``,
        attached to the graph.
    """

    model: nn.Module
    layers: tuple[int, ...]
    streams: dict[int, Tensor] = field(default_factory=dict)

    @cached_property
    def sharded(self) -> bool:
        """Whether FSDP2 manages the model: it orders its streams at the end of a whole pass."""
        return any(hasattr(module, "unshard") for module in self.model.modules())

    def forward(self, **inputs: Any) -> dict[int, Tensor]:
        """Run the model up to the highest requested layer and return the streams."""
        self.streams = {}
        # The cut is meant to be seen here and nowhere else.
        with suppress(_Cut):
            self.model(**inputs)
        return self.streams


@contextmanager
def stop_after(
    model: nn.Module, anatomy: Anatomy, layers: int | Sequence[int]
) -> Iterator[ResidualStreams]:
    """Collect the residual stream after some layers; later layers are never computed.

    Layer ``l`` means the output of decoder layer ``l`` (from 0). Gradients flow. The hooks are
    removed on leaving, whatever happens inside.

    Raises
    ------
    ModelError
        A layer does not exist.
    """
    wanted = anatomy.check_layers([layers] if isinstance(layers, int) else layers)
    if not wanted:
        raise ModelError("no layer was named to read the residual stream of.")
    reader = ResidualStreams(model, wanted)
    handles = []
    try:
        for layer in wanted:
            module = layer_module(model, anatomy, layer)
            handles.append(module.register_forward_hook(_recorder(reader, layer)))
        yield reader
    finally:
        for handle in handles:
            handle.remove()


def _recorder(reader: ResidualStreams, layer: int) -> Any:
    def record(_module: nn.Module, _inputs: Any, output: Any) -> None:
        # Older transformers return a tuple, newer ones the tensor.
        reader.streams[layer] = output[0] if isinstance(output, tuple) else output
        if layer == reader.layers[-1] and not reader.sharded:
            raise _Cut

    return record


def residual_streams(
    model: nn.Module, anatomy: Anatomy, batch: TokenBatch, layers: int | Sequence[int]
) -> dict[int, Tensor]:
    """Return the residual stream of a batch after some layers, cut at the highest, with gradient.

    Parameters
    ----------
    batch : TokenBatch
        ``input_ids``, ``attention_mask`` and ``position_ids``, each ``(B, L)``.
    layers : int or sequence of int
        Decoder layers, from 0.

    Returns
    -------
    dict of int to Tensor
        ``(B, L, d_model)`` per layer; rows at padded positions are meaningless.
    """
    with stop_after(model, anatomy, layers) as reader:
        return reader.forward(**forward_inputs(batch))


def forward_inputs(batch: TokenBatch) -> dict[str, Any]:
    """Return the keyword arguments of a plain forward pass, without a cache."""
    return {
        "input_ids": batch.input_ids,
        "attention_mask": batch.attention_mask,
        "position_ids": batch.position_ids,
        "use_cache": False,
    }
