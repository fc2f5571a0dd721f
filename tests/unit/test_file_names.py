"""Only ``cwac.artifacts`` knows how the files of stored runs are named."""

import ast
import re
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "cwac"
NAMES = re.compile(r"\.parquet\b|\.safetensors\b|\brun\.json\b")
NO_RUNS = {
    "adapters.py": "a peft adapter's weights",
    "features/sae.py": "weights of an SAE",
    "models/card.py": "weights of a model's folder",
    "models/hub.py": "weights and fits of a model on the hub",
    "models/checking.py": "weights of a model's folder",
    "models/folders.py": "a peft adapter's weights",
    "prompts/rows.py": "a user's own examples",
    "preparation/align_course.py": "where an alignment was stopped",
    "subspace/protected.py": "a fit's tensors",
}
"""Modules that name files of these kinds which belong to no run, and what these are."""


def names_in(source: str) -> list[str]:
    """Return the strings that name a run's files; what is written for people does not count."""
    tree = ast.parse(source)
    written = {
        id(node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    return [
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and id(node) not in written
        and NAMES.search(node.value)
    ] + [
        node.name
        for node in ast.walk(tree)
        if isinstance(node, ast.alias) and node.name == "RECORD"
    ]


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ('path = folder / f"{name}.parquet"', [".parquet"]),
        ('"""A run.json is text."""\n', []),
        ("from cwac.artifacts import RECORD", ["RECORD"]),
    ],
)
def test_names_are_noticed(source: str, names: list[str]) -> None:
    assert names_in(source) == names


def test_no_other_module_names_files_of_runs() -> None:
    naming = {
        str(path.relative_to(PACKAGE)): names
        for path in PACKAGE.rglob("*.py")
        if "artifacts" not in path.relative_to(PACKAGE).parts
        and (names := names_in(path.read_text(encoding="utf-8")))
    }
    pages = [*PACKAGE.parent.glob("pages/*.py"), PACKAGE.parent / "app.py"]
    assert not [page for page in pages if names_in(page.read_text(encoding="utf-8"))]
    assert set(naming) == set(NO_RUNS), naming
