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


def test_methods_that_are_controls_are_dotted_and_say_so() -> None:
    listed = {name: method.control for name, method in METHODS.items()}
    assert {name: look.control for name, look in LOOKS.items()} == listed
    for name, control in listed.items():
        style = arm_style(name)
        assert style.label.endswith("control") == control, name
        if control:
            assert style.dash == "dot"
            assert style.colour in HUES, "it is compared like a method, so that it keeps a colour"
    assert arm_style("kl_to_aligned (strength=3)").label == "KL to aligned (strength=3) · control"
