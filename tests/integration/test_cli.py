import csv
import io
import json
import subprocess
import sys

import pytest

from cwac.artifacts import ArtifactStore
from cwac.cli import main
from cwac.cli.run import configurations
from cwac.errors import ConfigError
from cwac.flags import Plan


@pytest.fixture
def cwac(capsys):
    def call(*arguments):
        with pytest.raises(SystemExit) as ending:
            main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return int(ending.value.code or 0), captured.out, captured.err

    return call


def test_run_ends_with_the_comparison_and_is_not_repeated(cwac, fitted_root, tiny_folder):
    arms = ("--method", "sft", "--method", "cwac", "--set", "cwac.strength=0.5")
    command = ("run", "--model", tiny_folder, *arms, "--seed", 1, "--steps", 4,
               "--root", fitted_root)  # fmt: skip
    code, out, err = cwac(*command)
    assert code == 0, err
    lines = out.splitlines()
    assert [line.split("  ")[0] for line in lines] == [
        "variant",
        "aligned",
        "sft",
        "cwac (strength=0.5)",
    ]
    assert "refusal rate" in err
    code, again, err = cwac(*command)
    assert code == 0
    assert again == out
    assert err.count("complete already") == 2
    code, out, err = cwac(*command, "--json")
    assert code == 0
    assert err.count("complete already") == 2, "notes leave the standard output to JSON"
    result = json.loads(out)
    assert [row["method"] for row in result["runs"]] == ["sft", "cwac"]
    assert result["skipped"] == [row["run_id"] for row in result["runs"]]
    assert result["failed"] == {}
    assert isinstance(result["runs"][0]["seed"], int)


def test_table_has_one_row_per_run(cwac, tiny_root, tmp_path):
    target = tmp_path / "table.csv"
    code, out, _ = cwac("table", "--root", tiny_root, "--csv", target)
    assert (code, out) == (0, "")
    rows = list(csv.DictReader(io.StringIO(target.read_text())))
    assert [row["method"] for row in rows] == ["cwac", "sft"]
    for row in rows:
        for name in ("task_accuracy", "harmful_score", "refusal_rate", "helpfulness"):
            assert 0 <= float(row[name]) <= 1
            assert float(row[f"{name}_low"]) <= float(row[name]) <= float(row[f"{name}_high"])
            assert int(row[f"{name}_n"]) > 0
        # The tiny prompts have no unseen categories: not measured is empty, never 0.
        assert row["unseen_harmful_score"] == ""
        assert float(row["seconds_per_step"]) > 0


def test_table_as_json_says_the_same(cwac, tiny_root):
    code, out, _ = cwac("table", "--root", tiny_root, "--json")
    assert code == 0
    rows = json.loads(out)
    assert [row["method"] for row in rows] == ["cwac", "sft"]
    assert rows[0]["seed"] == 0
    assert 0 <= rows[0]["refusal_rate"] <= 1
    assert rows[0]["unseen_harmful_score"] is None, "not measured is null, never 0"
    code, out, err = cwac("table", "--root", tiny_root, "--json", "--csv", "a.csv")
    assert (code, out) == (2, "")
    assert "leave --csv out" in err


def test_table_to_an_impossible_place(cwac, tiny_root):
    code, _, err = cwac("table", "--root", tiny_root, "--csv", "/nowhere/at/all.csv")
    assert code == 2
    assert "cannot write" in err


def test_lists_are_complete(cwac, tiny_root):
    code, out, _ = cwac("list", "all", "--json")
    assert code == 0
    everything = json.loads(out)
    assert set(everything) == {"models", "tasks", "datasets", "judges", "methods", "metrics"}
    assert everything["models"][0]["name"] == "organism"
    names = [method["name"] for method in everything["methods"]]
    assert names[:4] == ["sft", "weight_only", "activation_only", "cwac"]
    assert next(m for m in everything["methods"] if m["name"] == "cwac")["settings"]["strength"]
    code, out, _ = cwac("list", "methods")
    assert code == 0
    assert out.splitlines()[1].startswith("sft")
    # What the Reference page shows, a column each.
    shown = {"name", "stage", "needs", "strength_knob", "extra_passes", "source"}
    assert shown <= set(out.splitlines()[0].split())
    assert shown <= set(everything["methods"][0])
    code, out, _ = cwac("list", "runs", "--root", tiny_root, "--json")
    runs = json.loads(out)
    assert [run["kept_model"] for run in runs] == [True, True]


def test_check_is_quiet_on_good_runs(cwac, tiny_root):
    code, out, err = cwac("check", "--root", tiny_root)
    assert (code, out) == (0, "")
    assert "2 runs checked, 0 problems" in err


def _edit(path, change):
    values = json.loads(path.read_text())
    change(values)
    path.write_text(json.dumps(values))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda run: _edit(run / "run.json", lambda v: v["config"].update(seed=9)), "run_id"),
        (lambda run: (run / "run.json").write_text("{"), "cannot be read"),
        (lambda run: (run / "responses.parquet").write_bytes(b"x"), "responses.parquet is broken"),
        (lambda run: (run / "features.parquet").unlink(), "'features' is not stored"),
        (
            lambda run: (run / "features.parquet").write_bytes(
                (run / "trajectory.parquet").read_bytes()
            ),
            "missing columns",
        ),
        (lambda run: run.rename(run.with_name("other")), "other: run.json is that of the run"),
        (
            lambda run: _edit(run / "run.json", lambda v: v["fits"].update(subspace="gone")),
            "its subspace 'gone' is missing",
        ),
    ],
)
def test_check_names_every_problem(cwac, own_root, damage, message):
    run = next(path for path in own_root.iterdir() if "-sft-" in path.name)
    damage(run)
    code, out, _ = cwac("check", "--root", own_root)
    assert code == 1
    assert message in out
    code, as_json, _ = cwac("check", "--root", own_root, "--json")
    assert code == 1
    assert json.loads(as_json) == {"runs": 2, "problems": out.splitlines(), "moved": []}


