"""The data sets and judges that can be named.

Apart from the catalogue, which loads torch: ``cwac list`` answers at once.
"""

from cwac.judges.known import JUDGES
from cwac.judges.phrases import PHRASE_LISTS
from cwac.messages import DatasetEntry, JudgeEntry
from cwac.prompts import DATASETS


def known_datasets() -> tuple[DatasetEntry, ...]:
    """Return every data set with a ready mapping."""
    return tuple(
        DatasetEntry(
            name=dataset.name,
            title=dataset.title,
            use=tuple(f"--{role}" for role in dataset.roles),
            columns=" or ".join(" + ".join(layout.columns) for layout in dataset.layouts),
            check=dataset.check,
            hub=f"hf:{dataset.hub}:{dataset.split}",
            source=dataset.source,
            instruction=dataset.instruction,
        )
        for dataset in DATASETS.values()
    )


def known_judges() -> tuple[JudgeEntry, ...]:
    """Return every judge that can be named."""
    return tuple(
        JudgeEntry(
            name=judge.name,
            title=judge.title,
            form=judge.form,
            tells=judge.about,
            model=judge.model,
            source=judge.source,
            phrases=PHRASE_LISTS[judge.name].phrases if judge.form == "phrases" else (),
        )
        for judge in JUDGES.values()
    )
