"""Grids of runs from one file, over processes or a cluster, resumable."""

from cwac.runner.sweep.cluster import Cluster
from cwac.runner.sweep.grid_file import GridArm, GridFile
from cwac.runner.sweep.schedule import Schedule
from cwac.runner.sweep.whole import SweepResult, run_sweep
from cwac.runner.worker import Outcome

__all__ = ["Cluster", "GridArm", "GridFile", "Outcome", "Schedule", "SweepResult", "run_sweep"]
