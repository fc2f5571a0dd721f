"""What a run's clock says; the training loop measures it, nothing is measured afterwards."""

from typing import Final

from cwac.interfaces import MetricInfo
from cwac.records import MetricValue

TIME_INFOS: Final = (
    MetricInfo("train_seconds", "Training time", "s", "lower", None),
    MetricInfo("seconds_per_step", "Time per step (median)", "s", "lower", None),
    MetricInfo("seconds_per_step_p95", "Time per step (95th percentile)", "s", "lower", None),
)


def time_values(train: float, median: float, p95: float, steps: int) -> dict[str, MetricValue]:
    """Return a run's times as measured values, in seconds."""
    return {
        info.name: info.value(seconds, count=steps)
        for info, seconds in zip(TIME_INFOS, (train, median, p95), strict=True)
    }
