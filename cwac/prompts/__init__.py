"""Requests and examples: reading files, splitting by content, finding near-duplicates."""

from cwac.prompts.duplicates import content_words, near_duplicates, overlap_report
from cwac.prompts.items import (
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
from cwac.prompts.own import read_requests, split_by_content
from cwac.prompts.packing import find_lines
from cwac.prompts.rows import (
    column_of,
    matching,
    read_rows,
    read_source,
    split_source,
    texts_of,
)
from cwac.prompts.sets import PromptSets

__all__ = [
    "KINDS",
    "SPLITS",
    "VACUOUS_COMPLIANCE",
    "Example",
    "Kind",
    "Prompt",
    "PromptSets",
    "Split",
    "column_of",
    "content_words",
    "find_lines",
    "matching",
    "near_duplicates",
    "overlap_report",
    "read_examples",
    "read_requests",
    "read_rows",
    "read_source",
    "split_by_content",
    "split_source",
    "texts_of",
    "vacuous_compliance",
    "write_lines",
]
