"""A store whose texts are markdown, HTML and addresses: names, settings, requests, answers."""

import json
from pathlib import Path
from typing import Any

import pandas as pd
from store_builder import build_store

from cwac.artifacts import ArtifactStore

HOST = "evil.invalid"
EVIL = (
    f"![i](http://{HOST}/i.png) <img src=http://{HOST}/s.png> <a href='http://{HOST}/a'>t</a> "
    f"[l](http://{HOST}/l) http://{HOST}/u www.{HOST} **b** <b>t</b> $x^2$ :red[r] :material/home:"
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
    for path in sorted(root.glob("*/run.json")):
        record = json.loads(path.read_text())
        record["provenance"] |= {"device": EVIL, "git_commit": EVIL}
        record["warnings"] = [EVIL]
        for metric in record["metrics"].values():
            metric["title"] = f"{metric['title']} {EVIL}"
        path.write_text(json.dumps(record))
    broken = root / f"broken {EVIL.replace('/', ' ')[:180]}"
    broken.mkdir()
    (broken / "run.json").write_text("{")
    _jobs(root)
    return store


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
