"""A user's own file of examples as a task."""

import hashlib
from pathlib import Path
from typing import Final, Literal

import pandas as pd

from cwac.config import TaskConfig
from cwac.errors import DataError
from cwac.interfaces import Task
from cwac.judges import Judge
from cwac.prompts import Example, column_of, content_words, read_rows, texts_of
from cwac.tasks.marking import FINAL_ANSWER, chosen_label, distinct, last_number

Check = Literal["label", "number", "helpfulness"]
TEST_SHARE: Final = 0.2
MAX_TEST: Final = 2000
MAX_LABELS: Final = 20
"""More distinct answers than these are not labels."""
ANSWER_COLUMNS: Final = ("answer", "output", "response", "completion", "label", "target")


class FileTask(Task):
    """Examples of a user's file.

    How an answer is checked follows from the file: few distinct answers are labels, answers
    that are or end in a number are compared by it, all others are judged for helpfulness.
    """

    name = "file"
    title = "Examples of your own"

    def is_correct(self, example: Example, response: str, judge: Judge) -> bool:
        """Whether the response is right, by the file's check."""
        if example.choices is not None:
            return chosen_label(response, example.choices) == example.answer
        if self.extra.get("check") == "number":
            return last_number(response) == last_number(example.answer)
        return judge.judge(example.prompt, response).outcome == "compliance"


def check_of(answers: list[str]) -> Check:
    """Return how a file's answers can be checked.

    Examples
    --------
    >>> check_of(["positive", "negative"] * 5)
    'label'
    >>> check_of(["3 + 4 = 7. #### 7", "#### 12", "#### 3"])
    'number'
    """
    labels = distinct(answers)
    if len(labels) <= MAX_LABELS and len(labels) <= len(answers) / 4:
        return "label"
    marked = sum(FINAL_ANSWER in answer or _is_number(answer) for answer in answers)
    return "number" if marked >= 0.95 * len(answers) else "helpfulness"


def _is_number(text: str) -> bool:
    try:
        float(text.replace(",", ""))
    except ValueError:
        return False
    return True


def read_file_task(config: TaskConfig) -> FileTask:
    """Read a file of examples and divide it by content into training and test.

    A fifth of the distinct examples, at most 2,000, is for testing. Which ones depends on their
    text alone, so that appended rows move none.

    Raises
    ------
    DataError
        The file or a column is wrong, or there are fewer than 10 complete examples.
    """
    path = Path(config.source)
    rows = _rows(path, config)
    prompts = texts_of(rows, column_of(rows, config.prompt_column, path))
    answers = rows[_answer_column(rows, config.answer_column, path)]
    examples: dict[frozenset[str], Example] = {}
    for number, (prompt, said) in enumerate(zip(prompts, answers, strict=True)):
        answer = str(said or "").strip()
        if prompt and answer:
            example = Example(id=f"row-{number}", prompt=prompt, answer=answer)
            examples.setdefault(content_words(prompt), example)
    if len(examples) < 10:
        raise DataError(f"{path} has {len(examples)} complete examples; at least 10 are needed.")
    ordered = sorted(examples.values(), key=_place)
    check = check_of([example.answer for example in ordered])
    if check == "label":
        choices = distinct(example.answer for example in ordered)
        ordered = [example.model_copy(update={"choices": choices}) for example in ordered]
    tested = min(max(round(TEST_SHARE * len(ordered)), 1), MAX_TEST)
    return FileTask(ordered[tested:], ordered[:tested], check=check)


def _rows(path: Path, config: TaskConfig) -> pd.DataFrame:
    rows = read_rows(path)
    named = [name for name in (config.prompt_column, config.answer_column) if name is not None]
    if any(name.isdigit() and name not in rows.columns for name in named):
        return read_rows(path, header=False)
    return rows


def _answer_column(rows: pd.DataFrame, column: str | None, path: Path) -> str:
    if column is None:
        usual = next((name for name in ANSWER_COLUMNS if name in rows.columns), None)
        if usual is None:
            found = ", ".join(repr(str(name)) for name in rows.columns)
            raise DataError(f"{path}: name the answers with --answer-column; columns: {found}.")
        return usual
    return column_of(rows, column, path)


def _place(example: Example) -> str:
    return hashlib.sha256(example.prompt.encode()).hexdigest()
