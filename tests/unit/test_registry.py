from types import SimpleNamespace

import pytest

from cwac.errors import UnknownNameError
from cwac.registry import Registry


def _fruits():
    return Registry("fruit", [SimpleNamespace(name="pear"), SimpleNamespace(name="apple")])


def test_order_is_the_lists():
    assert list(_fruits()) == ["pear", "apple"]
    assert len(_fruits()) == 2


def test_unknown_name_lists_the_known_ones():
    with pytest.raises(UnknownNameError) as problem:
        _fruits()["aple"]
    said = "unknown fruit 'aple' (did you mean 'apple'?); known: pear, apple."
    assert str(problem.value) == said


def test_membership_and_get_do_not_raise():
    assert "plum" not in _fruits()
    assert "pear" in _fruits()
    assert _fruits().get("plum") is None
    assert _fruits().get("pear").name == "pear"


def test_a_name_may_not_be_given_twice():
    with pytest.raises(ValueError, match="two fruit entries are named 'pear'"):
        Registry("fruit", [SimpleNamespace(name="pear")] * 2)


def test_entries_cannot_be_replaced():
    with pytest.raises(TypeError):
        _fruits()["pear"] = None
