"""An experiment's tables as a hand-out reads them: whatever is stored; the rest is left out."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeVar

import pandas as pd

from cwac.analysis.idle import COLUMNS as IDLE
from cwac.analysis.outcomes import READ
from cwac.analysis.refusals import with_aligned
from cwac.analysis.rules import judged_alike, reading_order, rule_of, with_verdicts
from cwac.arms import Arm, in_order
from cwac.artifacts import ArtifactStore
from cwac.errors import ArtifactError, ConfigError
from cwac.rates import HYBRIDS_TOLD
from cwac.records import TABLES, RunRecord

ReadT = TypeVar("ReadT")
_COLUMNS: Final = tuple(dict.fromkeys([*READ, *IDLE]))
"""Of ``responses``: outcomes and marks. What a model wrote is not among them, so that no answer
can come into a hand-out."""


@dataclass(frozen=True)
class Stored:
    """The runs of one experiment under one judging rule, and their tables.

    Attributes
    ----------
    records : tuple of RunRecord
        In the order of their arms, then of their seeds.
    judge : str
        The hash of the judge that all verdicts are of.
    rejudged : frozenset of str
        Ids of runs that another rule judged first; their verdicts are read from ``judgements``.
    left_out : tuple of str
        Ids of runs whose judge is another.
    problems : list of str
        What could not be read, a sentence each; it grows as tables are read.
    opened : dict
        Answers by run and judge: sections read those of the same runs, which are opened once.
    """

    store: ArtifactStore
    records: tuple[RunRecord, ...]
    judge: str
    rejudged: frozenset[str]
    left_out: tuple[str, ...]
    problems: list[str] = field(default_factory=list, compare=False)
    opened: dict[tuple[str, str], pd.DataFrame] = field(default_factory=dict, compare=False)

    @classmethod
    def of(
        cls, store: ArtifactStore, records: Sequence[RunRecord], judge: str | None = None
    ) -> "Stored":
        """Take the fullest group of runs that one rule judged, or that of a stated judge.

        Raises
        ------
        ConfigError
            There is none, or they are of several experiments.
        """
        experiments = sorted({record.experiment_id for record in records})
        if len(experiments) != 1:
            named = ", ".join(experiments) or "none"
            raise ConfigError(f"a hand-out is about the runs of one experiment, not of {named}.")
        judgements: pd.DataFrame | None = None
        problems: list[str] = []
        if len(set(map(rule_of, records))) > 1:
            try:
                judgements = store.experiment_table(experiments[0], "judgements")
            except ArtifactError as problem:
                problems.append(str(problem))
        groups = judged_alike(records, judgements)
        alike = next((group for group in groups if group.judge == judge), groups[0])
        mine = sorted(alike.records, key=lambda r: (r.arm.sort_key, r.config.seed))
        kept = {record.run_id for record in mine}
        left = tuple(record.run_id for record in records if record.run_id not in kept)
        return cls(store, tuple(mine), alike.judge, alike.rejudged, left, problems)

    @property
    def arms(self) -> list[Arm]:
        """The arms that were run, in the order of figures."""
        return in_order(record.arm for record in self.records)

    @property
    def reference(self) -> RunRecord | None:
        """The aligned model's record, None where it was not measured."""
        name = self._fit("reference")
        return None if name is None else self._guarded(lambda: self.store.fit_record(name))

    def table(self, name: str, arms: Sequence[Arm] | None = None) -> pd.DataFrame:
        """Return a table of every run, or of the runs of some arms; empty where none has it.

        Returns
        -------
        DataFrame
            The table's columns, ``variant`` and ``seed``.
        """
        labels = None if arms is None else {arm.label for arm in arms}
        parts = []
        for record in self.records:
            if name in record.tables and (labels is None or record.variant in labels):
                part = self._read(record, name)
                if part is not None:
                    parts.append(part.assign(variant=record.variant, seed=record.config.seed))
        if not parts:
            return pd.DataFrame(columns=["variant", "seed", *TABLES[name]])
        return pd.concat(parts, ignore_index=True)

    def _read(self, record: RunRecord, name: str) -> pd.DataFrame | None:
        return self._guarded(lambda: self.store.table(record.run_id, name))

    def fit_table(self, kind: str, name: str) -> pd.DataFrame:
        """Return a table of the ``subspace``, ``features`` or ``reference`` fit, empty without."""
        fit = self._fit(kind)
        read = None if fit is None else self._guarded(lambda: self.store.fit_table(fit, name))
        return pd.DataFrame(columns=list(TABLES[name])) if read is None else read

    def answers(self) -> pd.DataFrame:
        """Return what became of each request, of every run and the aligned model; no texts.

        Returns
        -------
        DataFrame
            ``variant, seed``, outcomes and marks, ``hybrids_told``.
        """
        parts = [part for record in self.records if (part := self._once(record)) is not None]
        columns = [*_COLUMNS, HYBRIDS_TOLD]
        runs = pd.DataFrame(columns=["variant", "seed", *columns])
        runs = pd.concat(parts, ignore_index=True) if parts else runs
        reference = self.reference
        aligned = self.fit_table("reference", "responses").reindex(columns=list(_COLUMNS))
        told = reference is not None and "hybrids" in reference.protocol
        return with_aligned(runs, aligned.assign(**{HYBRIDS_TOLD: told}))

    def _once(self, record: RunRecord) -> pd.DataFrame | None:
        key = (record.run_id, self.judge)
        if key not in self.opened and (read := self._answers(record)) is not None:
            self.opened[key] = read
        return self.opened.get(key)

    def _answers(self, record: RunRecord) -> pd.DataFrame | None:
        if "responses" not in record.tables:
            return None
        read = self._guarded(lambda: self.store.table(record.run_id, "responses", _COLUMNS))
        anew = record.run_id in self.rejudged
        if read is not None and anew:
            judgements = self.store.experiment_table(record.experiment_id, "judgements")
            if judgements is not None:
                read = with_verdicts(read, judgements, record.run_id, self.judge)
        if read is None:
            return None
        read[HYBRIDS_TOLD] = anew or "hybrids" in record.protocol
        return read.assign(variant=record.variant, seed=record.config.seed)

    def _fit(self, kind: str) -> str | None:
        # The aligned model's answers were judged with its runs': those of the rule in view.
        first = sorted(self.records, key=lambda r: r.run_id in self.rejudged)
        return next((r.fits[kind] for r in first if kind in r.fits), None)

    def _guarded(self, read: Callable[[], ReadT]) -> ReadT | None:
        try:
            return read()
        except ArtifactError as problem:
            if str(problem) not in self.problems:
                self.problems.append(str(problem))
            return None


def chosen(store: ArtifactStore, names: Sequence[str]) -> list[RunRecord]:
    """Return the runs that names mean: of experiments, of runs; without any, the first experiment.

    Raises
    ------
    ArtifactError
        Nothing is stored, or a name is neither a run's nor an experiment's.
    """
    records = [run.record for run in store.list_runs() if run.record is not None]
    if not records:
        raise ArtifactError(f"no run is stored under {', '.join(map(str, store.roots))}.")
    experiments: dict[str, list[RunRecord]] = {}
    for record in records:
        experiments.setdefault(record.experiment_id, []).append(record)
    if not names:
        # As the app opens.
        return min(experiments.values(), key=lambda mine: (*reading_order(mine),
                                                           mine[0].config.title))  # fmt: skip
    runs = {record.run_id: [record] for record in records}
    picked: dict[str, RunRecord] = {}
    for name in names:
        mine = experiments.get(name) or runs.get(name)
        if mine is None:
            raise ArtifactError(
                f"{name!r} is neither a run nor an experiment that is stored; the experiments "
                f"are {', '.join(sorted(experiments))}."
            )
        picked |= {record.run_id: record for record in mine}
    return list(picked.values())
