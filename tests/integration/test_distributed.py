"""`CwacCallback` in two gloo processes, told what torchrun tells: DDP, FSDP2 with real DTensors."""

import json
import socket

import pytest
import torch
from builders import make_context, make_model
from forked import ended, kill, start
from trainers import CONFIG, make_order
from transformers import AutoModelForCausalLM
from two_processes import KINDS, SETTINGS, train_together

from cwac.anatomy import anatomy_of, weight_of
from cwac.methods.cwac import Cwac
from cwac.training import fit


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
    """What the two processes leave, a folder for each kind of sharding."""
    out = tmp_path_factory.mktemp("trained")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(probe.getsockname()[1])}
    logs = [out / "0.txt", out / "1.txt"]
    processes = [
        start(train_together, folder, out, log=log, **place, **as_torchrun(rank))
        for rank, log in enumerate(logs)
    ]
    try:
        ends = [ended(process, 300) for process in processes]
    finally:
        for process in processes:
            kill(process)
    assert ends == [0, 0], "\n".join(log.read_text()[-4000:] for log in logs)
    return out


def as_torchrun(rank):
    """What torchrun tells each of two processes on one machine."""
    ranks = dict.fromkeys(("RANK", "LOCAL_RANK"), str(rank))
    return ranks | dict.fromkeys(("WORLD_SIZE", "LOCAL_WORLD_SIZE"), "2")


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
