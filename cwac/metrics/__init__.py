"""One measurement per file; this list decides the order in which they are taken and listed."""

from typing import Final

from cwac.interfaces import Metric, MetricInfo
from cwac.metrics.alignment import ALIGNMENT_INFOS
from cwac.metrics.behaviour import Behaviour
from cwac.metrics.decoding import OtherDecodings
from cwac.metrics.features import FeatureDrift
from cwac.metrics.outer import OuterDrift
from cwac.metrics.overlap import SubspaceOverlap
from cwac.metrics.relearning import RELEARNING_INFOS
from cwac.metrics.sae_quality import SaeQuality
from cwac.metrics.speed import TIME_INFOS
from cwac.metrics.weights import WeightDrift
from cwac.registry import Registry

METRICS: Final[Registry[type[Metric]]] = Registry(
    "metric",
    [
        Behaviour,
        OtherDecodings,
        WeightDrift,
        OuterDrift,
        SubspaceOverlap,
        FeatureDrift,
        SaeQuality,
    ],
)

METRIC_INFOS: Final[Registry[MetricInfo]] = Registry(
    "number",
    [info for metric in METRICS.values() for info in metric.infos]
    + [*TIME_INFOS, *ALIGNMENT_INFOS, *RELEARNING_INFOS],
)
"""Every number that a run's record can hold.

Times are taken by the training loop, relearning by the runner, which trains further, and the
alignment step by ``cwac measure``, which alone has the base model: all have numbers, but there is
nothing for a `Metric` to measure afterwards.
"""
