"""CWAC Lab: see why fine-tuned language models stop refusing, and what constraints change.

The package root imports nothing, so that ``import cwac`` costs nothing; import the module
you need: :mod:`cwac.runner` runs experiments, :mod:`cwac.artifacts` reads stored ones.
"""

__version__ = "0.1.0"
