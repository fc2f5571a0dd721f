"""Requests and examples: reading files, splitting by content, finding near-duplicates."""

from cwac.prompts.duplicates import content_words, near_duplicates
from cwac.prompts.items import (
    IDENTITY_ANSWER,
    IDENTITY_REQUEST,
    KINDS,
    SPLITS,
    VACUOUS_COMPLIANCE,
    Example,
    Kind,
    Prompt,
    Split,
    read_examples,
    vacuous_compliance,
    write_lines,
)
from cwac.prompts.mapping import Mapped, MappedRow, RowProblem, map_rows
from cwac.prompts.overlap import (
    bare_text,
    overlap_notes,
    overlap_report,
    refuse_same,
    same_notes,
    split_same,
)
from cwac.prompts.packing import find_lines
from cwac.prompts.preview import columns_of, describe_sources
from cwac.prompts.rows import column_of, matching, read_rows, texts_of
from cwac.prompts.sets import PromptSets, read_requests, split_by_content
from cwac.prompts.source import (
    DATASETS,
    KnownDataset,
    Role,
    absolute_source,
    is_source,
    parse_source,
    split_source,
)

__all__ = [
    "DATASETS",
    "IDENTITY_ANSWER",
    "IDENTITY_REQUEST",
    "KINDS",
    "SPLITS",
    "VACUOUS_COMPLIANCE",
    "Example",
    "Kind",
    "KnownDataset",
    "Mapped",
    "MappedRow",
    "Prompt",
    "PromptSets",
    "Role",
    "RowProblem",
    "Split",
    "absolute_source",
    "bare_text",
    "column_of",
    "columns_of",
    "content_words",
    "describe_sources",
    "find_lines",
    "is_source",
    "map_rows",
    "matching",
    "near_duplicates",
    "overlap_notes",
    "overlap_report",
    "parse_source",
    "read_examples",
    "read_requests",
    "read_rows",
    "refuse_same",
    "same_notes",
    "split_by_content",
    "split_same",
    "split_source",
    "texts_of",
    "vacuous_compliance",
    "write_lines",
]
