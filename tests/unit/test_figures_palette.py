"""The fixed looks are those of the catalogue's methods, each its own."""

from cwac.figures.palette import HUES, LOOKS
from cwac.figures.theme import arm_style
from cwac.methods import METHODS


def test_no_two_methods_look_alike_and_titles_are_the_catalogues() -> None:
    listed = {name: method.title for name, method in METHODS.items()}
    assert {name: look.title for name, look in LOOKS.items()} == listed
    styles = [arm_style(name) for name in LOOKS]
    assert len({(style.colour, style.dash) for style in styles}) == len(styles)
    assert len({style.symbol for style in styles}) == len(styles)
    paper = {arm_style(name).colour for name in ("sft", "weight_only", "activation_only", "cwac")}
    assert not paper & set(HUES), "nobody shares a hue with the paper's four arms"
