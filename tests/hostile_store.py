"""A store whose texts are markdown, HTML and addresses: names, settings, requests, answers."""

import json
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
from store_builder import build_store

from cwac.artifacts import ArtifactStore

HOST = "evil.invalid"
EVIL = (
    f"![i](http://{HOST}/i.png) <img src=http://{HOST}/s.png> <a href='http://{HOST}/a'>t</a> "
    f"[l](http://{HOST}/l) http://{HOST}/u www.{HOST} **b** <b>t</b> $x^2$ :red[r] :material/home: "
    "%{evil}"
)
SHORT = f"<b>t</b> [l](http://{HOST}/l)"
"""Where the name becomes part of a folder's."""
WORDS = ("category", "prompt", "response", "map", "name", "expected", "context_before", "token")
SMALL = {"harmful": 14, "harmless": 6, "lookalike": 6, "task": 6}


def hostile_store(root: Path) -> ArtifactStore:
    """Write a store that loads, in which whatever may be any text is hostile."""
    arms = (("sft", {}), ("cwac", {}), ("cwac", {"projection": EVIL}), (SHORT, {}))
    store = build_store(root, arms=arms, seeds=(0,), experiments=((SHORT, 0.1),), kinds=SMALL)
    for path in sorted(root.rglob("*.parquet")):
        table = pd.read_parquet(path)
        for column in {*WORDS} & {*table.columns}:
            table[column] = table[column].where(table[column].isna(), table[column] + f" {EVIL}")
        if "promoted_tokens" in table:
            table["promoted_tokens"] = json.dumps([[EVIL, 4.2], ["sorry", 3.9]])
        table.to_parquet(path, index=False)
    for sums in root.glob("fits/*/checksums.json"):
        sums.unlink()
    for path in sorted(root.glob("*/run.json")):
        record = json.loads(path.read_text())
        record["provenance"] |= {"device": EVIL, "git_commit": EVIL}
        record["warnings"] = [EVIL]
        for metric in record["metrics"].values():
            metric["title"] = f"{metric['title']} {EVIL}"
        path.write_text(json.dumps(record))
    _attacked(store)
    broken = root / f"broken {EVIL.replace('/', ' ')[:180]}"
    broken.mkdir()
    (broken / "run.json").write_text("{")
    _jobs(root)
    return store


def _attacked(store: ArtifactStore) -> None:
    """Store runs of all but one arm under another attacker; it breaks one arm's model."""
    runs = [run.record for run in store.list_runs() if run.record is not None]
    for record in runs:
        path = store.run_folder(record.run_id) / "run.json"
        path.write_text(json.dumps(_chatting(json.loads(path.read_text()))))
    for record in (record for record in runs if record.variant != "cwac"):
        config = record.config.model_copy(
            update={"training": record.config.training.model_copy(update={"steps": 200})}
        )
        folder = store.run_folder(record.run_id)
        copy = shutil.copytree(folder, folder.parent / config.run_id) / "run.json"
        changed = json.loads(copy.read_text()) | {
            "run_id": config.run_id,
            "experiment_id": config.experiment_id,
            "config": config.model_dump(mode="json"),
        }
        copy.write_text(
            json.dumps(_chatting(changed, 0.3 if "projection" in record.variant else 0.9))
        )


def _chatting(record: dict[str, Any], rate: float = 0.9) -> dict[str, Any]:
    for name in ("helpfulness", "task_accuracy"):
        record["metrics"][name] |= {"value": rate, "low": 0.2, "high": 0.95}
    return record


def _jobs(root: Path) -> None:
    for number, status in enumerate(
        ({"state": "failed", "message": EVIL}, {"state": "done", "runs": [EVIL]})
    ):
        job = root / ".jobs" / f"20260101-00000{number}-aaaa"
        job.mkdir(parents=True)
        request: dict[str, Any] = {"title": EVIL, "command": EVIL}
        (job / "request.json").write_text(json.dumps(request))
        (job / "status.json").write_text(json.dumps(status))
        (job / "log.txt").write_text(EVIL)
