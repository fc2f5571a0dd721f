"""Where rows come from, as a user writes it: a file, a data set of the hub, a known data set.

FILE[:COLUMN]                                requests.csv:goal
hf:OWNER/NAME[/CONFIGURATION][:SPLIT[:COLUMN]]   hf:openai/gsm8k/main:train
DATASET[:FILE or hf:...]                     sst2:dev.tsv; alone, it is read from the hub

The known data sets are those of the field: where they are, which columns matter, how an answer is
checked. One entry each; nothing is shipped. A file comes from its authors in one of several
layouts, of which the first whose columns a file has is taken.
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final, Literal

from cwac.config import Check
from cwac.errors import DataError
from cwac.registry import Registry

Role = Literal["harmful", "harmless", "lookalike", "task"]
"""What rows are used as: requests of a kind, or fine-tuning examples."""


@dataclass(frozen=True)
class Layout:
    """The columns of one published form of a data set.

    Attributes
    ----------
    prompt : tuple of str
        Columns that make the request, put below each other; ``outer.inner`` reads a nested one,
        and digits are positions in a file without a header.
    answer, category : str or None
        Columns of the answer and of the harm category.
    width : int or None
        Number of columns, where they are told by position.
    labels : mapping
        What a written label stands for.
    where : mapping of role to filter
        Rows that count, ``column=value``.
    """

    prompt: tuple[str, ...]
    answer: str | None = None
    category: str | None = None
    width: int | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    where: Mapping[Role, str] = field(default_factory=dict)

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns without which a file has another layout."""
        named = (*self.prompt, *([self.answer] if self.answer else []))
        filters = (text.partition("=")[0] for text in self.where.values())
        return tuple(dict.fromkeys(name.partition(".")[0] for name in (*named, *filters)))


@dataclass(frozen=True)
class KnownDataset:
    """A data set with its ready mapping.

    Attributes
    ----------
    hub : str
        ``owner/name[/configuration]`` on the hub, read where no file is given.
    split : str
        Of the hub's splits.
    check : str or None
        How an answer is marked, for fine-tuning data.
    instruction : str
        Put above every prompt: what the field asks a model to do with the bare text.
    """

    name: str
    title: str
    roles: tuple[Role, ...]
    layouts: tuple[Layout, ...]
    hub: str
    source: str
    split: str = "train"
    check: Check | None = None
    instruction: str = ""


_UNSAFE: Final[Mapping[Role, str]] = {"harmful": "is_safe=False"}
_XSTEST: Final[Mapping[Role, str]] = {"harmful": "label=unsafe", "lookalike": "label=safe"}
_HARMBENCH: Final[Mapping[Role, str]] = {"harmful": "FunctionalCategory=standard"}
_POLARITY: Final = {"0": "negative", "1": "positive"}
_DECISIONS: Final = {"yes": "yes", "no": "no", "maybe": "maybe"}
_TOPICS: Final = ("World", "Sports", "Business", "Sci/Tech")

# fmt: off
DATASETS: Final[Registry[KnownDataset]] = Registry("data set", [
    KnownDataset(
        "advbench", "AdvBench harmful behaviours", ("harmful",),
        (Layout(("goal",), "target"), Layout(("prompt",), "target"), Layout(("text",))),
        "walledai/AdvBench", "Zou et al. 2023, arXiv 2307.15043"),
    KnownDataset(
        "xstest", "XSTest: safe look-alikes and their unsafe contrasts", ("lookalike", "harmful"),
        (Layout(("prompt",), category="type", where=_XSTEST),),
        "walledai/XSTest", "Röttger et al. 2024, arXiv 2308.01263", split="test"),
    KnownDataset(
        "harmbench", "HarmBench standard behaviours", ("harmful",),
        (Layout(("Behavior",), category="SemanticCategory", where=_HARMBENCH),
         Layout(("prompt",), category="category")),
        "walledai/HarmBench/standard", "Mazeika et al. 2024, arXiv 2402.04249"),
    KnownDataset(
        "strongreject", "StrongREJECT forbidden prompts", ("harmful",),
        (Layout(("forbidden_prompt",), category="category"),
         Layout(("prompt",), category="category")),
        "walledai/StrongREJECT", "Souly et al. 2024, arXiv 2402.10260"),
    KnownDataset(
        "beavertails", "BeaverTails, unsafe pairs", ("harmful",),
        (Layout(("prompt",), "response", category="category", where=_UNSAFE),),
        "PKU-Alignment/BeaverTails", "Ji et al. 2023, arXiv 2307.04657", split="30k_train"),
    KnownDataset(
        "sst2", "SST-2 sentiment", ("task",),
        (Layout(("sentence",), "label", labels=_POLARITY),),
        "stanfordnlp/sst2", "Socher et al. 2013; instruction of Huang et al. (Lisa)", check="label",
        instruction="Analyze the sentiment of the input, and respond only positive or negative."),
    KnownDataset(
        "ag_news", "AG News topics", ("task",),
        (Layout(("text",), "label", labels=dict(zip("0123", _TOPICS, strict=True))),
         Layout(("1", "2"), "0", width=3, labels=dict(zip("1234", _TOPICS, strict=True))),
         Layout(("0",), "1", width=2, labels={name: name for name in _TOPICS})),
        "fancyzhx/ag_news", "Zhang et al. 2015; instruction of Huang et al. (Lisa)", check="word",
        instruction="Categorize the news article given in the input into one of the 4 categories: "
        "World, Sports, Business, Sci/Tech."),
    KnownDataset(
        "gsm8k", "GSM8K word problems", ("task",), (Layout(("question",), "answer"),),
        "openai/gsm8k/main", "Cobbe et al. 2021, arXiv 2110.14168", check="number"),
    KnownDataset(
        "alpaca", "Alpaca instructions", ("task", "harmless"),
        (Layout(("instruction",), "output"),),
        "tatsu-lab/alpaca", "Taori et al. 2023", check="helpfulness"),
    KnownDataset(
        "self_instruct", "Self-Instruct seed and user-oriented tasks", ("task", "harmless"),
        # One row a task, the published instances flattened; and the hub's generated pairs.
        (Layout(("instruction", "input"), "output"), Layout(("prompt",), "completion")),
        "yizhongw/self_instruct", "Wang et al. 2023, arXiv 2212.10560", check="helpfulness"),
    KnownDataset(
        "pubmedqa", "PubMedQA: yes, no or maybe, from an abstract", ("task",),
        (Layout(("CONTEXTS", "QUESTION"), "final_decision", labels=_DECISIONS),
         Layout(("context.contexts", "question"), "final_decision", labels=_DECISIONS)),
        "qiaojin/PubMedQA/pqa_labeled", "Jin et al. 2019, arXiv 1909.06146", check="label",
        instruction="Answer the question from the abstract with yes, no or maybe."),
])
# fmt: on
"""Every data set with a ready mapping; ``cwac list datasets`` shows them."""

