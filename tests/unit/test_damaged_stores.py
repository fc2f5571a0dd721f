"""Whatever happened to a store: commands that read it say a sentence and lose nothing else."""

import random
import shutil

import pytest
from damages import damage, vanishing
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from store_builder import build_store
from wrong_calls import call

import cwac.runner.rejudge  # noqa: F401 - torch loads outside the time that one call has
from cwac.artifacts import ArtifactStore

READING = (
    ("list", "runs"), ("list", "runs", "--json"), ("table",), ("check",), ("slim", "--dry-run"),
    ("check", "--repair"), ("check",),
)  # fmt: skip
MORE = (
    ("compare", "{0}", "{1}"), ("compare", "aligned", "{1}", "--format", "json"),
    ("answer", "--run", "{0}", "--prompt", "x"), ("report", "{0}", "--out", "{out}"),
)  # fmt: skip
"""Further commands that read a store; each damaged one gets one of them."""
SMALL = {"harmful": 24, "harmless": 12, "lookalike": 12, "task": 12}


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    root = tmp_path_factory.mktemp("sound")
    # Two runs, the fewest of which one can be damaged and another stay.
    arms, experiments = (("sft", {}), ("cwac", {})), (("instruct", 0.1),)
    build_store(root, arms=arms, seeds=(0,), experiments=experiments, kinds=SMALL)
    job = root / ".jobs" / "20260101-000000-aaaa"
    job.mkdir(parents=True)
    (job / "status.json").write_text('{"state": "done"}')
    (job / "request.json").write_text('{"title": "a job"}')
    return root


@settings(
    max_examples=12, deadline=None, derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)  # fmt: skip
@given(seed=st.integers(0, 2**32), count=st.sampled_from((1, 1, 4)))
def test_commands_survive_and_other_runs_stay(sound, tmp_path_factory, seed, count):
    root = tmp_path_factory.mktemp("damaged") / "root"
    shutil.copytree(sound, root)
    draw = random.Random(seed)
    done = [damage(root, draw) for _ in range(count)]
    before = {run.run_id for run in ArtifactStore(root).list_runs() if run.record is not None}
    ids = sorted(run.run_id for run in ArtifactStore(sound).list_runs())
    more = [word.format(*ids, out=root.parent / "x.html") for word in draw.choice(MORE)]
    for words in (more, *READING):
        outcome = call([*words, "--root", str(root)])
        assert outcome.defect is None, (done, words, outcome.defect)
    store = ArtifactStore(root)
    for run in store.list_runs():
        assert run.record is not None, "what was broken was moved aside"
        for name in run.record.tables:
            store.table(run.run_id, name)
    touched = {part for text in done for part in text.split(" ", 1)[1].split("/")}
    assert before - touched <= {run.run_id for run in store.list_runs()}
    shutil.rmtree(root.parent, ignore_errors=True)


LOOKING = (
    ("list", "runs"), ("table",), ("check", "--repair"), ("slim",), ("judge", "--judge", "qi"),
)  # fmt: skip
LOOKS = {"list": 28, "table": 58, "check": 229, "slim": 28, "judge": 92}
"""How often a command looks at this store; what vanishes after its last look is no loss."""


@settings(
    max_examples=10, deadline=None, derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)  # fmt: skip
@given(words=st.sampled_from(LOOKING), part=st.floats(0, 1), levels=st.sampled_from((0, 1, 2, 3)))
@example(words=("judge", "--judge", "qi"), part=0.71, levels=3)
@example(words=("judge", "--judge", "qi"), part=0.79, levels=3)
def test_commands_survive_what_vanishes_while_they_read(
    sound, tmp_path_factory, words, part, levels
):
    root = tmp_path_factory.mktemp("vanishing") / "root"
    shutil.copytree(sound, root)
    with vanishing(root, 1 + int(part * LOOKS[words[0]]), levels) as gone:
        outcome = call([*words, "--root", str(root)])
    assert outcome.defect is None, (words, gone, outcome.defect)
    left = {run.run_id for run in ArtifactStore(root).list_runs()}
    kept = {run.run_id for run in ArtifactStore(sound).list_runs()}
    touched = {name for path in gone for name in path.relative_to(root).parts[:1]}
    assert left >= kept - touched or root in gone
    shutil.rmtree(root.parent, ignore_errors=True)
