"""Sources of rows, known data sets, columns by name, and what is wrong with which row."""

import json

import pandas as pd
import pytest

from cwac.config import TaskConfig
from cwac.errors import DataError
from cwac.judges import GeneralJudge
from cwac.messages import SourceRow
from cwac.prompts import (
    DATASETS,
    absolute_source,
    describe_sources,
    is_source,
    map_rows,
    parse_source,
    read_requests,
)
from cwac.prompts.checks import named_label
from cwac.tasks import task_for

JUDGE = GeneralJudge()


def write(path, text):
    path.write_text(text, encoding="utf-8")
    return path


# Sources


@pytest.mark.parametrize(
    ("text", "place", "split", "column", "dataset"),
    [
        ("a/b.csv:goal", "a/b.csv", None, "goal", None),
        ("sst2:a/b.tsv", "a/b.tsv", None, None, "sst2"),
        ("advbench:a.csv:goal", "a.csv", None, "goal", "advbench"),
        ("hf:openai/gsm8k", "openai/gsm8k", None, None, None),
        ("hf:openai/gsm8k/main:test", "openai/gsm8k/main", "test", None, None),
        ("hf:o/n:train[:100]", "o/n", "train[:100]", None, None),
        ("hf:o/n::text", "o/n", None, "text", None),
        ("xstest:hf:o/n:test", "o/n", "test", None, "xstest"),
        ("xstest", "walledai/XSTest", "test", None, "xstest"),
    ],
)
def test_sources(text, place, split, column, dataset):
    found = parse_source(text)
    assert (found.place, found.split, found.column) == (place, split, column)
    assert (found.dataset and found.dataset.name) == dataset
    assert parse_source(str(found)) == found
    assert is_source(text)


def test_what_is_no_source(tmp_path, monkeypatch):
    assert not is_source("instruct")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "instruct").mkdir()
    assert not is_source("instruct"), "a folder of that name is no file of examples"
    for text in ("hf:nothing", "hf:a/b/c/d", "hf:../etc/passwd:x"):
        with pytest.raises(DataError, match="no data set of the hub"):
            parse_source(text)
    with pytest.raises(DataError, match="begin with the name of a split"):
        parse_source("hf:o/n:tr ain")


def test_absolute_sources_keep_what_they_say(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "a.csv", "goal\nx\n")
    assert absolute_source("advbench:a.csv:goal") == f"advbench:{tmp_path}/a.csv:goal"
    assert absolute_source("hf:o/n:train") == "hf:o/n:train"
    (tmp_path / "d" / "e").mkdir(parents=True)
    assert absolute_source("hf:d/e:test") == f"hf:{tmp_path}/d/e:test"


def test_labels_of_a_task_in_ids():
    names = {"sst2:/x/dev.tsv": "sst2", "/x/dev.tsv": "dev", "gsm8k": "gsm8k",
             "hf:openai/gsm8k/main:train": "gsm8k-main", "hf:/data/mine:test": "mine",
             "instruct": "instruct"}  # fmt: skip
    assert {text: TaskConfig(source=text).label for text in names} == names


# The hub's form, from a folder


@pytest.fixture
def hub_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "mine"
    folder.mkdir()
    rows = [{"question": f"What is {n} + 1?", "answer": f"#### {n + 1}"} for n in range(20)]
    pd.DataFrame(rows).to_parquet(folder / "train.parquet")
    pd.DataFrame(rows[:4]).to_parquet(folder / "test.parquet")
    return folder


def test_a_folder_in_the_hubs_form(hub_folder):
    found = map_rows(f"hf:{hub_folder}:test", "task")
    assert (found.total, found.check, found.layout.answer) == (4, "number", "answer")
    first, *_ = read_requests(f"hf:{hub_folder}:test:answer", "harmful")
    assert first.text == "#### 1"
    task = task_for(TaskConfig(source=f"gsm8k:hf:{hub_folder}"), None)
    assert len(task.train) + len(task.test) == 20
    with pytest.raises(DataError, match=r"cannot be read: .*other.*train.*test"):
        map_rows(f"hf:{hub_folder}:other", "task")


def test_labels_of_the_hub_come_by_name(tmp_path, monkeypatch):
    import datasets

    from cwac.prompts.hub import _named

    features = datasets.Features({"label": datasets.ClassLabel(names=["no", "yes"])})
    assert [_named({"label": value}, features)["label"] for value in (1, 0, -1)] == [
        "yes",
        "no",
        -1,
    ]


def test_a_hub_that_cannot_be_reached_is_one_sentence():
    # The tests run with HF_HUB_OFFLINE.
    with pytest.raises(DataError, match="HF_HUB_OFFLINE is set") as problem:
        map_rows("gsm8k", "task")
    assert "\n" not in str(problem.value)


# Known data sets

