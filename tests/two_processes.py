"""Run by torchrun: a fine-tune under CwacCallback as one of several processes.

``two_processes.py {ddp,fsdp2} MODEL_FOLDER OUT`` saves the trained model to ``OUT/model`` and what
this process saw to ``OUT/<rank>.json``.
"""

import json
import sys
from pathlib import Path

import torch
import torch.distributed as dist
from builders import make_chat, make_context
from torch.distributed.tensor import DTensor
from trainers import CONFIG, make_trainer
from transformers import AutoModelForCausalLM, DistributedConfig, TrainerCallback

from cwac.methods.cwac import CwacSettings
from cwac.trainer import CwacCallback

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


def load(kind: str, folder: Path):
    given = {"distributed_config": DistributedConfig(fsdp_size=2)} if kind == "fsdp2" else {}
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, **given)


def main(kind: str, folder: Path, out: Path) -> None:
    dist.init_process_group("gloo")
    aligned = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    guard = CwacCallback(make_context(model=aligned, training=CONFIG), SETTINGS)
    model, seen = load(kind, folder), {}
    trainer = make_trainer(
        model, make_chat(), out, processes=2, accumulation=2, callbacks=[guard, Witness(seen)]
    )
    trainer.train()
    seen["wrapper"] = type(trainer.model_wrapped).__name__
    seen["safety_loss"] = guard.diagnostics()["safety_loss"]
    trainer.save_model(str(out / "model"))
    (out / f"{dist.get_rank()}.json").write_text(json.dumps(seen))
    dist.barrier()
    dist.destroy_process_group()


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