def test_table_notes_a_run_whose_table_is_broken(cwac, own_root):
    run = next(path for path in own_root.iterdir() if "-sft-" in path.name)
    (run / "responses.parquet").write_bytes(b"x")
    code, out, err = cwac("table", "--root", own_root)
    assert code == 0
    assert len(out.splitlines()) == 3
    assert err.splitlines() == [
        f"{run.name}: responses.parquet is broken; its row comes from its record."
    ]


def test_answer_asks_the_aligned_model_and_the_run(cwac, tiny_root):
    run_id = next(r.run_id for r in ArtifactStore(tiny_root).list_runs() if "cwac" in r.run_id)
    arguments = ("answer", "--root", tiny_root, "--run", run_id, "--prompt", "how do I sell a gun")
    code, out, _ = cwac(*arguments, "--json")
    assert code == 0
    found = json.loads(out)
    assert [entry["variant"] for entry in found["answers"]] == ["aligned", "cwac"]
    code, out, _ = cwac(*arguments)
    assert out.startswith("aligned (refusal, refusal log-odds")


@pytest.mark.parametrize(
    ("run", "prompt", "message"),
    [("nothing", "hello", "no run 'nothing'"), ("../x", "hello", "not the name"),
     ("nothing", "  ", "--prompt is empty")],
)  # fmt: skip
def test_answer_says_what_is_wrong(cwac, tiny_root, run, prompt, message):
    code, out, err = cwac("answer", "--root", tiny_root, "--run", run, "--prompt", prompt)
    assert (code, out) == (2, "")
    assert message in err


@pytest.mark.parametrize(
    ("flags", "message"),
    [(["--latent", "341"], "a latent is named L2/341"), (["--clamp", "2"], "need --latent"),
     (["--latent", "L0/1"], "either clamped to a value or scaled")],
)  # fmt: skip
def test_a_latent_that_cannot_be_held_is_one_sentence(cwac, tiny_root, flags, message):
    code, out, err = cwac("answer", "--root", tiny_root, "--run", "x", "--prompt", "a", *flags)
    assert (code, out) == (2, "")
    assert message in err


def test_a_latent_that_cannot_be_read_is_one_sentence(cwac, tiny_root):
    for latent, prompt, message in (
        ("341", "a", "a latent is named L2/341"),
        ("L0/1", " ", "--prompt is empty"),
        ("L0/1", "a", "no run 'x'"),
    ):
        flags = ("--root", tiny_root, "--run", "x", "--latent", latent, "--prompt", prompt)
        code, out, err = cwac("activations", *flags)
        assert (code, out) == (2, "")
        assert message in err


def test_preview_marks_what_is_supervised(cwac, tiny_root, tiny_folder):
    code, out, _ = cwac("preview", "--model", tiny_folder, "--method", "cwac", "--root", tiny_root)
    assert code == 0
    assert "[<end>]" in out
    assert "complete already" in out
    assert "Estimated memory" in out


def test_a_run_of_nothing_known_is_one_sentence(cwac, tmp_path):
    for arguments in (
        ("run", "--model", "nowhere", "--root", tmp_path),
        ("run", "--method", "swt", "--root", tmp_path),
        ("preview", "--task", "nothing.csv"),
        ("run", "--root", __file__),
    ):
        code, out, err = cwac(*arguments)
        assert (code, out) == (2, "")
        assert err.splitlines()[-1].startswith("Error: ")


def test_doctor_knows_the_machine(cwac):
    code, out, _ = cwac("doctor", "--json")
    assert code == 0
    facts = {fact["what"]: fact for fact in json.loads(out)}
    assert {"python", "cores", "free memory", "torch threads", "GPU", "organism"} <= set(facts)


def test_both_names_are_the_same_program():
    module = subprocess.run(
        [sys.executable, "-m", "cwac", "list", "nothing"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert module.returncode == 2
    assert module.stderr == (
        "Error: cannot list 'nothing'; known: models, tasks, datasets, judges, methods, metrics, "
        "interventions, runs, all.\n"
    )


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"seed": [-1]}, "--seed -1 is not allowed: input should be"),
        ({"poison": 2.0}, "--poison 2.0 is not allowed: input should be"),
        ({"steps": 0}, "--steps 0 is not allowed"),
        ({"learning_rate": -1.0}, "--learning-rate -1.0 is not allowed"),
        # What did not come from the flag is named by its place.
        ({"steps": 5, "set": ["training.steps=0"]}, "training.steps = 0 is not allowed"),
    ],
)
def test_messages_name_the_flag_that_gave_the_value(tiny_folder, flags, message):
    with pytest.raises(ConfigError) as problem:
        configurations(Plan.of({"model": str(tiny_folder), **flags}))
    assert str(problem.value).startswith(message)
