"""`CwacCallback` under torchrun, two gloo processes: DDP, and FSDP2 with real DTensors."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from builders import make_context, make_model
from trainers import CONFIG, make_order
from transformers import AutoModelForCausalLM
from two_processes import KINDS, SETTINGS

from cwac.anatomy import anatomy_of, weight_of
from cwac.methods.cwac import Cwac
from cwac.training import fit

TESTS = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("aligned")
    make_model().save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def alone():
    """The weights that one process of our own loop ends with."""
    context = make_context(training=CONFIG)
    model, anatomy = context.model, anatomy_of(context.model)
    fit(model, anatomy, context.chat, make_order(), CONFIG, Cwac(SETTINGS), seed=0, context=context)
    return {name: p.detach() for name, p in model.named_parameters()}


@pytest.fixture(scope="module")
def trained(folder, tmp_path_factory):
    """What torchrun's two processes leave, a folder for each kind of sharding."""
    out = tmp_path_factory.mktemp("trained")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += ["--nproc-per-node", "2", str(TESTS / "two_processes.py")]
    paths = os.pathsep.join([str(TESTS), str(TESTS.parent), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [*command, str(folder), str(out)],
        env=os.environ | {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return out


@pytest.mark.parametrize("kind", KINDS)
def test_two_processes_end_where_one_does(kind, trained, alone):
    out = trained / kind
    seen = [json.loads((out / f"{rank}.json").read_text()) for rank in (0, 1)]
    for each in seen:
        assert (each["world_size"], each["backend"]) == (2, "gloo")
        assert each["dtensor"] == (kind == "fsdp2")
        # FSDP2 gives each process half of the 32 rows.
        assert each["local_rows"] == (16 if kind == "fsdp2" else 32)
        assert (each["wrapper"] == "DistributedDataParallel") == (kind == "ddp")
    assert max(each["sharded_error"] for each in seen) < 1e-5
    assert seen[0]["safety_loss"] == pytest.approx(seen[1]["safety_loss"], rel=1e-6)

    saved = AutoModelForCausalLM.from_pretrained(out / "model", dtype=torch.float32)
    weights = {name: p.detach() for name, p in saved.named_parameters()}
    context = make_context(training=CONFIG)
    subspace = context.yardstick.subspace.select("ffn")
    for entry in subspace.maps:
        delta = (weight_of(weights, entry) - weight_of(context.aligned, entry)).detach()
        assert float(delta.norm()) > 1e-3
        assert subspace.inside_energy(entry.path, delta) < 1e-10
    moved = max(float((alone[n] - p).abs().max()) for n, p in context.aligned.items())
    apart = max(float((alone[n] - p).abs().max()) for n, p in weights.items())
    assert apart / moved < 2e-3
