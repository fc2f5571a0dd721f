"""Workers of a sweep on a cluster, through Ray: the optional extra ``ray``.

Every worker is a Ray actor, a :class:`RayWorker`. What it stores goes straight into the
sweep's root, which is therefore a folder that all machines of the cluster share.
"""

import json
import os
import socket
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from cwac.config import ExperimentConfig
from cwac.errors import ArtifactError, ConfigError, first_line
from cwac.runner.claims import CLAIMS
from cwac.runner.progress import Event, Listener
from cwac.runner.sweep.local import ONE_THREAD, Heard
from cwac.runner.sweep.ray_worker import RayWorker
from cwac.runner.sweep.schedule import Schedule
from cwac.runner.worker import Outcome

_REACH: Final = 5.0
"""Seconds in which a cluster must take a connection."""
_STORE_BYTES: Final = 100_000_000
"""Memory of a local Ray for objects; what is sent here are a few kilobytes."""


@dataclass(frozen=True)
class Cluster:
    """Where a sweep's workers run.

    Attributes
    ----------
    address : str or None
        Of a running cluster, as ``ray.init`` takes it. None looks where ``RAY_ADDRESS`` says,
        then for a cluster that this machine belongs to, and else starts one on this machine, as
        "local" always does.
    workers : int or None
        None takes as many as the cluster has processors.
    gpus : float
        GPUs of one worker, which may be a share of one.
    """

    address: str | None = None
    workers: int | None = None
    gpus: float = 0.0


def run_on_ray(
    schedule: Schedule,
    cluster: Cluster,
    roots: Sequence[str],
    keep_model: bool,
    listener: Listener,
    heard: Heard,
) -> None:
    """Run everything on a cluster, in workers of one torch thread each.

    A worker that dies costs the run it was at; another takes its place.

    Raises
    ------
    ConfigError
        Ray is not installed, there is no cluster at the address, or none of its machines has what
        a worker asks for.
    ArtifactError
        A machine of the cluster does not see the root.
    """
    if not len(schedule):
        return
    with _connected(cluster.address) as ray, _token(Path(roots[0])) as token:
        check_room(ray.nodes(), cluster)
        count = cluster.workers or max(int(ray.cluster_resources().get("CPU", 1)), 1)
        crew = _Crew(ray, cluster, roots, keep_model, token)
        try:
            for _ in range(min(count, len(schedule))):
                crew.hire()
            while crew.busy:
                crew.step(schedule, listener, heard)
        finally:
            crew.end()


class _Crew:
    """The actors at work, and what is being waited for from each."""

    def __init__(
        self, ray: Any, cluster: Cluster, roots: Sequence[str], keep_model: bool, token: str
    ) -> None:
        self._ray = ray
        environment = {"env_vars": dict.fromkeys(ONE_THREAD, "1")}
        self._kind = ray.remote(RayWorker).options(
            num_cpus=1,
            num_gpus=cluster.gpus,
            # One thread runs, the other one brings the news.
            max_concurrency=2,
            runtime_env=environment,
        )
        self._given = (list(roots), keep_model, str(Path.cwd()))
        self._token = token
        self._actors: dict[int, Any] = {}
        self._at: dict[int, ExperimentConfig] = {}
        self._waiting: dict[Any, tuple[str, int]] = {}
        self._hired = 0

    @property
    def busy(self) -> bool:
        """Whether anything is still to be heard from anybody."""
        return bool(self._waiting)

    def hire(self) -> None:
        """Start one more worker; it gets work when the cluster has found room for it."""
        number, self._hired = self._hired, self._hired + 1
        actor = self._actors[number] = self._kind.remote(*self._given)
        self._waiting[actor.sees.remote(self._token)] = ("hired", number)

    def step(self, schedule: Schedule, listener: Listener, heard: Heard) -> None:
        """Hear one thing and do what follows from it."""
        (done,), _ = self._ray.wait(list(self._waiting), num_returns=1)
        call, number = self._waiting.pop(done)
        try:
            answer = self._ray.get(done)
        except self._ray.exceptions.RayActorError as problem:
            self._lost(number, problem, schedule, heard)
            return
        if call == "hired":
            self._check_root(*answer)
            self._ask_for_news(number)
            self._occupy(number, schedule)
        elif call == "run":
            outcome, rest = answer
            _tell(listener, rest)
            del self._at[number]
            heard(Outcome(**outcome))
            self._occupy(number, schedule)
        else:
            _tell(listener, answer)
            if number in self._at:
                self._ask_for_news(number)
            else:
                self._dismiss(number)

    def _check_root(self, seen: bool, machine: str) -> None:
        if not seen:
            raise ArtifactError(
                f"the machine {machine!r} of the cluster does not see the folder "
                f"{self._given[0][0]}; --root must be a folder that all its machines share."
            )

    def _ask_for_news(self, number: int) -> None:
        self._waiting[self._actors[number].news.remote()] = ("news", number)

    def _occupy(self, number: int, schedule: Schedule) -> None:
        config = schedule.next(number)
        if config is None:
            # It goes with its last news; those that the cluster has no room for yet go now.
            for other in [n for call, n in self._waiting.values() if call == "hired"]:
                self._dismiss(other)
            return
        self._at[number] = config
        values = config.model_dump(mode="json")
        self._waiting[self._actors[number].run.remote(values)] = ("run", number)

    def _dismiss(self, number: int) -> None:
        self._waiting = {ref: about for ref, about in self._waiting.items() if about[1] != number}
        actor = self._actors.pop(number, None)
        if actor is not None:
            self._ray.kill(actor)

    def _lost(self, number: int, problem: Exception, schedule: Schedule, heard: Heard) -> None:
        self._dismiss(number)
        schedule.leave(number)
        config = self._at.pop(number, None)
        if config is None:
            # It never worked, so that another one would not either.
            reason = str(problem).strip().splitlines()[-1]
            raise ConfigError(f"Ray could not start a worker: {reason}") from None
        heard(Outcome(config.run_id, "failed", f"its worker died: {first_line(problem)}."))
        if len(schedule):
            self.hire()

    def end(self) -> None:
        """End every worker at once, also one that is in the middle of a run."""
        for number in list(self._actors):
            self._dismiss(number)


