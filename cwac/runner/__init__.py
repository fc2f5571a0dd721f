"""From what a user asks for to stored runs: resolve, prepare, train, measure, store."""

from cwac.runner.grid import GridResult, run_grid, update_pairs
from cwac.runner.one import run_one
from cwac.runner.progress import Event, Listener, RunProgress
from cwac.runner.resolve import Arm, method_settings, resolve, variant_of
from cwac.runner.session import Session, open_session, reference_name

__all__ = [
    "Arm",
    "Event",
    "GridResult",
    "Listener",
    "RunProgress",
    "Session",
    "method_settings",
    "open_session",
    "reference_name",
    "resolve",
    "run_grid",
    "run_one",
    "update_pairs",
    "variant_of",
]
