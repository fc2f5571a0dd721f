"""What a plug-in looks like: methods, tasks, metrics, interventions, models; and what they see."""

from cwac.interfaces.interventions import Cost, DissectContext, Grain, Intervention, Update
from cwac.interfaces.methods import (
    AdapterKind,
    Method,
    MethodContext,
    MethodSettings,
    Needs,
    PenaltySettings,
    SettingsT,
    Yardstick,
)
from cwac.interfaces.metrics import MeasureContext, Measurement, Metric, MetricInfo, Task
from cwac.interfaces.models import ModelSpec

__all__ = [
    "AdapterKind",
    "Cost",
    "DissectContext",
    "Grain",
    "Intervention",
    "MeasureContext",
    "Measurement",
    "Method",
    "MethodContext",
    "MethodSettings",
    "Metric",
    "MetricInfo",
    "ModelSpec",
    "Needs",
    "PenaltySettings",
    "SettingsT",
    "Task",
    "Update",
    "Yardstick",
]