def check_room(nodes: Sequence[Mapping[str, Any]], cluster: Cluster) -> None:
    """Say at once that no machine has room for a worker; Ray itself would wait for ever.

    Parameters
    ----------
    nodes : sequence of mapping
        From ``ray.nodes()``.

    Raises
    ------
    ConfigError
        No machine has a processor and the GPUs of one worker, or fewer processors or GPUs are
        there than all workers need that were asked for.
    """
    machines = [node["Resources"] for node in nodes if node["Alive"]]
    room = [_workers_on(machine, cluster.gpus) for machine in machines]
    workers = cluster.workers or 1
    if sum(room) >= workers:
        return
    processors, gpus = (
        ", ".join(f"{machine.get(kind, 0):g}" for machine in machines) for kind in ("CPU", "GPU")
    )
    request = (
        f"{workers} worker{'s' if workers > 1 else ''} of 1 processor and {cluster.gpus:g} GPUs"
    )
    raise ConfigError(
        f"{request} do not fit on the cluster, which has room for {sum(room)}: its machines have "
        f"{processors or 0} processors and {gpus or 0} GPUs; lower --gpus or --processes."
    )


def _workers_on(machine: Mapping[str, float], gpus: float) -> int:
    processors = int(machine.get("CPU", 0))
    # Shares of a GPU are rounded: three times a third is one.
    return min(processors, int(machine.get("GPU", 0) / gpus + 1e-6)) if gpus else processors


def check_address(address: str) -> None:
    """Say at once that nothing answers at an address; Ray itself would try for minutes.

    Raises
    ------
    ConfigError
        Nothing listens there, or it is no address.
    """
    if address in {"auto", "local"}:
        return
    host, _, port = address.removeprefix("ray://").rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_REACH).close()
    except (OSError, ValueError) as problem:
        raise ConfigError(
            f"no Ray cluster answers at {address!r}: {first_line(problem)}."
        ) from None


def _tell(listener: Listener, news: str) -> None:
    for event in json.loads(news):
        listener(Event(**event))


@contextmanager
def _connected(address: str | None) -> Iterator[Any]:
    """Give the package ``ray``, connected; what was started here ends with the block."""
    # Nothing about a user's runs is sent anywhere.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray  # noqa: PLC0415 - an optional extra
    except ModuleNotFoundError:
        raise ConfigError(
            "the engine 'ray' needs the package ray, which is not installed; "
            'pip install -e ".[ray]" brings it.'
        ) from None
    if ray.is_initialized():
        yield ray
        return
    _connect(ray, address)
    try:
        yield ray
    finally:
        ray.shutdown()


def _connect(ray: Any, address: str | None) -> None:
    quiet = {"logging_level": "WARNING"}
    if address is not None:
        check_address(address)
    if address != "local":
        try:
            ray.init(address=address or "auto", **quiet)
        except (ConnectionError, ImportError, RuntimeError, ValueError) as problem:
            if address is not None:
                raise ConfigError(
                    f"no Ray cluster answers at {address!r}: {first_line(problem)}."
                ) from None
        else:
            return
    small = {"include_dashboard": False, "object_store_memory": _STORE_BYTES}
    ray.init(address="local", **small, **quiet)


@contextmanager
def _token(root: Path) -> Iterator[str]:
    """Give the name of a file among the claims by which a machine shows that it sees the root."""
    folder = root / CLAIMS
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{uuid.uuid4().hex[:12]}.seen"
    path.touch()
    try:
        yield path.name
    finally:
        path.unlink(missing_ok=True)
