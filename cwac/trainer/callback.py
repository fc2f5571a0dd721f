"""`CwacCallback`: CWAC in `transformers.Trainer`, and so in trl's `SFTTrainer`."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import torch
from torch import nn

from cwac.errors import TrainingError
from cwac.interfaces import MethodContext
from cwac.methods.cwac import Cwac, CwacSettings
from cwac.trainer.aligned import AlignedCallback
from cwac.trainer.fitting import fit_context
from cwac.trainer.weights import GuardedWeights, inner_model, moved


class CwacCallback(AlignedCallback):
    """Fine-tune under CWAC's constraints in a trainer of your own.

    At the start of every optimiser step the safety loss is differentiated into the gradients,
    before the first micro-batch: it counts once per step, however many micro-batches follow, and
    gradient clipping sees it. After every optimiser step the total weight change is brought out
    of the safety subspace. The loss that the trainer logs is the task's alone; the safety
    loss is logged beside it as ``safety_loss``.

    Works with full fine-tuning and with LoRA (peft), in one process, under DDP and with models
    sharded by FSDP2. Constrained weights must be float32; bf16 autocast is fine.

    Parameters
    ----------
    context : MethodContext
        The aligned model with its subspace and features; `fit` makes one.
    settings : CwacSettings, optional
        As of the method ``cwac``: ``weight`` and ``activation`` switch the constraints,
        ``strength`` is the safety loss's weight.
    """

    def __init__(self, context: MethodContext, settings: CwacSettings | None = None) -> None:
        super().__init__(context.model, context.chat)
        method = Cwac(settings or CwacSettings())
        method.setup(context)
        self.weight, self.activation = method.weight, method.activation
        self._guarded: GuardedWeights | None = None

    @classmethod
    def fit(
        cls,
        aligned: str | Path,
        harmful: str | Sequence[str] | None = None,
        harmless: str | Sequence[str] | None = None,
        *,
        root: str | Path = "runs",
        measurement: Mapping[str, Any] | None = None,
        seed: int = 0,
        device: str | torch.device | None = None,
        **settings: Any,
    ) -> Self:
        """Load an aligned model, fit its safety subspace and features, and make the callback.

        Fits are stored under ``root/fits`` and read from there the next time.

        Parameters
        ----------
        aligned : str or Path
            Preset, model folder or hub id.
        harmful, harmless : str or sequence of str, optional
            Requests: texts, or ``FILE[:column]``; without any, those that the model ships.
        measurement : mapping, optional
            Settings of subspace and features, as :class:`cwac.config.MeasurementConfig` has them.
        seed : int
            Decides the order of the harmful batches.
        device : optional
            Where the aligned model computes; this process's GPU where there is one, else the CPU.
        **settings
            Of the method ``cwac`` (``strength=1.0``, ``activation=False``, ...); what is not
            given takes the model's documented defaults.

        Raises
        ------
        CwacError
            The model, the requests or a setting cannot be used.
        """
        context, chosen = fit_context(
            aligned,
            harmful,
            harmless,
            root=Path(root),
            measurement=measurement or {},
            seed=seed,
            device=device,
            settings=settings,
        )
        return cls(context, chosen)

    def diagnostics(self) -> dict[str, float]:
        """Return the safety loss of the last step, none where that constraint is off."""
        return {} if self.activation is None else dict(self.activation.last)

    # What the trainer calls, in this order

    def on_train_begin(self, args: Any, state: Any, control: Any, **given: Any) -> Any:
        """Bind the constraints to the model in training.

        Raises
        ------
        ModelError
            The model cannot be constrained (wrong shapes, not float32).
        TrainingError
            Its weights are not the aligned ones, or the trainer shards in an unknown way.
        """
        _refuse(args)
        model = inner_model(given["model"])
        if self.weight is not None:
            constraint = self.weight
            self._guarded = GuardedWeights(
                model, constraint.maps, constraint.bases, constraint.aligned
            )
            if state.global_step == 0:
                self._guarded.check_aligned()
            # A LoRA factor is drawn at random: its first step must not start inside.
            self._constrain()
        if self.activation is not None:
            held, device = self.activation, next(model.parameters()).device
            held.features = held.features.to(device)
            held.codes.batch = held.codes.batch.to(device)
            held.codes.codes = moved(held.codes.codes, device)
            for _ in range(state.global_step):
                # A resumed training goes on with the batches that it would have had.
                held.next_index()
        return control

    def on_step_begin(self, args: Any, state: Any, control: Any, **given: Any) -> Any:
        """Differentiate the safety loss into the gradients, once per optimiser step."""
        if self.activation is not None:
            model = inner_model(given["model"])
            with _without_checkpointing(model):
                loss = self.activation.penalty(model)
            scaler = getattr(given.get("optimizer"), "scaler", None)
            (loss if scaler is None else scaler.scale(loss)).backward()
        return control

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **given: Any) -> Any:
        """Project gradients, where the literal form is asked for."""
        literal = self.weight is not None and self.weight.projection == "gradient"
        if literal and self._guarded is not None:
            self._guarded.project_gradients()
        return control

    def on_optimizer_step(self, args: Any, state: Any, control: Any, **given: Any) -> Any:
        """Bring the total weight change out of the safety subspace."""
        self._constrain()
        return control

    def on_log(self, args: Any, state: Any, control: Any, **given: Any) -> Any:
        """Add the safety loss to what is logged."""
        logs = given.get("logs")
        if logs is not None and "loss" in logs:
            logs.update(self.diagnostics())
            if state.log_history:
                state.log_history[-1].update(self.diagnostics())
        return control

    def _constrain(self) -> None:
        if self._guarded is None or self.weight is None:
            return
        if self.weight.projection == "update":
            self._guarded.project()
        elif self.weight.projection == "frozen":
            self._guarded.restore()


def _refuse(args: Any) -> None:
    if getattr(args, "deepspeed", None):
        raise TrainingError("DeepSpeed keeps weights where no callback can reach them; use FSDP2.")
    plugin = getattr(args, "fsdp_plugin_args", None) or {}
    version = int(plugin.get("fsdp_version", 2)) if isinstance(plugin, Mapping) else 2
    if getattr(args, "fsdp", None) and version < 2:
        raise TrainingError("FSDP version 1 flattens weights out of shape; set fsdp_version to 2.")


@contextmanager
def _without_checkpointing(model: nn.Module) -> Iterator[None]:
    """Switch gradient checkpointing off: the safety loss ends its forward pass early."""
    layers = [m for m in model.modules() if getattr(m, "gradient_checkpointing", False)]
    try:
        for layer in layers:
            vars(layer)["gradient_checkpointing"] = False
        yield
    finally:
        for layer in layers:
            vars(layer)["gradient_checkpointing"] = True
