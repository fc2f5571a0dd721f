"""What methods declare of their arms is what records of earlier runs are read with."""

import typing

import pytest

from cwac.arms import CONTROLS, TITLES
from cwac.methods import METHODS


@pytest.mark.parametrize("name", list(METHODS))
def test_controls_are_those_of_the_table(name: str) -> None:
    kind = METHODS[name]
    fields = kind.settings_type.model_fields
    assert kind.controls == {key: CONTROLS[key] for key in CONTROLS if key in fields}
    for key, values in kind.controls.items():
        allowed = set(typing.get_args(fields[key].annotation))
        # All but the safety directions themselves, which are the default.
        assert values == allowed - {fields[key].default}


def test_titles_of_stored_methods_are_the_catalogues() -> None:
    known = {name: kind.title for name, kind in METHODS.items() if name in TITLES}
    assert known == TITLES
