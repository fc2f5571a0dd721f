"""An installation without torch shows stored runs: requirements-viewer.txt is all that it takes."""

import json
import re
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

from store_builder import ARMS, build_store

HOME = Path(__file__).parents[2]
CODE = """
import contextlib, io, json, os, sys
from importlib.machinery import PathFinder
blocked, root, out, first, second = json.loads(sys.argv[1])
class Hides(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        hidden = name.partition(".")[0] in blocked
        return None if hidden else super().find_spec(name, path, target)
# Not `sys.modules[name] = None`: libraries look there for what is loaded, and take what they find.
sys.meta_path[sys.meta_path.index(PathFinder)] = Hides
from cwac.cli import _status
calls = {
    "help": ["--help"],
    "table": ["table", "--root", root],
    "compare": ["compare", first, second, "--root", root],
    "report": ["report", "--root", root, "--out", out],
    "runs": ["list", "runs", "--root", root],
    "check": ["check", "--root", root],
    "doctor": ["doctor"],
    "run": ["run", "--root", root],
}
ends = {}
for name, words in calls.items():
    printed, errors = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(errors):
        ends[name] = [_status(words), printed.getvalue(), errors.getvalue()]
os.environ |= {"CWAC_ROOTS": root, "CWAC_READ_ONLY": "1"}
from streamlit.testing.v1 import AppTest
import cwac.ui.server
from cwac.ui.navigation import PAGES
app = AppTest.from_file("app.py", default_timeout=120).run()
pages = {}
for page in PAGES.values():
    shown = app.switch_page(page.path).run()
    problems = [part.value for part in (*shown.exception, *shown.error)]
    pages[page.name] = [problems, len(shown.get("plotly_chart"))]
print(json.dumps([ends, pages]), file=sys.__stdout__)
"""


def lines() -> list[str]:
    text = (HOME / "requirements-viewer.txt").read_text(encoding="utf-8")
    return [line for line in text.splitlines() if line and not line.startswith("#")]


def needed() -> set[str]:
    """The names of the listed distributions and of all that they need."""
    names: set[str] = set()
    waiting = [_name(line) for line in lines()]
    while waiting:
        name = waiting.pop()
        if name in names:
            continue
        names.add(name)
        try:
            further = metadata.requires(name) or []
        except metadata.PackageNotFoundError:
            continue
        waiting += [_name(one) for one in further if "extra ==" not in one]
    return names


def _name(requirement: str) -> str:
    return re.sub(r"[-_.]+", "-", re.split(r"[^\w.-]", requirement.strip())[0]).lower()


def test_each_line_is_one_of_the_projects() -> None:
    project = tomllib.loads((HOME / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert set(lines()) < set(project["dependencies"])
    left_out = {_name(one) for one in project["dependencies"]} - needed()
    assert {"torch", "transformers", "peft", "sae-lens", "umap-learn", "datasets"} <= left_out


def test_without_anything_else_runs_are_shown(tmp_path: Path) -> None:
    store = build_store(
        tmp_path / "runs", arms=ARMS[:2], seeds=(0,), experiments=(("instruct", 0.1),)
    )
    first, second = (run.run_id for run in store.list_runs())
    there = needed() | {"cwac-lab"}
    # Everything that is installed here beyond that stands for what is not installed there.
    blocked = [
        module
        for module, owners in metadata.packages_distributions().items()
        if not there & set(map(_name, owners)) and module != "cwac"
    ]
    assert {"torch", "transformers", "peft", "sae_lens", "umap", "sklearn"} <= set(blocked)
    given = [blocked, str(store.write_root), str(tmp_path / "page.html"), first, second]
    done = subprocess.run(
        [sys.executable, "-c", CODE, json.dumps(given)],
        cwd=HOME, capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    ends, pages = json.loads(done.stdout.splitlines()[-1])
    failed = {name: end for name, end in ends.items() if end[0] and name != "run"}
    assert not failed
    assert "report" in ends["help"][1]
    assert ends["table"][1].count("\n") == 3
    assert "harmful" in ends["compare"][1].lower()
    assert (tmp_path / "page.html").stat().st_size > 4_000_000
    assert "torch" in ends["doctor"][1]
    assert ends["run"][0] == 2
    assert ends["run"][2].startswith("Error: this needs the package ")
    assert {name: problems for name, (problems, _) in pages.items() if problems} == {}
    # Nothing of causes is stored here.
    bare = {name for name, (_, figures) in pages.items() if not figures}
    assert bare == {"mechanism", "runs", "reference"}
