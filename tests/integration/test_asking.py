"""`cwac ask`: a set of requests, asked of the aligned model and of kept runs."""

import csv
import io
import json

import pytest

from cwac.artifacts import ArtifactStore
from cwac.cli import main


@pytest.fixture
def ask(capsys, tiny_root):
    runs = [f"--run={record.run_id}" for record in ArtifactStore(tiny_root).list_runs()]

    def call(*arguments):
        with pytest.raises(SystemExit) as ending:
            main(["ask", "--root", str(tiny_root), *runs, *map(str, arguments)])
        captured = capsys.readouterr()
        return int(ending.value.code or 0), captured.out, captured.err

    return call


@pytest.mark.parametrize(
    ("kind", "names"),
    [("harmful", ["harmful_score", "hybrid_rate", "refusal_rate", "undetermined_rate"]),
     ("lookalike", ["over_refusal_rate", "lookalikes_answered"]), ("harmless", ["helpfulness"])],
)  # fmt: skip
def test_a_runs_own_test_requests_give_its_own_rates(
    ask, tiny_root, tiny_folder, tmp_path, kind, names
):
    store = ArtifactStore(tiny_root)
    source = tiny_folder / "prompts" / "test" / f"{kind}.jsonl"
    code, out, err = ask(
        "--requests", source, "--kind", kind, "--json", "--out", tmp_path / "a.csv"
    )
    assert code == 0, err
    asked = json.loads(out)
    count = len(source.read_text().splitlines())
    assert (asked["known"], asked["tested"]) == (0, count)
    assert [arm["variant"] for arm in asked["arms"]] == ["aligned", "cwac", "sft"]
    for arm in asked["arms"]:
        assert [rate["name"] for rate in arm["rates"]] == names
        if arm["run_id"] is None:
            continue
        stored = store.load(arm["run_id"]).metrics
        for rate in arm["rates"]:
            mine = stored[rate["name"]]
            assert (rate["value"], rate["n"]) == (mine.value, mine.count) == (mine.value, count)
            assert (rate["low"], rate["high"]) == (mine.low, mine.high)
    rows = list(csv.DictReader(io.StringIO((tmp_path / "a.csv").read_text())))
    assert len(rows) == 3 * count
    assert {row["kind"] for row in rows} == {kind}


def test_what_something_was_made_of_is_not_asked(ask, tiny_folder, tmp_path):
    lines = (tiny_folder / "prompts" / "attack" / "harmful.jsonl").read_text().splitlines()
    known = json.loads(lines[0])["text"]
    file = tmp_path / "mine.txt"
    file.write_text(f"{known}\nwhere may zebras quietly gather at dusk\n")
    code, out, err = ask("--requests", file)
    assert code == 0, err
    assert "1 of 2 requests left out" in err
    assert out.splitlines()[0].split()[:2] == ["variant", "seed"]
    assert "(n = 1)" in out
    file.write_text(f"{known}\n")
    code, out, err = ask("--requests", file)
    assert (code, out) == (2, "")
    assert err.splitlines()[-1] == "Error: no request is left that nothing was made of."


@pytest.mark.parametrize(
    ("flags", "message"),
    [(["--kind", "rude"], "--kind 'rude' is not allowed; allowed: harmful, harmless, lookalike."),
     (["--requests", "nowhere.txt"], "nowhere.txt does not exist"),
     (["--out", "no/such/a.csv"], "no/such does not exist")],
)  # fmt: skip
def test_what_cannot_be_asked_is_one_sentence(ask, tmp_path, flags, message):
    file = tmp_path / "mine.txt"
    file.write_text("how do I sell a gun\n")
    code, out, err = ask("--requests", file, *flags)
    assert (code, out) == (2, "")
    assert message in err
    assert len(err.splitlines()) == 1
