"""The glossary's file is the one source of the app's definitions."""

import ast
from pathlib import Path

import pytest

import cwac
from cwac.ui.glossary import GLOSSARY, SECTIONS, define, read_glossary, shipped_text

HOME = Path(__file__).parents[2]


def test_entries_are_read_and_other_lines_left_alone():
    text = "# Words\n\nProse with **bold**: text.\n\n- **a b**: First: one.\n- **c**: Second.\n"
    assert read_glossary(text) == {"a b": "First: one.", "c": "Second."}


def test_a_term_is_defined_once():
    with pytest.raises(ValueError, match="twice"):
        read_glossary("- **a**: One.\n- **a**: Two.\n")


def test_every_entry_of_the_file_is_one_sentence_or_two():
    lines = (HOME / "docs" / "glossary.md").read_text(encoding="utf-8").splitlines()
    assert len(GLOSSARY) == sum(line.startswith("- ") for line in lines)
    assert all(text.endswith(".") and len(text) < 220 for text in GLOSSARY.values())
    assert define("seed", "arm").startswith(f"**seed**: {GLOSSARY['seed']}\n\n**arm**: ")


def test_the_promised_words_are_defined():
    words = {"SFT", "drift", "organism", "CWAC", "poison ratio", "latent", "principal angle"}
    assert words <= set(GLOSSARY)


def test_an_installed_package_carries_the_file(tmp_path, monkeypatch):
    assert shipped_text("docs/glossary.md") == (HOME / "docs" / "glossary.md").read_text()
    package = tmp_path / "cwac"
    (package / "_shipped" / "docs").mkdir(parents=True)
    (package / "_shipped" / "docs" / "glossary.md").write_text("of the package")
    monkeypatch.setattr(cwac, "__file__", str(package / "__init__.py"))
    assert shipped_text("docs/glossary.md") == "of the package"


def test_every_term_stands_under_one_heading():
    assert sorted(term for terms in SECTIONS.values() for term in terms) == sorted(GLOSSARY)


def test_pages_explain_no_word_that_is_not_defined():
    modules = [*(HOME / "cwac" / "ui").rglob("*.py"), *(HOME / "pages").glob("*.py")]
    terms = {term for path in modules for term in explained(path)}
    assert terms
    assert terms <= set(GLOSSARY)


def explained(path):
    """Return the terms that a module hands to ``define``, ``term`` and ``terms=``."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") in {"define", "term"}:
            yield from (a.value for a in node.args if isinstance(a, ast.Constant))
        if isinstance(node, ast.keyword) and node.arg == "terms":
            elements = getattr(node.value, "elts", [])
            yield from (e.value for e in elements if isinstance(e, ast.Constant))
