"""What one of several processes does that fine-tune together under CwacCallback.

It trains under each kind of sharding, saves the trained model to ``OUT/<kind>/model`` and what it
saw to ``OUT/<kind>/<rank>.json``. One start of the processes serves all kinds: it takes longer than
the training.
"""

import json
from pathlib import Path

import torch
import torch.distributed as dist
from accelerate.state import AcceleratorState
from builders import make_chat, make_context
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import DTensor, Replicate, Shard, distribute_tensor
from trainers import CONFIG, make_trainer
from transformers import AutoModelForCausalLM, DistributedConfig, TrainerCallback

from cwac import passes
from cwac.methods.cwac import CwacSettings
from cwac.subspace import remove_protected_
from cwac.trainer import CwacCallback

KINDS = ("ddp", "fsdp2")
# Layer 0 alone: one process would end the safety loss's forward pass there.
SETTINGS = CwacSettings(strength=0.5, harmful_batch=4, latent_layers=(0,))


class Witness(TrainerCallback):
    """Notes what the constraint worked on."""

    def __init__(self, seen):
        self.seen = seen

    def on_train_begin(self, args, state, control, model=None, **_):
        weight = model.get_parameter("model.layers.0.mlp.down_proj.weight")
        self.seen["dtensor"] = isinstance(weight, DTensor)
        self.seen["local_rows"] = len(weight.to_local() if self.seen["dtensor"] else weight)
        self.seen["world_size"] = dist.get_world_size()
        self.seen["backend"] = dist.get_backend()


def sharded_error() -> float:
    """Return how far projections of sharded matrices are from those of whole ones, at most."""
    mesh = init_device_mesh("cpu", (dist.get_world_size(),))
    draws = torch.Generator().manual_seed(0)
    target, delta = (torch.randn(12, 8, generator=draws) for _ in range(2))
    basis = torch.linalg.qr(torch.randn(8, 3, generator=draws)).Q
    whole = target.clone()
    remove_protected_(whole, delta, basis)
    errors = []
    # A weight that is stored the other way round is split along its inputs.
    for stored, view in ((Shard(0), lambda t: t), (Shard(0), lambda t: t.T)):
        parts = [distribute_tensor(view(t).contiguous(), mesh, [stored]) for t in (target, delta)]
        spread = distribute_tensor(basis, mesh, [Replicate()])
        remove_protected_(view(parts[0]), view(parts[1]), spread)
        errors.append(float((view(parts[0].full_tensor()) - whole).abs().max()))
    return max(errors)


def load(kind: str, folder: Path):
    given = {"distributed_config": DistributedConfig(fsdp_size=2)} if kind == "fsdp2" else {}
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, **given)


def train(kind: str, folder: Path, out: Path) -> None:
    # What accelerate remembers of the kind before.
    AcceleratorState._reset_state()
    aligned = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    guard = CwacCallback(make_context(model=aligned, training=CONFIG), SETTINGS)
    model, seen = load(kind, folder), {}
    trainer = make_trainer(
        model, make_chat(), out, processes=2, accumulation=2, callbacks=[guard, Witness(seen)]
    )
    trainer.train()
    seen["sharded_error"] = sharded_error()
    seen["wrapper"] = type(trainer.model_wrapped).__name__
    seen["safety_loss"] = guard.diagnostics()["safety_loss"]
    trainer.save_model(str(out / "model"))
    (out / f"{dist.get_rank()}.json").write_text(json.dumps(seen))
    dist.barrier()


def train_together(folder: Path, out: Path) -> None:
    # A wide model, which one process is not: it reads what requests begin with once, where it can.
    passes.SMALL = 4
    # What accelerate remembers of tests before this process was forked.
    AcceleratorState._reset_state(reset_partial_state=True)
    dist.init_process_group("gloo")
    for kind in KINDS:
        train(kind, folder, out / kind)
    dist.destroy_process_group()
