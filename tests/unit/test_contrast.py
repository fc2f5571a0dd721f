"""Text can be read in both themes: contrast of at least 4.5 to 1 (WCAG 2.2, 1.4.3)."""

import tomllib
from typing import Any

import pytest

from cwac.artifacts import shipped_folder
from cwac.figures.results.matrix import BAD, GOOD, MIDDLE
from cwac.figures.style import CELL_TEXT, CENTRED, OUTCOME_COLOURS, RISING, THEMES, ink

ENOUGH = 4.5
# Streamlit's: captions and other quiet text stand at 60 %, a chosen button on 10 % of the accent.
QUIET, TINT = 0.6, 0.1


def _luminance(colour: str) -> float:
    parts = (int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return sum(w * p for w, p in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def contrast(first: str, second: str) -> float:
    low, high = sorted((_luminance(first), _luminance(second)))
    return (high + 0.05) / (low + 0.05)


def over(colour: str, background: str, share: float) -> str:
    both = [[int(c[i : i + 2], 16) for i in (1, 3, 5)] for c in (colour, background)]
    mixed = (round(share * a + (1 - share) * b) for a, b in zip(*both, strict=True))
    return "#" + "".join(f"{part:02X}" for part in mixed)


def test_contrast_is_that_of_the_standard() -> None:
    assert contrast("#000000", "#FFFFFF") == pytest.approx(21)
    assert contrast("#767676", "#FFFFFF") == pytest.approx(4.54, abs=0.01)


@pytest.fixture(scope="module")
def config() -> dict[str, Any]:
    path = shipped_folder() / ".streamlit" / "config.toml"
    return tomllib.loads(path.read_text(encoding="utf-8"))["theme"]


@pytest.mark.parametrize("name", ["light", "dark"])
def test_page_text_can_be_read(config: dict[str, Any], name: str) -> None:
    theme = config[name]
    text, accent = theme["textColor"], theme["primaryColor"]
    for behind in (
        theme["backgroundColor"],
        theme["secondaryBackgroundColor"],
        theme["sidebar"]["backgroundColor"],
    ):
        assert contrast(text, behind) >= 7
        assert contrast(over(text, behind, QUIET), behind) >= ENOUGH
        # The open tab, a link, a chosen button, which is tinted too.
        assert contrast(accent, behind) >= ENOUGH
        assert contrast(accent, over(accent, behind, TINT)) >= ENOUGH


@pytest.mark.parametrize("name", ["light", "dark"])
def test_chips_can_be_read(config: dict[str, Any], name: str) -> None:
    from cwac.ui.look import INKS

    assert contrast(INKS[name], config[name]["primaryColor"]) >= ENOUGH


@pytest.mark.parametrize("name", ["light", "dark"])
def test_figures_have_the_pages_colours_and_can_be_read(config: dict[str, Any], name: str) -> None:
    text, _, paper = THEMES[name]
    assert (text, paper) == (config[name]["textColor"], config[name]["backgroundColor"])
    assert contrast(text, paper) >= ENOUGH


@pytest.mark.parametrize("colour", OUTCOME_COLOURS.values())
def test_words_on_outcomes_can_be_read(colour: str) -> None:
    assert contrast(ink(colour), colour) >= ENOUGH
    assert contrast("#10181F", colour) >= ENOUGH


@pytest.mark.parametrize("colour", [*(c for _, c in (*RISING, *CENTRED)), GOOD, BAD, MIDDLE])
def test_numbers_in_cells_can_be_read(colour: str) -> None:
    # Between its stops a scale is no darker than the darker of both.
    assert contrast(CELL_TEXT, colour) >= ENOUGH
