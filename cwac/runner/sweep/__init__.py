"""Grids of runs from one file, over processes, resumable."""

from cwac.runner.sweep.grid_file import GridArm, GridFile
from cwac.runner.sweep.schedule import Outcome, Schedule
from cwac.runner.sweep.whole import SweepResult, run_sweep

__all__ = ["GridArm", "GridFile", "Outcome", "Schedule", "SweepResult", "run_sweep"]
