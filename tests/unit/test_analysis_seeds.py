"""What a caption says of seeds is what the table holds."""

import pandas as pd
import pytest

from cwac.analysis.seeds import seeds_sentence


def table(**seeds: tuple[int, ...]) -> pd.DataFrame:
    rows = [(arm, seed) for arm, mine in seeds.items() for seed in mine]
    return pd.DataFrame(rows, columns=["variant", "seed"])


@pytest.mark.parametrize(
    ("shown", "sentence"),
    [
        (table(sft=(0,), cwac=(0, 0)), "Seed 0 alone"),
        (table(sft=(0, 1, 2), cwac=(2, 1, 0)), "Seeds 0, 1 and 2."),
        (table(sft=(0, 1, 2, 3, 4), cwac=(0,)), "1 to 5 seeds an arm."),
        (table(sft=(0,), cwac=(1,)), "One seed an arm"),
        (table(sft=(0, 1), cwac=(2, 3)), "2 seeds an arm."),
    ],
)
def test_seeds_are_those_of_the_table(shown: pd.DataFrame, sentence: str) -> None:
    assert seeds_sentence(shown).startswith(sentence)


def test_means_are_promised_only_where_there_are_several_seeds() -> None:
    assert "means over seeds" in seeds_sentence(table(sft=(0, 1)), means=True)
    assert "means over seeds" not in seeds_sentence(table(sft=(0,)), means=True)
    assert "means over seeds" not in seeds_sentence(table(sft=(0, 1)))


def test_the_aligned_model_has_no_seeds() -> None:
    assert seeds_sentence(table(aligned=(0,), sft=(1, 2))) == "Seeds 1 and 2."
    assert seeds_sentence(table(aligned=(0,))) == ""
    assert seeds_sentence(pd.DataFrame({"layer": [0]})) == ""


def test_counts_of_seeds_are_read_too() -> None:
    rates = pd.DataFrame({"variant": ["aligned", "sft", "cwac"], "seeds": [1, 3, 5]})
    assert seeds_sentence(rates) == "3 to 5 seeds an arm."
    assert seeds_sentence(rates.assign(seeds=3)) == "3 seeds an arm."
    assert seeds_sentence(rates.assign(seeds=[1, 1, None])).startswith("One seed an arm")
