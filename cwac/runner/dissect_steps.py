"""What an interrupted intervention has measured: kept step by step until it is complete.

``<root>/.dissecting/<run>.<intervention>.<grain>.jsonl`` begins with what the steps depend on; a
line a step follows. The table alone says what is complete, and its readers see nothing of this.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from cwac.artifacts import ArtifactStore, write_text
from cwac.interfaces import DissectContext, Grain, Intervention

FOLDER: Final = ".dissecting"
_BESIDE: Final = ("requests", "answers")
"""Lists of the context that an intervention adds to besides the rows that it returns."""
Rows = list[dict[str, Any]]


class Steps:
    """The steps of one intervention, those of an interrupted call among them.

    Parameters
    ----------
    again : bool
        Whether what an interrupted call has measured is measured once more.
    """

    def __init__(
        self,
        store: ArtifactStore,
        run_id: str,
        intervention: Intervention,
        grain: Grain,
        context: DissectContext,
        *,
        again: bool,
    ) -> None:
        self._context = context
        self._path = store.write_root / FOLDER / f"{run_id}.{intervention.name}.{grain}.jsonl"
        self._about: dict[str, Any] = {
            "version": intervention.version,
            "requests": len(context.harmful_test()),
            "sample": context.sample,
            "other": context.other_name,
            "sets": list(context.sets),
        }
        lines = [] if again else _lines(self._path)
        # Steps of another sample, say, are none of these.
        kept = lines[1:] if lines and lines[0] == self._about else []
        self._made: dict[str, dict[str, Any]] = {line["step"]: line for line in kept}

    def __call__(self, name: str, measure: Callable[[], Rows]) -> Rows:
        """Return the rows of a step, measured here or by an interrupted call."""
        if name in self._made:
            made = self._made[name]
            for each in _BESIDE:
                getattr(self._context, each).extend(made[each])
            self._context.progress()
            return list(made["rows"])
        before = {each: len(getattr(self._context, each)) for each in _BESIDE}
        rows = measure()
        beside = {each: getattr(self._context, each)[count:] for each, count in before.items()}
        self._made[name] = {"step": name, "rows": rows, **beside}
        lines = [self._about, *self._made.values()]
        self._path.parent.mkdir(parents=True, exist_ok=True)
        write_text(self._path, "".join(json.dumps(line, default=float) + "\n" for line in lines))
        return rows

    def complete(self) -> None:
        """Let go of the steps: the table has their rows."""
        self._path.unlink(missing_ok=True)


def _lines(path: Path) -> list[Any]:
    """Return what an interrupted call kept; nothing where it cannot be read."""
    try:
        return [json.loads(line) for line in path.read_text().splitlines()]
    except (OSError, ValueError):
        return []
