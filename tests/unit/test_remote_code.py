"""No call of transformers may ask whether a repository's own code should be run."""

import ast
from pathlib import Path

import pytest

import cwac

LOADERS = {"from_pretrained", "from_config"}
# Their callees load no code: SAEs of sae-lens, and an adapter for a model that is loaded already.
OTHERS = {"SAE", "PeftModel"}
FILES = sorted(Path(cwac.__file__).parent.rglob("*.py"))


def calls(source):
    """Return (line, whether remote code is ruled out) of every call that loads something."""
    answers = []
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
            continue
        owner = node.func.value
        if node.func.attr in LOADERS and getattr(owner, "id", None) not in OTHERS:
            named = {word.arg: word.value for word in node.keywords}
            trust = named.get("trust_remote_code")
            answers.append((node.lineno, isinstance(trust, ast.Constant) and trust.value is False))
    return answers


def test_every_loading_call_states_that_remote_code_is_not_run():
    everywhere = {str(p): calls(p.read_text(encoding="utf-8")) for p in FILES}
    assert sum(map(len, everywhere.values())) >= 5, "the walk sees the calls"
    assert {p: c for p, c in everywhere.items() if not all(stated for _, stated in c)} == {}


@pytest.mark.parametrize(
    "call",
    ["A.from_pretrained(x)", "A.from_config(x, trust_remote_code=True)", "f().from_pretrained(x)"],
)
def test_the_walk_sees_what_is_missing(call):
    assert calls(call) == [(1, False)]
