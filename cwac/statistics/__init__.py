"""Intervals and tests for rates: Wilson, exact McNemar, hierarchical bootstrap, Holm, 2 x 2.

One run: Wilson's interval, and Newcombe's interval with the exact McNemar test for two runs on
the same requests. Several seeds: a bootstrap that resamples seeds and requests, because responses
of one seed are not independent of each other. Several models: models first, then the same.
"""

from cwac.statistics.agreement import Agreement, agreement, agreements
from cwac.statistics.arms import compare, difference, draws_of, holm, rate, rates
from cwac.statistics.bootstrap import RESAMPLES, hierarchical_bootstrap
from cwac.statistics.interaction import Interaction, interaction, logit
from cwac.statistics.means import SeedMean, mean_interval, median_interval, seed_mean
from cwac.statistics.models import AcrossModels, across, difference_across, rate_across
from cwac.statistics.ranks import auroc
from cwac.statistics.results import CONFIDENCE, Contrast, Difference, Interval, Outcomes, Rate
from cwac.statistics.runs import mcnemar_exact, paired_difference, wilson

__all__ = [
    "CONFIDENCE",
    "RESAMPLES",
    "AcrossModels",
    "Agreement",
    "Contrast",
    "Difference",
    "Interaction",
    "Interval",
    "Outcomes",
    "Rate",
    "SeedMean",
    "across",
    "agreement",
    "agreements",
    "auroc",
    "compare",
    "difference",
    "difference_across",
    "draws_of",
    "hierarchical_bootstrap",
    "holm",
    "interaction",
    "logit",
    "mcnemar_exact",
    "mean_interval",
    "median_interval",
    "paired_difference",
    "rate",
    "rate_across",
    "rates",
    "seed_mean",
    "wilson",
]
