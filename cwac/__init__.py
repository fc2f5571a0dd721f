"""CWAC Lab: see why fine-tuned language models stop refusing, and what constraints change.

The package root imports nothing, so that ``import cwac`` costs nothing; import the module
you need: :mod:`cwac.runner` runs experiments, :mod:`cwac.artifacts` reads stored ones, and
:mod:`cwac.trainer` protects a fine-tune of your own (``from cwac import CwacCallback``) or
watches one (``MonitorCallback``).
"""

from importlib import import_module
from typing import Any

__version__ = "0.2.0"


def __getattr__(name: str) -> Any:
    # By name, because views import this package and must never load torch.
    if name in {"CwacCallback", "MonitorCallback"}:
        return getattr(import_module("cwac.trainer"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
