"""`cwac repair`: an after-training defence on a finished checkpoint, against its formula."""

import hashlib
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from cwac.artifacts import ArtifactStore
from cwac.cli import _status
from cwac.models.loading import load_model

SMALL = ("evaluation.prompt_limit=10", "task.test_limit=4", "evaluation.max_new_tokens=3")
SETTINGS = [part for each in SMALL for part in ("--set", each)]


def tuned_folder(root: Path) -> Path:
    """The stored weights of plain fine-tuning."""
    store = ArtifactStore(root)
    sft = next(r.record for r in store.list_runs() if r.record.config.method == "sft")
    return store.model_folder(sft.run_id)


def digests(folder: Path) -> dict[str, str]:
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return {
        name: tensor.double()
        for path in sorted(folder.glob("*.safetensors"))
        for name, tensor in load_file(path).items()
    }


def call(tiny_folder: Path, root: Path, out: Path, *more: str) -> int:
    models = ["--aligned", str(tiny_folder), "--tuned", str(tuned_folder(root))]
    return _status(["repair", *models, "--out", str(out), "--root", str(root), *more])


def call_for_run(root: Path, out: Path, *more: str) -> int:
    run = ["--run", tuned_folder(root).parent.name]
    return _status(["repair", *run, "--out", str(out), "--root", str(root), *more])


def test_the_repaired_model_is_the_tuned_one_with_the_safety_vector_added(
    tiny_folder, own_root, tmp_path, capsys
):
    tuned, out = tuned_folder(own_root), tmp_path / "repaired"
    before = digests(tuned)
    method = ["--method", "resta", "--set", "resta.strength=0.3", "--json"]
    assert call_for_run(own_root, out, *method, *SETTINGS) == 0
    told = json.loads(capsys.readouterr().out)
    # Bhardwaj et al. 2024: the tuned weights plus gamma times aligned minus unaligned.
    aligned, base = weights(tiny_folder), weights(tiny_folder / "base")
    made, given = weights(out), weights(tuned)
    assert made.keys() == given.keys() == aligned.keys()
    for name, tensor in made.items():
        expected = given[name] + 0.3 * (aligned[name] - base[name])
        assert torch.allclose(tensor, expected, atol=1e-6), name
    assert any(not torch.allclose(made[name], given[name], atol=1e-3) for name in made)
    assert digests(tuned) == before, "the tuned model is left as it is"
    loaded = dict(load_model(out, device="cpu").model.named_parameters())
    assert all(torch.equal(loaded[n].double(), made[n]) for n in loaded.keys() & made.keys())
    assert told["folder"] == str(out)
    names = [row["variant"] for row in told["runs"]]
    assert len(names) == 2
    assert names[1].startswith("measured: RESTA (strength=0.3) on ")


@pytest.mark.parametrize(
    ("method", "exists", "reason"),
    [
        ("cwac", False, "acts while a model is trained"),
        ("resta", True, "exists already"),
    ],
)
def test_what_cannot_be_repaired_is_refused_and_nothing_is_written(
    method, exists, reason, tiny_folder, tiny_root, tmp_path, capsys
):
    out = tmp_path / "out"
    if exists:
        out.mkdir()
    runs = {path.name for path in tiny_root.iterdir()}
    assert call(tiny_folder, tiny_root, out, "--method", method) == 2
    assert reason in capsys.readouterr().err
    assert not exists or not any(out.iterdir())
    assert exists or not out.exists()
    assert {path.name for path in tiny_root.iterdir()} == runs
