"""What the files of a job hold: who starts it and who watches it are other processes.

Old jobs' files must keep loading. Keys that this version does not know are skipped.
"""

from typing import Annotated, Final, Literal

from pydantic import AwareDatetime, Field

from cwac.arms import Arm
from cwac.messages import Message

JOBS: Final = ".jobs"
"""The folder of a root's jobs, one folder each."""
REQUEST: Final = "request.json"
STATUS: Final = "status.json"
PROGRESS: Final = "progress.jsonl"
LOG: Final = "log.txt"

State = Literal["queued", "running", "done", "failed", "cancelled"]
Pid = Annotated[int, Field(gt=0, lt=2**31)]
Moment = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class JobRequest(Message):
    """``request.json``: what was started, written by who starts it."""

    title: str = ""
    command: str = ""
    """What to type to do the same."""
    created: AwareDatetime | None = None
    pid: Pid | None = None
    """None while it waits."""
    pid_created: Moment | None = None
    arguments: tuple[str, ...] = ()
    """What the worker is started with; earlier versions started it at once and kept none."""
    host: str = ""
    """Whose queue it is in: a short name of the machine."""


class JobStatus(Message):
    """``status.json``: how far a job is, written by its worker."""

    state: State = "queued"
    pid: Pid | None = None
    pid_created: Moment | None = None
    """When the process began: a number alone may have been given away again."""
    message: str = ""
    runs: tuple[str, ...] = ()
    started: AwareDatetime | None = None
    ended: AwareDatetime | None = None


class ProgressLine(Message):
    """A line of ``progress.jsonl``: a sign of life, at a probe with the trajectory's new row."""

    time: float | None = None
    run_id: str | None = None
    variant: str | None = None
    arm: Arm | None = None
    """None in lines of version 0.1."""
    seed: int | None = None
    phase: str | None = None
    fraction: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] = 0.0
    """Share of the run that is done."""
    until: Moment | None = None
    """When the phase is over at its pace so far, in seconds since 1970."""
    left: tuple[str, ...] = ()
    """The phases that follow."""
    message: str = ""
    step: int | None = None
    """Only a probe has one."""
    task_loss: float | None = None
    safety_loss: float | None = None
    safety_loss_normalised: float | None = None
    gradient_norm: float | None = None
    learning_rate: float | None = None
    refusal_log_odds: float | None = None
    refusal_rate: float | None = None
    refusal_n: int | None = None
    refusal_low: float | None = None
    refusal_high: float | None = None
    drift_inside: float | None = None
    drift_outside: float | None = None
