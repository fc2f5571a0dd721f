"""What processes tell each other survives the way, and damage is one sentence."""

import json

import pytest

from cwac.arms import Arm
from cwac.errors import ArtifactError
from cwac.jobs import JobRequest, JobStatus, ProgressLine
from cwac.messages import (
    Answer,
    Answers,
    BrokenSource,
    Catalogue,
    Message,
    MethodEntry,
    ModelEntry,
    PlannedRun,
    Preview,
    PreviewExample,
    Source,
    SourceRow,
    Sources,
    TaskEntry,
)
from cwac.records import TABLES, now

BROKEN = BrokenSource(role="task", source="a.csv", error="it is away.")
WHOLE = Source(
    role="harmful",
    source="b.csv",
    dataset=None,
    columns=("q", "a"),
    prompt=("q",),
    answer="a",
    category=None,
    where=None,
    check=None,
    instruction="",
    choices=(),
    total=3,
    used=1,
    filtered=0,
    empty=(2,),
    repeated=(3,),
    empty_count=1,
    repeated_count=1,
    problem_count=0,
    problems=(),
    first=(SourceRow(row=1, text="line\u2028 <b>*x*</b> 火", answer=None),),
)
MESSAGES = [
    JobRequest(title="t", command="cwac run", created=now(), pid=3, pid_created=1.25),
    JobStatus(state="running", pid=3, pid_created=1.25, runs=("a", "b"), started=now()),
    ProgressLine(time=1.5, run_id="a", variant="sft", seed=0, phase="training", fraction=0.5),
    ProgressLine(variant="cwac (layers=3)", arm=Arm(method="cwac", changed={"layers": 3})),
    ProgressLine(step=3, refusal_rate=0.5, refusal_n=48),
    Catalogue(
        models=(ModelEntry(name="organism"),),
        tasks=(TaskEntry(name="topic", chance=0.25),),
        methods=(MethodEntry(name="cwac", settings={"strength": 0.5, "layers": None}),),
    ),
    Sources(data=(BROKEN, WHOLE)),
    Preview(
        template="chatml",
        examples=(PreviewExample(id="e", poison=True, tokens=(("Q", False), ("A\n", True))),),
        runs=(PlannedRun(run_id="r", complete=False),),
        seconds=3.0,
        data=(WHOLE, BROKEN),
    ),
    Answers(prompt="p", answers=(Answer(variant="aligned", text="no", outcome="refusal"),)),
]


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: type(message).__name__)
def test_a_message_survives_the_way(message: Message) -> None:
    assert type(message).parse(message.model_dump_json(indent=1), "it") == message
    assert type(message).parse(message.model_dump_json().encode(), "it") == message


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: type(message).__name__)
def test_keys_of_later_versions_are_skipped(message: Message) -> None:
    later = message.model_dump(mode="json") | {"later": [1]}
    assert type(message).parse(json.dumps(later), "it") == message


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "it cannot be read: Invalid JSON: EOF"),
        ("[" * 100_000, "it cannot be read: Invalid JSON: recursion limit"),
        (b"\xff", "it cannot be read: Invalid JSON"),
        ("null", "it cannot be read: Input should be an object."),
        ('{"answers": []}', "it cannot be read: prompt: Field required."),
        (
            '{"prompt": "p", "answers": [{"text": "x", "outcome": "refusal"}]}',
            "it cannot be read: answers: 0: variant: Field required.",
        ),
    ],
)
def test_damage_is_one_sentence(text: str | bytes, sentence: str) -> None:
    with pytest.raises(ArtifactError) as problem:
        Answers.parse(text, "it")
    assert str(problem.value).startswith(sentence)
    assert "\n" not in str(problem.value)


def test_a_source_and_a_broken_one_are_told_apart() -> None:
    read = Sources.parse(Sources(data=(BROKEN, WHOLE)).model_dump_json(), "it").data
    assert [type(source) for source in read] == [BrokenSource, Source]
    assert "error" not in WHOLE.model_dump()


def test_a_line_of_progress_holds_every_column_of_the_trajectory() -> None:
    assert set(TABLES["trajectory"]) <= set(ProgressLine.model_fields)


def test_a_line_without_a_probe_has_no_step() -> None:
    line = ProgressLine(time=1.0, run_id=None, phase="setup")
    assert json.loads(line.model_dump_json(exclude_unset=True)) == {
        "time": 1.0,
        "run_id": None,
        "phase": "setup",
    }


def test_numbers_that_are_not_finite_are_not_measured() -> None:
    line = ProgressLine(step=1, task_loss=float("nan"))
    assert ProgressLine.parse(line.model_dump_json(), "it").task_loss is None
    assert ProgressLine.parse('{"step": 1, "task_loss": NaN}', "it").step == 1
