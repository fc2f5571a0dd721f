"""`MonitorCallback`: somebody else's training watched, and left as it is."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Self

from torch import nn

from cwac.artifacts import ArtifactStore, writing_store
from cwac.config import ExperimentConfig
from cwac.errors import TrainingError
from cwac.metrics.trajectory import Trajectory, probe_steps
from cwac.models.checking import check_shapes
from cwac.records import RunRecord
from cwac.runner.claims import Claims
from cwac.runner.grid import update_pairs
from cwac.runner.measure import checked_name, measured_arm, measured_config, store_measured
from cwac.runner.progress import RunProgress
from cwac.runner.session import Session, open_session
from cwac.runner.tuned import Tuned
from cwac.seeding import undisturbed
from cwac.trainer.aligned import AlignedCallback
from cwac.trainer.weights import inner_model, module_of, whole_model

Row = Mapping[str, Any]
_LOGGED: Final = ("loss", "grad_norm", "learning_rate")


@dataclass(frozen=True)
class _Step:
    """What the trainer last logged, as the probe reads it."""

    step: int
    task_loss: float | None = None
    gradient_norm: float | None = None
    learning_rate: float | None = None
    diagnostics: Mapping[str, float] = field(default_factory=dict)


class MonitorCallback(AlignedCallback):
    """Watch a training in a trainer of your own: refusals, drift, safety features; no constraint.

    Before the first step, at `probes` steps on the way and after the last one the model in
    training answers the validation requests and is compared with the aligned model. Each probe is
    a row of the table ``trajectory``, joins ``trainer.state.log_history`` (its names after
    ``cwac/``), and is given to `on_row`. After the last step the model is measured as
    ``cwac measure`` does it and stored as an ordinary run, with this table.

    The weights that the training ends at are the same, bit for bit, as without the callback: it
    decodes greedily, in evaluation mode, and puts random streams back.

    Works with full fine-tuning and with LoRA (peft), in one process and under DDP, where the first
    process watches. Sharded models are refused.

    Parameters
    ----------
    session : Session
        The aligned model with all that it is measured with; `fit` opens one.
    store : ArtifactStore
        Where the run is stored.
    name : str, optional
        The arm's name; the name of the trainer's output folder without one.
    probes : int
        Intervals between probes: at most ``probes + 1`` of them.
    measure : bool
        Whether the finished model is measured and stored. Without it nothing is written.
    on_row : callable, optional
        Given the figures of each probe, ``{"cwac/refusal_rate": 0.9, ...}``, as ``wandb.log`` takes
        them.

    Attributes
    ----------
    model, tokenizer
        The aligned model, to be trained, and its tokenizer.
    rows : list of dict
        The probes so far, with the columns of the table ``trajectory``.
    record : RunRecord or None
        The stored run, once the training is over.
    """

    def __init__(
        self,
        session: Session,
        store: ArtifactStore,
        *,
        name: str | None = None,
        probes: int = 10,
        measure: bool = True,
        on_row: Callable[[dict[str, Any]], None] = lambda _row: None,
    ) -> None:
        super().__init__(session.model, session.loaded.chat)
        self._session, self._store = session, store
        self._name = name
        self._probes, self._measure, self._on_row = probes, measure, on_row
        self._trajectory = Trajectory(
            session.measure_context(session.config), session.refusal_tokens
        )
        self._logged: dict[str, float] = {}
        self._watches = False
        self.record: RunRecord | None = None

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The probes so far."""
        return self._trajectory.rows

    @classmethod
    def fit(
        cls,
        aligned: str | Path,
        harmful: str | None = None,
        harmless: str | None = None,
        *,
        root: str | Path = "runs",
        name: str | None = None,
        probes: int = 10,
        measure: bool = True,
        on_row: Callable[[dict[str, Any]], None] = lambda _row: None,
        **sections: Mapping[str, Any],
    ) -> Self:
        """Load an aligned model with its subspace, features and own answers, and make the callback.

        They are stored under ``root/fits`` and read from there the next time, by ``cwac measure``
        too.

        Parameters
        ----------
        aligned : str or Path
            Preset, model folder or hub id.
        harmful, harmless : str, optional
            Requests, ``FILE[:column]``; without any, those that the model ships.
        root, name, probes, measure, on_row
            As the class has them; `root` is the folder of runs.
        **sections
            Of a run's configuration: ``evaluation={"max_new_tokens": 32}``, ``measurement``,
            ``task``, ``prompts``.

        Raises
        ------
        CwacError
            The model, the requests or a setting cannot be used.
        """
        name = None if name is None else checked_name(name)
        given = {"harmful": harmful, "harmless": harmless}
        prompts = {**sections.get("prompts", {}), **{k: v for k, v in given.items() if v}}
        raw = {**sections, "model": str(aligned), **({"prompts": prompts} if prompts else {})}
        config = measured_config(raw, {"name": "monitored", "source": "", "contents": ""})
        store = writing_store(Path(root))
        # A training that was prepared before draws on as if nothing had been.
        with undisturbed(), Claims(store.write_root).opening(lambda: None):
            session = open_session(config, store)
        return cls(session, store, name=name, probes=probes, measure=measure, on_row=on_row)

    # What the trainer calls, in this order

    def on_train_begin(self, args: Any, state: Any, control: Any, **given: Any) -> Any:
        """Take the first probe, of the model as it is.

        Raises
        ------
        ModelError
            It is no model of the aligned one's shape.
        TrainingError
            It is sharded, or on another device than the aligned model.
        """
        if getattr(args, "deepspeed", None) or getattr(args, "fsdp", None):
            raise TrainingError(
                "the monitor needs whole weights in one process; under FSDP or DeepSpeed, measure "
                "the saved checkpoints with cwac measure."
            )
        self._watches = bool(state.is_world_process_zero)
        if self._watches:
            model = inner_model(given["model"])
            self._check(model)
            self._trajectory.context.model = model
            self._trajectory.due = probe_steps(state.max_steps, self._probes)
            self._see(state)
        return control

    def on_log(self, args: Any, state: Any, control: Any, **given: Any) -> Any:
        """Remember loss, gradient norm and learning rate, for the next probe."""
        logs = given.get("logs") or {}
        self._logged |= {name: float(logs[name]) for name in _LOGGED if name in logs}
        return control

    def on_step_end(self, args: Any, state: Any, control: Any, **given: Any) -> Any:
        """Take a probe where one is due."""
        if self._watches and state.global_step in self._trajectory.due:
            self._see(state)
        return control

    def on_train_end(self, args: Any, state: Any, control: Any, **given: Any) -> Any:
        """Take the last probe, where training ended early; measure and store the run."""
        if not self._watches:
            return control
        if self.rows[-1]["step"] != state.global_step:
            self._trajectory.due |= {state.global_step}
            self._see(state)
        if self._measure:
            self._keep(whole_model(given["model"]), Path(args.output_dir))
        return control

    def _check(self, model: nn.Module) -> None:
        loaded = self._session.loaded
        for entry in loaded.anatomy.maps:
            module_of(model, entry)
        if not any(hasattr(module, "lora_A") for module in model.modules()):
            check_shapes(model, loaded.model, Path("the model in training"))
        device = next(model.parameters()).device
        if device.type != loaded.device.type:
            raise TrainingError(
                f"the model in training is on {device}, the aligned model was measured on "
                f"{loaded.device}; the trainer's device must be the same."
            )

    def _see(self, state: Any) -> None:
        before = len(self.rows)
        with undisturbed():
            self._trajectory.see(
                _Step(
                    state.global_step,
                    self._logged.pop("loss", None),
                    self._logged.get("grad_norm"),
                    self._logged.get("learning_rate"),
                )
            )
        for row in self.rows[before:]:
            measured = {f"cwac/{k}": v for k, v in row.items() if v is not None and k != "step"}
            state.log_history.append({**measured, "step": state.global_step})
            self._on_row(measured)

    def _keep(self, model: nn.Module, output: Path) -> None:
        session = self._session
        settings = {
            "name": self._name or checked_name(output.name),
            "source": str(output.resolve()),
            "contents": _digest(model),
        }
        config: ExperimentConfig = session.config.model_copy(update={"settings": settings})
        progress = RunProgress(config.run_id, measured_arm(config), config.seed)
        mode = model.training
        model.eval()
        with undisturbed():
            self.record = store_measured(
                config,
                self._store,
                session,
                Tuned(model, ("measured in memory when its training ended (MonitorCallback)",)),
                progress,
                tables=self._trajectory.tables(),
            )
        model.train(mode)
        update_pairs(self._store, config.experiment_id)


def _digest(model: nn.Module) -> str:
    """Return a hash over a model's weights, 16 hex digits: another training is another run."""
    digest = hashlib.sha256()
    for name, parameter in sorted(model.named_parameters()):
        digest.update(name.encode())
        digest.update(parameter.detach().float().cpu().numpy().tobytes())
    return digest.hexdigest()[:16]
