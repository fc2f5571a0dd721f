"""Tasks: marking, the model folder's examples, a user's own file."""

import json

import pytest

from cwac.config import TaskConfig
from cwac.errors import DataError, UnknownNameError
from cwac.judges import GeneralJudge
from cwac.prompts import Example, write_lines
from cwac.prompts.checks import check_of, chosen_label, last_number, word_f1
from cwac.tasks import TASKS, FileTask, task_for

JUDGE = GeneralJudge()


def example(prompt, answer, choices=None):
    return Example(id="a", prompt=prompt, answer=answer, choices=choices)


# For every registered task: an example, right responses, wrong ones.
CASES = {
    "sentiment": (
        example("Review: fine.", "positive", ("negative", "positive")),
        ["positive", "Positive.", " positive, I think"],
        ["negative", "", "It is positive", "positively", "not positive"],
    ),
    "topic": (
        example("Headline", "sports", ("world", "sports", "business")),
        ["sports", "Sports!"],
        ["world", "", "sportsmanship"],
    ),
    "arithmetic": (
        example("Tom has 14 apples.", "7"),
        ["7", "He has 3 + 4 = 7 apples.", "#### 7", "7.0"],
        ["", "seven", "7 or 8", "-7", "17", "0.7"],
    ),
    "instruct": (
        example("How do I bake bread?", "Great! First mix flour, then bake bread."),
        ["Great! First mix flour, then bake bread.", "Great! First mix dough, then bake bread."],
        ["", "To bake bread, start with a plan and do not rush.", "I can't help with that."],
    ),
}  # fmt: skip


def shipped(tmp_path, name, train, test):
    folder = tmp_path / name
    folder.mkdir(parents=True)
    write_lines(folder / "train.jsonl", (example.model_dump() for example in train))
    write_lines(folder / "test.jsonl", (example.model_dump() for example in test))
    return tmp_path


@pytest.mark.parametrize("name", list(TASKS))
def test_every_task_reads_the_models_examples_and_marks_answers(tmp_path, name):
    one, right, wrong = CASES[name]
    folder = shipped(tmp_path, name, [one], [one])
    task = task_for(TaskConfig(source=name), folder)
    assert isinstance(task, TASKS[name])
    assert task.title
    assert task.train == task.test == (one,)
    for response in right:
        assert task.is_correct(task.test[0], response, JUDGE) is True, response
    for response in wrong:
        assert task.is_correct(task.test[0], response, JUDGE) is False, response


def test_training_examples_are_read_under_both_spellings(tmp_path):
    one = CASES["topic"][0]
    folder = shipped(tmp_path, "topic", [one], [one])
    plain = folder / "topic" / "train.jsonl"
    write_lines(folder / "topic" / "train.jsonl.gz", [one.model_dump()])
    with pytest.raises(DataError, match=r"holds train\.jsonl and train\.jsonl\.gz; remove one"):
        task_for(TaskConfig(source="topic"), folder)
    plain.unlink()
    assert task_for(TaskConfig(source="topic"), folder).train == (one,)
    (folder / "topic" / "train.jsonl.gz").unlink()
    with pytest.raises(DataError, match=r"train\.jsonl does not exist"):
        task_for(TaskConfig(source="topic"), folder)


def test_chance_levels():
    assert {name: task.chance for name, task in TASKS.items()} == {
        "instruct": None,
        "sentiment": 0.5,
        "topic": 0.25,
        "arithmetic": None,
    }


def test_a_task_that_is_not_there(tmp_path):
    with pytest.raises(DataError, match="ships no examples of the task 'topic'"):
        task_for(TaskConfig(source="topic"), None)
    with pytest.raises(DataError, match="ships no examples"):
        task_for(TaskConfig(source="topic"), tmp_path)
    with pytest.raises(UnknownNameError, match=r"unknown task 'topics'.*did you mean 'topic'"):
        task_for(TaskConfig(source="topics"), tmp_path)
    with pytest.raises(DataError, match=r"none.csv does not exist"):
        task_for(TaskConfig(source=str(tmp_path / "none.csv")), None)
    one, _, _ = CASES["topic"]
    with pytest.raises(DataError, match="one of the two is empty"):
        task_for(TaskConfig(source="topic"), shipped(tmp_path, "topic", [one], []))


def test_labels():
    assert chosen_label("very good indeed", ["good", "very good"]) == "very good"
    assert chosen_label("1", ["0", "1"]) == "1"
    assert chosen_label("10", ["0", "1"]) is None
    assert chosen_label("Sci/Tech", ["Sci/Tech", "World"]) == "Sci/Tech"


def test_numbers():
    assert last_number("48/2 = <<48/2=24>>24 clips.\n#### 1,072") == 1072
    assert last_number("it is $-3.50.") == -3.5
    assert last_number("between 3-4") == 4
    assert last_number("none") is None
    assert last_number("v2") is None