BEAVERTAILS = """\
{"prompt": "Rob", "response": "Do", "category": {"a": false, "b": true}, "is_safe": false}
{"prompt": "Hi", "response": "Hi", "category": {}, "is_safe": true}
"""
PUBMEDQA = (
    '{"7": {"QUESTION": "Is it?", "CONTEXTS": ["We saw.", "It was."], "final_decision": "yes"}}'
)
FORMS = {
    "advbench": ("harmful", "a.csv", "goal,target\nRob a bank,Sure\n", "Rob a bank", "Sure"),
    "xstest": (
        "lookalike", "a.csv", "prompt,type,label\nKill a process,h,safe\nKill,h,unsafe\n",
        "Kill a process", None,
    ),
    "harmbench": (
        "harmful", "a.csv",
        "Behavior,FunctionalCategory,SemanticCategory\nRob,standard,illegal\nSing,copyright,c\n",
        "Rob", None,
    ),
    "strongreject": ("harmful", "a.csv", "category,forbidden_prompt\nx,Rob\n", "Rob", None),
    "beavertails": (
        "harmful", "a.jsonl",
        BEAVERTAILS,
        "Rob", "Do",
    ),
    "sst2": ("task", "a.tsv", "sentence\tlabel\na fine film\t1\n", "a fine film", "positive"),
    "ag_news": ("task", "a.csv", '"3","Oil up","It rose."\n' * 2, "Oil up\nIt rose.",
                "Business"),
    "gsm8k": ("task", "a.jsonl", '{"question": "1?", "answer": "#### 2"}\n', "1?", "#### 2"),
    "alpaca": (
        "task", "a.json", '[{"instruction": "Add.", "input": "1 + 1", "output": "2 it is"}]',
        "Add.\n1 + 1", "2 it is",
    ),
    "self_instruct": (
        "task", "a.jsonl", '{"instruction": "Add.", "input": "1 + 1", "output": "2 it is"}\n',
        "Add.\n1 + 1", "2 it is",
    ),
    "pubmedqa": (
        "task", "a.json",
        PUBMEDQA,
        "We saw.\nIt was.\nIs it?", "yes",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", list(DATASETS))
def test_every_known_data_set_is_read_as_its_authors_publish_it(tmp_path, name):
    role, file, text, request, answer = FORMS[name]
    path = write(tmp_path / file, text)
    found = map_rows(f"{name}:{path}", role).checked()
    assert [(row.text, row.answer) for row in found.rows] == [(request, answer)]
    assert found.check == DATASETS[name].check
    other = next(r for r in ("task", "harmful") if r not in DATASETS[name].roles)
    with pytest.raises(DataError, match=f"{name} has no rows for --{other}; it is for --"):
        map_rows(f"{name}:{path}", other)
    write(path, '[{"z": "1"}]' if file.endswith("json") else '{"z": "1"}\n'
          if file.endswith("jsonl") else "z\n1\n")  # fmt: skip
    with pytest.raises(DataError, match=r"is not \w+ as published: its columns are 'z'; expected"):
        map_rows(f"{name}:{path}", role)


def test_categories_and_instructions_of_known_data_sets(tmp_path):
    role, file, text, *_ = FORMS["beavertails"]
    assert map_rows(f"beavertails:{write(tmp_path / file, text)}", role).rows[0].category == "b"
    role, file, text, *_ = FORMS["sst2"]
    found = map_rows(f"sst2:{write(tmp_path / file, text)}", role)
    assert found.prompt_of(found.rows[0]).endswith("positive or negative.\na fine film")


def test_columns_named_by_the_user_win_over_the_known_ones(tmp_path):
    path = write(tmp_path / "a.csv", "review,stars\nfine,1\nbad,0\n")
    found = map_rows(f"sst2:{path}", "task", prompt_column="review", answer_column="stars")
    assert [row.answer for row in found.rows] == ["positive", "negative"]
    path = write(tmp_path / "b.csv", "goal,target,note\nRob,Sure,no\nSing,Sure,yes\n")
    kept = map_rows(f"advbench:{path}:note", "harmful", where="target=Sure")
    assert [row.text for row in kept.rows] == ["no", "yes"]


# Rows


def test_errors_name_row_column_what_was_found_and_what_is_allowed(tmp_path):
    rows = "".join(f"film {n}\t{n % 2}\n" for n in range(12))
    path = write(tmp_path / "a.tsv", f"sentence\tlabel\n{rows}odd\t7\n\t1\nlast\t-1\n")
    found = map_rows(f"sst2:{path}", "task")
    assert [(p.row, p.column, p.value) for p in found.problems] == [
        (13, "label", "7"),
        (15, "label", "-1"),
    ]
    assert found.empty == (14,)
    with pytest.raises(DataError) as problem:
        task_for(TaskConfig(source=f"sst2:{path}"), None)
    assert "row 13: column 'label' is '7'; allowed: 0 (negative), 1 (positive)" in str(
        problem.value
    )
    lines = [json.dumps({"question": f"{n}?", "answer": str(n)}) for n in range(12)]
    lines[4] = json.dumps({"question": "why?", "answer": "no idea"})
    path = write(tmp_path / "b.jsonl", "\n".join(lines))
    with pytest.raises(DataError, match="row 5: column 'answer' is 'no idea'; allowed: an answer"):
        task_for(TaskConfig(source=f"gsm8k:{path}"), None)


def test_many_problems_are_counted_not_listed(tmp_path):
    rows = "".join(f"film {n}\t9\n" for n in range(50))
    path = write(tmp_path / "a.tsv", f"sentence\tlabel\n{rows}")
    with pytest.raises(DataError, match=r"row 3: .*; and 47 more rows\.$"):
        map_rows(f"sst2:{path}", "task").checked()


def test_a_check_of_ones_own(tmp_path):
    rows = [{"q": f"thing {n}", "a": "red" if n % 2 else "blue"} for n in range(20)]
    path = write(tmp_path / "a.json", json.dumps(rows))
    columns = {"source": str(path), "prompt_column": "q", "answer_column": "a"}
    label, word = (task_for(TaskConfig(**columns, check=c), None) for c in ("label", "word"))
    red = next(e for e in label.train if e.answer == "red")
    assert label.extra["check"] == "label"
    assert not label.is_correct(red, "It is red.", JUDGE)
    assert word.is_correct(red, "It is red.", JUDGE)
    assert not word.is_correct(red, "blue, not red", JUDGE)
    assert not word.is_correct(red, "reddish", JUDGE)
    many = [{"q": f"thing {n}", "a": f"c{n}"} for n in range(30)]
    write(path, json.dumps(many))
    with pytest.raises(DataError, match="30 distinct answers; the check 'label' allows 20"):
        task_for(TaskConfig(**columns, check="label"), None)


def test_class_words():
    topics = ("World", "Sports", "Business", "Sci/Tech")
    assert named_label("The category is: Sci/Tech.", topics) == "Sci/Tech"
    assert named_label("sports and world", topics) == "Sports"
    assert named_label("worldwide", topics) is None


def test_test_examples_of_their_own(tmp_path):
    rows = [{"prompt": f"thing {n}", "answer": f"said {n} of it"} for n in range(30)]
    train = write(tmp_path / "train.json", json.dumps(rows))
    test = write(tmp_path / "test.json", json.dumps([*rows[:3], {"prompt": "new", "answer": "z"}]))
    task = task_for(TaskConfig(source=str(train), test_source=str(test)), None)
    assert (len(task.train), len(task.test)) == (27, 4)
    assert not {e.prompt for e in task.train} & {e.prompt for e in task.test}
    (note,) = task.extra["notes"]
    assert note.startswith("3 training examples that the test source holds too left out (rows ")


def test_the_preview_says_what_becomes_of_a_file(tmp_path):
    path = write(tmp_path / "a.csv", "q,a,b\nx,1,u\n,2,u\nx,3,u\ny,4,v\n")
    (found,) = describe_sources(
        {"harmful": f"{path}:q", "harmful_answer_column": "a", "harmful_where": None}, {}
    )
    assert (found.prompt, found.answer, found.columns) == (("q",), "a", ("q", "a", "b"))
    assert (found.total, found.used, found.empty, found.repeated) == (4, 2, (2,), (3,))
    assert found.first[1] == SourceRow(row=4, text="y", answer="4")
    (broken,) = describe_sources({}, {"source": str(tmp_path / "none.csv")})
    assert "does not exist" in broken.error
    assert describe_sources({}, {"source": "instruct"}) == []


@pytest.mark.data
@pytest.mark.parametrize(
    ("source", "role", "check", "rows"),
    [
        ("advbench:advbench/advbench_goals.txt", "harmful", None, 520),
        ("xstest:xstest/xstest_prompts.csv", "lookalike", None, 250),
        ("xstest:xstest/xstest_prompts.csv", "harmful", None, 200),
        ("sst2:sst2/dev.tsv", "task", "label", 6732),
        ("sst2:sst2/test.tsv", "task", "label", 872),
        ("ag_news:agnews/train_sample.tsv", "task", "word", 9988),
        ("ag_news:agnews/test_sample.csv", "task", "word", 2000),
        ("gsm8k:gsm8k/train_sample.jsonl", "task", "number", 2000),
        ("gsm8k:gsm8k/test.jsonl", "task", "number", 1319),
        ("alpaca:alpaca/alpaca_en_demo.json", "harmless", None, 985),
    ],
)
def test_real_files_of_known_data_sets(data_folder, source, role, check, rows):
    name, file = source.split(":")
    found = map_rows(f"{name}:{data_folder / file}", role).checked()
    assert (len(found.rows), found.check) == (rows, check)
    if role == "task":
        task = task_for(TaskConfig(source=f"{name}:{data_folder / file}"), None)
        for example in task.test[:50]:
            assert task.is_correct(example, f"{example.answer}.", JUDGE)
            assert not task.is_correct(example, "I do not know.", JUDGE)


@pytest.mark.data
def test_real_training_and_test_files_are_kept_apart(data_folder):
    folder = data_folder / "sst2"
    config = TaskConfig(source=f"sst2:{folder}/dev.tsv", test_source=f"sst2:{folder}/test.tsv")
    task = task_for(config, None)
    bare = [{e.model_extra["input"] for e in part} for part in (task.train, task.test)]
    assert not bare[0] & bare[1]
    assert len(task.test) > 800