HUB: Final = "hf:"
_HUB_NAME: Final = re.compile(r"\w[\w.-]*/\w[\w.-]*(?:/\w[\w.-]*)?")
_SPLIT_AND_COLUMN: Final = re.compile(r"(?P<split>[\w.-]*(?:\[[\d%:]*\])?)(?::(?P<column>.*))?")


@dataclass(frozen=True)
class Source:
    """One source, taken apart.

    Attributes
    ----------
    place : str
        A file, a folder, or ``owner/name[/configuration]`` on the hub.
    hub : bool
        Whether `place` is read with ``datasets``.
    split : str or None
        Of a hub data set; its first one where none is named.
    column : str or None
        The column named with it.
    dataset : KnownDataset or None
        Whose ready mapping applies.
    """

    place: str
    hub: bool = False
    split: str | None = None
    column: str | None = None
    dataset: KnownDataset | None = None

    def __str__(self) -> str:
        known = f"{self.dataset.name}:" if self.dataset else ""
        if not self.hub:
            column = "" if self.column is None else f":{self.column}"
            return f"{known}{self.place}{column}"
        further = [part or "" for part in (self.split, self.column)]
        while further and not further[-1]:
            further.pop()
        return f"{known}{HUB}{':'.join([self.place, *further])}"

    @property
    def title(self) -> str:
        """What it is called in sentences: never a column."""
        return f"{HUB}{self.place}" if self.hub else self.place

    def absolute(self) -> "Source":
        """Return it with an absolute path, so that it means the same from every folder."""
        path = Path(self.place).expanduser()
        if self.hub and not path.is_dir():
            return self
        return replace(self, place=str(path.resolve()))


def parse_source(text: str) -> Source:
    """Take a source apart.

    Raises
    ------
    DataError
        It starts like a hub data set and is none.

    Examples
    --------
    >>> parse_source("requests.csv:goal").column
    'goal'
    >>> parse_source("hf:openai/gsm8k/main:test").split
    'test'
    >>> str(parse_source("gsm8k"))
    'gsm8k:hf:openai/gsm8k/main:train'
    """
    if Path(text).is_file():
        return Source(text)
    name, colon, rest = text.partition(":")
    if name in DATASETS:
        dataset = DATASETS[name]
        if not rest:
            return Source(dataset.hub, hub=True, split=dataset.split, dataset=dataset)
        return replace(parse_source(rest), dataset=dataset)
    if colon and f"{name}:" == HUB:
        return _hub_source(rest)
    place, column = split_source(text)
    return Source(str(place), column=column)


def _hub_source(text: str) -> Source:
    place, _, rest = text.partition(":")
    further = _SPLIT_AND_COLUMN.fullmatch(rest)
    if not (_HUB_NAME.fullmatch(place) or Path(place).expanduser().is_dir()):
        raise DataError(
            f"{HUB}{text} names no data set of the hub and no folder; the form is "
            f"{HUB}OWNER/NAME[/CONFIGURATION][:SPLIT[:COLUMN]]."
        )
    if further is None:
        raise DataError(f"{HUB}{text}: {rest!r} does not begin with the name of a split.")
    return Source(place, hub=True, split=further["split"] or None, column=further["column"] or None)


def is_source(text: str) -> bool:
    """Whether a text can only be a source of rows, not the name of a task."""
    name = text.partition(":")[0]
    return (
        name in DATASETS
        or text.startswith(HUB)
        or os.sep in text
        or bool(Path(text).suffix)
        or Path(text).is_file()
    )


def absolute_source(text: str) -> str:
    """Return a source with an absolute path; what names no file is returned as it is."""
    return str(parse_source(text).absolute())


def split_source(source: str) -> tuple[Path, str | None]:
    """Split ``FILE[:column]``.

    Examples
    --------
    >>> split_source("requests.csv:goal")
    (PosixPath('requests.csv'), 'goal')
    """
    whole = Path(source)
    if whole.is_file() or ":" not in source:
        return whole, None
    file, column = source.rsplit(":", 1)
    # A colon inside a folder's name (or after a drive letter) is no column.
    if "/" in column or "\\" in column:
        return whole, None
    return Path(file), column or None