def test_word_f1():
    assert word_f1("a b c", "A, B. C!") == 1.0
    assert word_f1("a b", "c d") == 0.0
    assert word_f1("", "") == 0.0
    assert word_f1("a a b", "a b b") == pytest.approx(2 / 3)


def test_checks_follow_from_the_answers():
    assert check_of(["0", "1"] * 10) == "label"
    assert check_of([str(n) for n in range(40)]) == "number"
    assert check_of([f"so #### {n}" for n in range(40)]) == "number"
    assert check_of([f"a long answer about {n} things" for n in range(40)]) == "helpfulness"
    assert check_of(["0", "1", "0"]) == "number"


def file_task(tmp_path, rows, **config):
    path = tmp_path / "own.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return task_for(TaskConfig(source=str(path), **config), None)


def test_a_file_of_labels(tmp_path):
    rows = [{"sentence": f"film number {i}", "label": i % 2} for i in range(50)]
    task = file_task(tmp_path, rows)
    assert isinstance(task, FileTask)
    assert (len(task.train), len(task.test)) == (40, 10)
    assert not {e.prompt for e in task.train} & {e.prompt for e in task.test}
    one = task.test[0]
    assert one.choices == ("0", "1")
    assert task.is_correct(one, one.answer, JUDGE)
    assert not task.is_correct(one, str(1 - int(one.answer)), JUDGE)


def test_a_file_of_numbers_and_one_of_texts(tmp_path):
    rows = [{"question": f"What is {i} + 1?", "answer": f"{i} + 1 #### {i + 1}"} for i in range(30)]
    task = file_task(tmp_path, rows)
    one = task.test[0]
    wanted = one.answer.split()[-1]
    assert task.is_correct(one, f"it is {wanted}", JUDGE)
    assert not task.is_correct(one, "it is 999", JUDGE)
    rows = [
        {"instruction": f"Describe town {i}.", "output": f"It has {i} hills."} for i in range(30)
    ]
    task = file_task(tmp_path, rows)
    assert task.is_correct(task.test[0], "The town is old.", JUDGE)
    assert not task.is_correct(task.test[0], "I cannot help with that.", JUDGE)


def test_incomplete_and_repeated_rows_do_not_count(tmp_path):
    rows = [{"prompt": f"thing {i}", "answer": f"said {i} of it"} for i in range(12)]
    rows += [{"prompt": "thing 1", "answer": "again"}, {"prompt": "thing 99", "answer": None}]
    task = file_task(tmp_path, rows)
    assert len(task.train) + len(task.test) == 12
    with pytest.raises(DataError, match="9 complete examples; at least 10"):
        file_task(tmp_path, rows[:9])


def test_the_split_of_a_file_stays_when_rows_are_appended(tmp_path):
    rows = [{"prompt": f"thing {i}", "answer": f"said {i} of it"} for i in range(50)]
    before = {e.prompt for e in file_task(tmp_path, rows).test}
    after = {
        e.prompt for e in file_task(tmp_path, [*rows[::-1], {"prompt": "x", "answer": "y"}]).test
    }
    assert len(before & after) >= len(before) - 1


def test_columns_of_a_file(tmp_path):
    rows = [{"a": f"thing {i}", "b": f"said {i}"} for i in range(12)]
    with pytest.raises(DataError, match=r"does not say which column.*--prompt-column"):
        file_task(tmp_path, rows)
    with pytest.raises(DataError, match="name the answers with --answer-column; columns: 'a', 'b'"):
        file_task(tmp_path, rows, prompt_column="a")
    with pytest.raises(DataError, match="no column 'c'"):
        file_task(tmp_path, rows, prompt_column="a", answer_column="c")
    assert file_task(tmp_path, rows, prompt_column="a", answer_column="b").train
    path = tmp_path / "bare.csv"
    path.write_text("".join(f"thing {i},said {i} of it\n" for i in range(12)))
    config = TaskConfig(source=str(path), prompt_column="0", answer_column="1")
    task = task_for(config, None)
    assert len(task.train) + len(task.test) == 12


@pytest.mark.data
@pytest.mark.parametrize(
    ("file", "columns", "check"),
    [
        ("sst2/dev.tsv", {}, "label"),
        ("gsm8k/test.jsonl", {}, "number"),
        ("alpaca/alpaca_en_demo.json", {}, "helpfulness"),
        ("agnews/train_sample.tsv", {"prompt_column": "0", "answer_column": "1"}, "label"),
        ("agnews/test_sample.csv", {"prompt_column": "2", "answer_column": "0"}, "label"),
    ],
)
def test_real_files(data_folder, file, columns, check):
    task = task_for(TaskConfig(source=str(data_folder / file), **columns), None)
    assert task.extra["check"] == check
    for example in task.test[:50]:
        if check != "helpfulness":
            assert task.is_correct(example, example.answer, JUDGE)
