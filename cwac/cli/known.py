"""The data sets and judges that can be named, as plain data; nothing heavy is loaded."""

from typing import Any

from cwac.judges.known import JUDGES
from cwac.judges.phrases import PHRASE_LISTS
from cwac.prompts import DATASETS


def known_datasets() -> list[dict[str, Any]]:
    """Return every data set with a ready mapping."""
    return [
        {
            "name": dataset.name,
            "title": dataset.title,
            "use": [f"--{role}" for role in dataset.roles],
            "columns": " or ".join(" + ".join(layout.columns) for layout in dataset.layouts),
            "check": dataset.check,
            "hub": f"hf:{dataset.hub}:{dataset.split}",
            "source": dataset.source,
            "instruction": dataset.instruction,
        }
        for dataset in DATASETS.values()
    ]


def known_judges() -> list[dict[str, Any]]:
    """Return every judge that can be named."""
    return [
        {
            "name": judge.name,
            "title": judge.title,
            "form": judge.form,
            "tells": judge.about,
            "model": judge.model,
            "source": judge.source,
            "phrases": list(PHRASE_LISTS[judge.name].phrases) if judge.form == "phrases" else [],
        }
        for judge in JUDGES.values()
    ]
