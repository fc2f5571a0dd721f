"""Every method has a look of its own, whether it was chosen by hand or given out."""

import numpy as np

from cwac.arms import TITLES, Arm
from cwac.figures.panels import HIGHLIGHT
from cwac.figures.style import GREY, HUES, LOOKS, arm_style, look_of
from cwac.methods import METHODS


def test_no_two_registered_methods_share_a_colour_or_a_shape() -> None:
    names = dict.fromkeys([*METHODS, *TITLES])
    styles = [arm_style(Arm(method=name)) for name in names]
    assert set(names) <= set(LOOKS), "a method that ships has a look that was chosen"
    assert len({style.colour for style in styles}) == len(styles)
    assert len({style.symbol for style in styles}) == len(styles)


def test_colours_are_apart_and_can_be_seen_on_white_and_on_black() -> None:
    colours = [*(look.colour for look in LOOKS.values()), GREY, HIGHLIGHT]
    for place, one in enumerate(colours):
        assert 1.05 / (luminance(one) + 0.05) > 2.2, "on a white page"
        assert (luminance(one) + 0.05) / (luminance("#12171D") + 0.05) > 2.7, "on a dark one"
        for other in colours[:place]:
            assert np.linalg.norm(oklab(one) - oklab(other)) > 0.09, (one, other)


def linear(colour: str) -> np.ndarray:
    parts = np.array([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    return np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)


def luminance(colour: str) -> float:
    return float(linear(colour) @ [0.2126, 0.7152, 0.0722])


def oklab(colour: str) -> np.ndarray:
    """Ottosson 2020: distances in it are about as large as they look."""
    cones = np.array(
        [
            [0.4122214708, 0.5363325363, 0.0514459929],
            [0.2119034982, 0.6806995451, 0.1073969566],
            [0.0883024619, 0.2817188376, 0.6299787005],
        ]
    )
    axes = np.array(
        [
            [0.2104542553, 0.7936177850, -0.0040720468],
            [1.9779984951, -2.4285922050, 0.4505937099],
            [0.0259040371, 0.7827717662, -0.8086757660],
        ]
    )
    return np.asarray(axes @ np.cbrt(cones @ linear(colour)))


def test_methods_without_a_fixed_look_are_given_one_that_nobody_has() -> None:
    names = [f"method_{number}" for number in range(30)]
    given = [look_of(name) for name in names]
    assert len({look.colour for look in given}) == len(names)
    assert not {look.colour for look in given} & {look.colour for look in LOOKS.values()}
    assert not {look.symbol for look in given} & {look.symbol for look in LOOKS.values()}
    assert [look_of(name) for name in reversed(names)] == given[::-1]


def test_methods_that_are_controls_are_dotted_and_named_as_methods() -> None:
    for name, method in METHODS.items():
        style = arm_style(Arm(method=name))
        assert "control" not in style.label, name
        if method.control:
            assert style.dash == "dot"
            assert style.colour in HUES, "it is compared like a method, so that it keeps a colour"
    stronger = Arm(method="kl_to_aligned", changed={"strength": 3})
    assert arm_style(stronger).label == "KL to aligned (strength=3)"
