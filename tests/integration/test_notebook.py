"""docs/notebook.ipynb runs cell by cell, without Jupyter and without torch."""

import json
import subprocess
import sys
from pathlib import Path

from cwac.artifacts import ArtifactStore, shipped_runs

NOTEBOOK = Path(__file__).parents[2] / "docs" / "notebook.ipynb"
CODE = """
import ast, json, sys
sys.modules["torch"] = None
cells = json.loads(sys.stdin.read())
names, last = {"__name__": "notebook"}, {}
for name, source in cells:
    tree = ast.parse(source)
    # As a notebook does: what the last line is worth is shown.
    shown = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, name, "exec"), names)
    if shown is not None:
        last[name] = eval(compile(ast.Expression(shown.value), name, "eval"), names)
scores = last["rates-code"].set_index("variant")
gap = next(row.gap for row in names["rows"] if row.name == "harmful_score")
print("RESULTS" + json.dumps({
    "runs": len(names["records"]),
    "experiment": names["experiment"][0].experiment_id,
    "layers": last["table-code"].index.tolist(),
    "inside": float(last["table-code"]["inside_energy"].max()),
    "score": float(scores.loc["cwac", "value"]),
    "count": int(scores.loc["cwac", "n"]),
    "bars": [type(last["figure-code"]).__name__, len(last["figure-code"].data)],
    "gap": float(gap.value),
}))
"""


def test_every_cell_runs_and_says_what_is_stored(tmp_path):
    notebook = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    assert (notebook["nbformat"], notebook["metadata"]["kernelspec"]["name"]) == (4, "python3")
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    # What a machine printed, its paths included, is not stored.
    assert all(not cell["outputs"] and cell["execution_count"] is None for cell in cells)
    named = [(cell["id"], "".join(cell["source"])) for cell in cells]
    done = subprocess.run(
        [sys.executable, "-c", CODE], input=json.dumps(named),
        cwd=tmp_path, capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    results = json.loads(done.stdout.partition("RESULTS")[2])
    store = ArtifactStore(shipped_runs())
    mine = [r.record for r in store.list_runs() if r.record]
    assert results["runs"] == len(mine)
    of_it = [r for r in mine if r.experiment_id == results["experiment"]]
    alike = {name: [r for r in of_it if r.variant == name] for name in ("sft", "cwac")}
    # Every seed answers the same requests, so that the pooled rate is the mean of the runs' own.
    scores = {
        name: sum(r.value("harmful_score") for r in runs) / len(runs)
        for name, runs in alike.items()
    }
    # It is shown with three digits.
    assert abs(results["score"] - scores["cwac"]) < 6e-4
    assert abs(results["gap"] - (scores["cwac"] - scores["sft"])) < 1e-9
    assert results["count"] == alike["cwac"][0].metrics["harmful_score"].count
    assert results["layers"] == [0, 1, 2, 3]
    assert results["inside"] < 1e-6
    assert results["bars"][0] == "Figure"
    assert results["bars"][1] > 3
