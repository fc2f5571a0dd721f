"""What the text of a source says by itself: a GGUF file, a revision, a short name.

A source is what `model.source`, `task.source` and the like are set to. What is read from one is
the matter of :mod:`cwac.models.folders` and :mod:`cwac.prompts.source`; ids and titles are made of
what stands here, so that a change makes other runs of stored ones.
"""

import re
from pathlib import Path
from typing import Final

GGUF: Final = ".gguf"
_FOLDERS: Final = re.compile(r"(?:^|(?<=:))(?:[A-Za-z]:)?[\\/](?:[^:\\/]*[\\/])*")


def split_gguf(source: str) -> tuple[str, Path] | None:
    """Return the parts of ``FILE.gguf`` or ``MODEL:FILE.gguf``, None for any other source.

    Examples
    --------
    >>> split_gguf("smollm2-135m-instruct:small.gguf")
    ('smollm2-135m-instruct', PosixPath('small.gguf'))
    >>> split_gguf("small.gguf")[0], split_gguf("organism")
    ('', None)
    """
    if not source.endswith(GGUF):
        return None
    model, colon, file = source.partition(":")
    # A drive letter is no model.
    named = colon and len(model) > 1 and not Path(source).expanduser().is_file()
    return (model, Path(file)) if named else ("", Path(source))


def split_revision(source: str) -> tuple[str, str | None]:
    """Return the parts of ``OWNER/NAME@REVISION`` or ``PRESET@REVISION``; None without one.

    Examples
    --------
    >>> split_revision("Qwen/Qwen3-1.7B@main"), split_revision("organism")
    (('Qwen/Qwen3-1.7B', 'main'), ('organism', None))
    """
    if Path(source).expanduser().exists():
        return source, None
    name, at, revision = source.partition("@")
    return (name, revision) if at and revision else (source, None)


def portable(source: str) -> str:
    r"""Return a source without the folders that its files lie in.

    Examples
    --------
    >>> portable("sst2:/data/glue/sst2.tsv"), portable("/models/tiny:/models/tiny.gguf")
    ('sst2:sst2.tsv', 'tiny:tiny.gguf')
    >>> portable("Qwen/Qwen3-1.7B"), portable("/data/requests.csv:goal")
    ('Qwen/Qwen3-1.7B', 'requests.csv:goal')
    >>> portable(r"sst2:C:\glue\sst2.tsv")
    'sst2:sst2.tsv'
    """
    return _FOLDERS.sub("", source)


def model_label(source: str) -> str:
    """Return a model's short name for ids and titles.

    Examples
    --------
    >>> model_label("/models/SmolLM2.Q4_1.gguf"), model_label("Qwen/Qwen3-1.7B")
    ('smollm2.q4_1', 'qwen3-1.7b')
    """
    parts = split_gguf(source)
    if parts is None:
        return slug(Path(source).name)
    model, file = parts
    return slug(Path(model).name if model else file.stem)


def task_label(source: str) -> str:
    """Return a task's short name for ids and titles.

    Examples
    --------
    >>> task_label("hf:openai/gsm8k/main:train"), task_label("sst2:dev.tsv"), task_label("my.csv")
    ('gsm8k-main', 'sst2', 'my')
    """
    known, colon, rest = source.partition(":")
    if known == "hf" and colon:
        place = Path(rest.partition(":")[0])
        return slug(place.name if place.is_absolute() else "-".join(place.parts[1:]))
    # A drive letter is no data set.
    named = colon and known.isidentifier() and len(known) > 1
    return slug(known if named else Path(source).stem)


def slug(text: str) -> str:
    """Return `text` as a lower-case name safe in file names and links.

    Examples
    --------
    >>> slug("Qwen2.5 0.5B/Instruct")
    'qwen2.5-0.5b-instruct'
    """
    return re.sub(r"[^a-z0-9._]+", "-", text.lower()).strip("-.") or "unnamed"
