"""``cwac check`` opens everything: whatever file of a store is damaged, it is named."""

import math
import shutil

import pytest
import torch
from safetensors.torch import save_file
from store_builder import build_store, seal_store

from cwac.artifacts import ArtifactStore
from cwac.artifacts.checking import open_weights
from cwac.artifacts.views import save_view
from cwac.cli import main
from cwac.errors import ArtifactError

SMALL = {"harmful": 24, "harmless": 12, "lookalike": 12, "task": 12}


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    root = tmp_path_factory.mktemp("sound")
    store = build_store(
        root,
        arms=(("sft", {}), ("cwac", {})),
        seeds=(0,),
        experiments=(("instruct", 0.1),),
        kinds=SMALL,
    )
    run_id = seal_store(store).list_runs()[0].run_id
    job = root / ".jobs" / "20260101-000000-aaaa"
    job.mkdir(parents=True)
    (job / "status.json").write_text('{"state": "done"}')
    (job / "request.json").write_text('{"title": "a job"}')
    save_view(root, "mine", {"page": ["runs"]})
    return root, run_id


def check(root, capsys, *more):
    with pytest.raises(SystemExit) as ending:
        main(["check", "--root", str(root), *more])
    return int(ending.value.code or 0), capsys.readouterr().out


RECORDS = {"run.json", "status.json", "request.json"}
KEEPERS = RECORDS | {"checksums.json"}
"""What is beside them is not looked at where they cannot be read."""
DAMAGES = {
    "cut": lambda content: content[: len(content) // 2],
    "changed": lambda content: (
        content[: len(content) // 2]
        + bytes([content[len(content) // 2] ^ 0x55])
        + content[len(content) // 2 + 1 :]
    ),
    "emptied": lambda _content: b"",
}


@pytest.mark.parametrize("how", DAMAGES)
def test_every_damage_of_every_file_is_named(sound, tmp_path, capsys, how):
    original, _ = sound
    assert check(original, capsys) == (0, "")
    files = [p.relative_to(original) for p in sorted(original.rglob("*")) if p.is_file()]
    kinds = {(name.parts[0] if len(name.parts) > 2 else "run", name.name): name for name in files}
    assert len(kinds) > 20
    # A record or status that is still JSON of the right kind may say anything.
    free = RECORDS if how == "changed" else set()
    keepers = [name for name in kinds.values() if name.name in KEEPERS - free]
    others = [
        name
        for name in kinds.values()
        if name.name not in KEEPERS and not (how == "changed" and name.parts[-2] == ".notes")
    ]
    for number, damaged in enumerate((keepers, others)):
        root = tmp_path / str(number)
        shutil.copytree(original, root)
        for name in damaged:
            (root / name).write_bytes(DAMAGES[how]((original / name).read_bytes()))
        status, text = check(root, capsys)
        assert status == 1
        # Of one that is read all the same the neighbours are said not to fit it.
        unseen = [
            name
            for name in damaged
            if not any(
                name.parts[-2] in line and (name.name in line or damaged is keepers)
                for line in text.splitlines()
            )
        ]
        assert unseen == [], text


def test_repair_moves_what_is_broken_and_nothing_else(sound, tmp_path, capsys):
    original, run_id = sound
    root = tmp_path / "root"
    shutil.copytree(original, root)
    (root / run_id / "run.json").write_text("[" * 100_000)
    table = next((root / "experiments").glob("*/*.parquet"))
    table.write_bytes(b"x")
    runs = len(ArtifactStore(root).list_runs())
    status, text = check(root, capsys, "--repair")
    assert status == 1
    assert text.count(" was moved to ") == 2
    assert check(root, capsys) == (0, "")
    assert len(ArtifactStore(root).list_runs()) == runs - 1
    moved = sorted(path.name.split("-", 2)[2] for path in (root / ".broken").iterdir())
    assert moved == sorted([run_id, f"experiments-{table.parent.name}-{table.name}"])


@pytest.mark.parametrize("kind", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (math.nan, "'b' holds values that are no finite numbers"),
        (math.inf, "'b' holds values that are no finite numbers"),
        (0.0, "all its values are zero"),
        (1.0, None),
    ],
)
def test_weights_that_are_no_numbers_or_all_zero_are_named(tmp_path, kind, value, reason):
    weights = {"a": torch.zeros(3, 3, dtype=kind), "b": torch.zeros(5, dtype=kind)}
    weights["b"][2] = value
    path = tmp_path / "model.safetensors"
    save_file(weights, path)
    if reason is None:
        open_weights(path, "model/model.safetensors", model=True)
        return
    with pytest.raises(ArtifactError, match=reason):
        open_weights(path, "model/model.safetensors", model=True)


def test_check_names_the_run_of_broken_weights(sound, tmp_path, capsys):
    original, run_id = sound
    root = tmp_path / "root"
    shutil.copytree(original, root)
    (root / run_id / "model").mkdir()
    save_file({"w": torch.full((2,), math.nan)}, root / run_id / "model" / "model.safetensors")
    status, text = check(root, capsys)
    assert status == 1
    assert f"{run_id}: model/model.safetensors cannot be read: 'w' holds values" in text


def test_a_changed_table_is_refused_when_read(sound, tmp_path):
    original, run_id = sound
    root = tmp_path / "root"
    shutil.copytree(original, root)
    other = next(r.run_id for r in ArtifactStore(root).list_runs() if r.run_id != run_id)
    # A whole table, but another run's.
    shutil.copyfile(root / other / "weight_drift.parquet", root / run_id / "weight_drift.parquet")
    with pytest.raises(ArtifactError, match="its checksum is not"):
        ArtifactStore(root).table(run_id, "weight_drift")


@pytest.mark.parametrize("name", ["bad\udcff", "back\\slash", "x" * 255])
def test_a_name_that_no_run_has_is_named_and_moved_aside(sound, tmp_path, name, capsys):
    root = tmp_path / "root"
    shutil.copytree(sound[0], root)
    (root / name).mkdir()
    status, text = check(root, capsys)
    assert status == 1
    assert text.count("is not the name of a stored run") == 1
    check(root, capsys, "--repair")
    assert not (root / name).exists()
    assert check(root, capsys) == (0, "")
