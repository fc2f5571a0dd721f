"""Every method has a look of its own, whether it was chosen by hand or given out."""

from cwac.arms import TITLES, Arm
from cwac.figures.style import HUES, LOOKS, arm_style, look_of
from cwac.methods import METHODS


def test_no_two_methods_look_alike() -> None:
    styles = [arm_style(Arm(method=name)) for name in TITLES]
    assert len({(style.colour, style.dash) for style in styles}) == len(styles)
    assert len({style.symbol for style in styles}) == len(styles)
    four = ("sft", "weight_only", "activation_only", "cwac")
    paper = {arm_style(Arm(method=name)).colour for name in four}
    assert not paper & set(HUES), "nobody shares a hue with the paper's four arms"


def test_methods_without_a_fixed_look_are_given_one_that_nobody_has() -> None:
    names = [f"method_{number}" for number in range(30)]
    given = [look_of(name) for name in names]
    assert len({look.colour for look in given}) == len(names)
    assert not {look.colour for look in given} & {look.colour for look in LOOKS.values()}
    assert not {look.symbol for look in given} & {look.symbol for look in LOOKS.values()}
    assert [look_of(name) for name in reversed(names)] == given[::-1]


def test_methods_that_are_controls_are_dotted_and_say_so() -> None:
    for name, method in METHODS.items():
        style = arm_style(Arm(method=name))
        assert style.label.endswith("control") == method.control, name
        if method.control:
            assert style.dash == "dot"
            assert style.colour in HUES, "it is compared like a method, so that it keeps a colour"
    stronger = Arm(method="kl_to_aligned", changed={"strength": 3})
    assert arm_style(stronger).label == "KL to aligned (strength=3) · control"
