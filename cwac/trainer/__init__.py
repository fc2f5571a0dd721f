"""CWAC inside other people's training: a callback for `transformers.Trainer` and its kin."""

from cwac.trainer.callback import CwacCallback

__all__ = ["CwacCallback"]
