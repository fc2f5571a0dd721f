"""The lab inside other people's training: callbacks for `transformers.Trainer` and its kin."""

from cwac.trainer.callback import CwacCallback
from cwac.trainer.monitor import MonitorCallback

__all__ = ["CwacCallback", "MonitorCallback"]
