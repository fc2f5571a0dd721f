"""TopK SAEs on the aligned model's residual stream, trained with sae-lens on plain tensors."""

import contextlib
import io
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from cwac.anatomy import SMALL
from cwac.config import MeasurementConfig
from cwac.errors import ConfigError
from cwac.features import Sae
from cwac.models.loading import LoadedModel
from cwac.preparation.progress import Progress, counted, silent
from cwac.preparation.safety_text import (
    Conversation,
    conversation_batches,
    conversation_streams,
)
from cwac.preparation.sparse_pass import sparse_pass
from cwac.seeding import generator

BATCH: Final = 256
TOKENS: Final = 80_000
"""About this many residuals are kept at most; the training goes over them several times."""
_TELL_EVERY: Final = 10
"""Steps between two reports."""
_ENCODINGS: Final = {True: 3.6, False: 6.0}
"""What a training step costs in products of a batch with the encoder, decoded sparsely or not:
measured at 576 inputs and 4,608 latents, where such a product took 35 ms of one core."""
_CODES: Final = 2**26
"""Codes held at a time while an SAE is measured, in numbers."""
MIN_VARIANCE: Final = 0.85
MAX_DEAD: Final = 0.2
MIN_LIVE: Final = 400


@dataclass(frozen=True)
class SaeShape:
    """Sizes of the SAEs, with the defaults filled in."""

    layers: tuple[int, ...]
    width: int
    k: int

    @classmethod
    def of(cls, loaded: LoadedModel, measurement: MeasurementConfig) -> "SaeShape":
        """Fill in the documented defaults.

        Layers at one and two thirds of depth, eight times d_model latents, a quarter of d_model
        active.

        Raises
        ------
        ModelError
            A layer does not exist.
        ConfigError
            More latents would be active than there are.
        """
        depth, d_model = loaded.anatomy.n_layers, loaded.anatomy.d_model
        thirds = {max(round(depth / 3) - 1, 0), max(round(2 * depth / 3) - 1, 0)}
        chosen = measurement.sae_layers or tuple(sorted(thirds))
        width = measurement.sae_width or 8 * d_model
        k = measurement.sae_k or max(d_model // 4, 1)
        if k > width:
            raise ConfigError(f"sae_k = {k} is not allowed: the SAE has only {width} latents.")
        return cls(loaded.anatomy.check_layers(chosen), width, k)


@dataclass(frozen=True)
class SaeScore:
    """How well an SAE fits residuals it was not trained on.

    Attributes
    ----------
    explained_variance : float
        ``1 - sum ||x - x_hat||^2 / sum ||x - mean||^2``.
    l0 : float
        Mean number of active latents per token.
    dead_fraction : float
        Share of latents that never fire on these tokens.
    tokens : int
        Residuals measured.
    """

    explained_variance: float
    l0: float
    dead_fraction: float
    live: int
    tokens: int

    def shortfalls(self, layer: int, d_model: int) -> list[str]:
        """Return a sentence for each part of the quality gate that is missed."""
        checks = (
            (self.explained_variance >= MIN_VARIANCE,
             f"explains {self.explained_variance:.2f} of the variance (wanted {MIN_VARIANCE})"),
            (self.l0 <= d_model / 4, f"has L0 {self.l0:.1f} (wanted at most {d_model / 4:g})"),
            (self.dead_fraction <= MAX_DEAD,
             f"has {self.dead_fraction:.0%} dead latents (wanted at most {MAX_DEAD:.0%})"),
            (self.live >= MIN_LIVE, f"has {self.live} live latents (wanted {MIN_LIVE})"),
        )  # fmt: skip
        return [f"the SAE of layer {layer} {text}." for passed, text in checks if not passed]


@torch.no_grad()
def collect_residuals(
    loaded: LoadedModel,
    conversations: Sequence[Conversation],
    layers: Sequence[int],
    progress: Progress = silent,
) -> dict[int, Tensor]:
    """Return residuals of all tokens of some conversations, ``(N, d_model)`` per layer, on CPU.

    Padding and each sequence's first token are left out: the latter is where attention parks
    what it does not need, and its size would swamp every other token's error.
    """
    residuals: dict[int, list[Tensor]] = {layer: [] for layer in layers}
    kept = 0
    batches = conversation_batches(loaded, conversations)
    report = counted(progress, len(conversations), "reading the residual stream, conversation")
    for (_, batch, _), streams in conversation_streams(loaded, batches, layers, report):
        keep = batch.attention_mask.bool() & (batch.position_ids > 0)
        kept += int(keep.sum())
        for layer in layers:
            residuals[layer].append(streams[layer][keep].float().cpu())
        if kept >= TOKENS:
            break
    return {layer: torch.cat(parts) for layer, parts in residuals.items()}


def split_by_prompt(
    conversations: Sequence[Conversation], seed: int
) -> tuple[list[Conversation], list[Conversation]]:
    """Return nine tenths to train on and a tenth to measure on, no request in both."""
    order = torch.randperm(len(conversations), generator=generator(seed, "sae", "split")).tolist()
    count = max(len(order) // 10, 1)
    heldout = [conversations[index] for index in order[:count]]
    return [conversations[index] for index in order[count:]], heldout


def score_sae(sae: Sae, residuals: Tensor) -> SaeScore:
    """Measure an SAE on residuals ``(N, d_model)``."""
    error = total = fired = 0.0
    ever = torch.zeros(sae.width, dtype=torch.bool)
    # Float64 and rounded: float32 sums depend on the number of threads.
    mean = residuals.double().mean(dim=0)
    for part in torch.split(residuals, max(min(4096, _CODES // sae.width), 1)):
        codes = sae.encode(part)
        error += float((part - sae.decode(codes)).double().square().sum())
        total += float((part - mean).square().sum())
        fired += float((codes > 0).sum())
        ever |= (codes > 0).any(dim=0)
    live = int(ever.sum())
    return SaeScore(
        explained_variance=round(1 - error / total, 9) if total else 0.0,
        l0=fired / len(residuals),
        dead_fraction=1 - live / sae.width,
        live=live,
        tokens=len(residuals),
    )


def training_steps(measurement: MeasurementConfig, tokens: int) -> int:
    """Return how many batches an SAE is trained on: as stated, or so many passes over `tokens`."""
    if measurement.sae_rounds is None:
        return measurement.sae_steps
    return max(round(measurement.sae_rounds * tokens / min(BATCH, tokens)), 1)


def seconds_per_step(shape: SaeShape, d_model: int, device: torch.device) -> float:
    """Return about how long a training step will take here, from products that are tried out."""
    batch = torch.zeros(BATCH, d_model, device=device)
    encoder = torch.zeros(d_model, shape.width, device=device)
    seconds = []
    for _ in range(3):
        began = time.perf_counter()
        (batch @ encoder).sum().item()
        seconds.append(time.perf_counter() - began)
    return min(seconds) * _ENCODINGS[d_model > SMALL]


def train_sae(
    residuals: Tensor,
    *,
    layer: int,
    hook_name: str,
    shape: SaeShape,
    steps: int,
    seed: int,
    device: torch.device,
    progress: Progress = silent,
) -> Sae:
    """Train one TopK SAE with sae-lens.

    Parameters
    ----------
    residuals : Tensor
        ``(N, d_model)``, float32.
    hook_name : str
        Module whose output is encoded; stored in the SAE's metadata.
    steps : int
        Batches of 256 residuals.
    """
    shown = sys.stderr

    def report(step: int) -> None:
        message = f"training the SAE of layer {layer}, step {step} of {steps}"
        # The library's own bar is hushed meanwhile, and with it what is written there.
        with contextlib.redirect_stderr(shown):
            progress(min(step / steps, 1.0), message)

    report(0)
    size = min(BATCH, len(residuals))
    batches = _batches(residuals, size, generator(seed, "sae", "order", str(layer)), report)
    with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
        # Importing sae-lens warns about a module of one of its own dependencies.
        warnings.simplefilter("ignore")
        # sae-lens draws its initial weights from torch's global stream (on the CPU); the run
        # around this must not notice.
        start = generator(seed, "sae", "weights", str(layer)).initial_seed()
        torch.default_generator.manual_seed(start)
        return _fit_with_sae_lens(
            batches, size, _centre(residuals), hook_name, shape, steps, device
        )


def _centre(residuals: Tensor) -> Tensor:
    """Return the mean residual in the scale sae-lens trains in (mean norm ``sqrt(d_model)``).

    As the decoder bias to start from: residual streams share a large offset, and an SAE that
    first has to learn it from zero spends its latents on it.
    """
    mean, size = residuals.mean(dim=0), residuals.norm(dim=1).mean()
    centre: Tensor = mean * residuals.shape[1] ** 0.5 / size
    return centre


def _batches(
    residuals: Tensor, size: int, stream: torch.Generator, report: Callable[[int], None]
) -> Iterator[Tensor]:
    """Yield random batches for ever, each residual at most once per round."""
    served = 0
    while True:
        for chosen in torch.split(torch.randperm(len(residuals), generator=stream), size):
            if len(chosen) == size:
                served += 1
                if served % _TELL_EVERY == 0:
                    report(served)
                yield residuals[chosen]


def _fit_with_sae_lens(
    batches: Iterator[Tensor],
    size: int,
    centre: Tensor,
    hook_name: str,
    shape: SaeShape,
    steps: int,
    device: torch.device,
) -> Sae:
    # Imported here only: 5 to 7 seconds and 500 MB that reading an SAE does not need.
    from sae_lens import TopKTrainingSAE, TopKTrainingSAEConfig  # noqa: PLC0415
    from sae_lens.config import LoggingConfig, SAETrainerConfig  # noqa: PLC0415
    from sae_lens.saes.sae import SAEMetadata  # noqa: PLC0415
    from sae_lens.training.sae_trainer import SAETrainer  # noqa: PLC0415

    settings = TopKTrainingSAEConfig(
        d_in=len(centre),
        d_sae=shape.width,
        k=shape.k,
        normalize_activations="expected_average_only_in",
        metadata=SAEMetadata(hook_name=hook_name, prepend_bos=False),
    )
    window = max(steps // 15, 10)
    schedule = SAETrainerConfig(
        total_training_samples=steps * size,
        train_batch_size_samples=size,
        lr=1e-3,
        lr_end=1e-4,
        lr_warm_up_steps=steps // 20,
        lr_decay_steps=steps // 5,
        dead_feature_window=window,
        feature_sampling_window=window,
        # Its default of 1,000 batches would cost as much as the training.
        n_batches_for_norm_estimate=8,
        device=str(device),
        logger=LoggingConfig(log_to_wandb=False),
    )
    wide = len(centre) > SMALL
    sae = (sparse_sae() if wide else TopKTrainingSAE)(settings)
    sae.b_dec.data.copy_(centre)
    trainer = SAETrainer(cfg=schedule, sae=sae, data_provider=batches)
    if wide and device.type == "cpu":
        # Six times as fast as the plain loop over millions of weights.
        trainer.optimizer.param_groups[0]["fused"] = True
    # Its own progress bar goes to stderr whatever is asked for.
    with contextlib.redirect_stderr(io.StringIO()):
        return converted(trainer.fit())


def sparse_sae() -> Any:
    """Return sae-lens' TopK SAE in training, whose passes compute the active latents alone."""
    from sae_lens import TopKTrainingSAE  # noqa: PLC0415
    from sae_lens.saes.sae import TrainStepOutput  # noqa: PLC0415

    class Sparse(TopKTrainingSAE):  # type: ignore[misc]
        def training_forward_pass(self, step_input: Any) -> Any:
            inputs = step_input.sae_in
            silent = step_input.dead_neuron_mask.nonzero().squeeze(1)
            # As in sae-lens: half the inputs' width, appendix B.1 of Gao et al. 2024.
            most = inputs.shape[1] // 2
            one = sparse_pass(self, inputs, silent, most)
            losses = {"mse_loss": (one.rebuilt - inputs).square().sum(dim=1).mean()}
            if one.again is not None:
                wanted = (inputs - one.rebuilt).detach()
                scale = self.cfg.aux_loss_coefficient * min(len(silent) / most, 1.0)
                error = (one.again - wanted).square().sum(dim=1).mean()
                losses["auxiliary_reconstruction_loss"] = scale * error
            codes = inputs.new_zeros(len(inputs), self.cfg.d_sae)
            return TrainStepOutput(
                sae_in=inputs,
                sae_out=one.rebuilt,
                feature_acts=codes.scatter_(1, one.where, one.codes),
                hidden_pre=codes,
                loss=torch.stack(list(losses.values())).sum(),
                losses=losses,
            )

    return Sparse


def converted(sae: Any) -> Sae:
    """Return one of sae-lens' SAEs as ours, by way of the format that both read."""
    # One that is being trained has a form for inference beside its own; others have one form.
    save = getattr(sae, "save_inference_model", None) or sae.save_model
    with tempfile.TemporaryDirectory() as folder:
        save(folder)
        return Sae.load(Path(folder))
