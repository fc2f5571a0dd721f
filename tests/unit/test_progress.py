"""Signs of life: at least every five seconds, with what is left and until when."""

import itertools
import json
import re
import time

import pytest
from rich.console import Console

from cwac.arms import Arm
from cwac.cli import make
from cwac.cli.job import Job
from cwac.cli.live import EVERY, Live
from cwac.jobs import ProgressLine
from cwac.preparation.progress import counted, report_part, telling
from cwac.runner.progress import SILENT, Event, RunProgress, alive


@pytest.fixture
def clock(monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(time, "time", lambda: now[0])
    return now


def _progress(heard):
    return RunProgress("r", Arm(method="sft"), 0, heard.append)


def test_a_phase_ends_when_its_pace_says_so_and_the_next_phase_starts_anew(clock):
    heard: list[Event] = []
    progress = _progress(heard)
    progress.report("setup", 0.0, "begins")
    clock[0] += 30
    progress.report("setup", 0.25, "a quarter in 30 s")
    clock[0] += 10
    progress.report("training", 0.0, "training")
    clock[0] += 1
    progress.report("training", 0.01, "too little to tell")
    clock[0] += 9
    progress.report("training", 0.5, "half in 10 s")
    assert [event.until for event in heard] == [None, 1000 + 30 + 90, None, None, 1050 + 10]
    assert heard[1].left == ("training", "measuring")
    assert heard[-1].left == ("measuring",)


def test_silence_is_broken_by_what_was_said_last():
    heard: list[Event] = []
    event = Event("r", "SFT", 0, "setup", 0.1, "a long call", row={"step": 1}, until=0.0)
    with alive(heard.append, every=0.04) as listen:
        listen(event)
        time.sleep(0.4)
    repeated = heard[1:]
    assert len(repeated) >= 3
    assert {one.message for one in repeated} == {"a long call"}
    # A row that came twice would be two probes, and an end that has passed is no forecast.
    assert all(one.row is None and one.until is None for one in repeated)
    gaps = [b.time - a.time for a, b in itertools.pairwise(repeated)]
    assert min(gaps) >= 0.04
    count = len(heard)
    time.sleep(0.1)
    assert len(heard) == count


def test_nothing_is_repeated_once_a_run_is_done():
    heard: list[Event] = []
    with alive(heard.append, every=0.02) as listen:
        listen(Event("r", "SFT", 0, "done", 1.0, "stored"))
        time.sleep(0.1)
    assert len(heard) == 1


def test_lines_come_every_five_seconds_and_say_what_is_left(capsys):
    # The worker speaks after at most SILENT and a quarter of it, a line is due after EVERY.
    assert EVERY + 1.25 * SILENT <= 5.0
    live = Live()
    live._console = Console(stderr=True, force_terminal=False)
    live.plan(["r"])
    for second in range(40):
        live.listen(
            Event("r", "SFT", 0, "setup", 0.04, "asking for refusals, 34 of 100",
                  time=1_700_000_000 + second / 2, until=1_700_000_060,
                  left=("training", "measuring"))
        )  # fmt: skip
    lines = capsys.readouterr().err.splitlines()
    seconds = [int(line.split()[0][-2:]) for line in lines]
    assert len(lines) == 8
    assert all((b - a) % 60 <= 5 for a, b in itertools.pairwise(seconds))
    assert re.fullmatch(
        r"\d\d:\d\d:\d\d SFT seed 0 \(1/1\), 4%: asking for refusals, 34 of 100, until about "
        r"\d\d:\d\d:\d\d; then training, measuring",
        lines[0],
    )


def test_a_jobs_file_keeps_the_forecast(tmp_path, monkeypatch):
    import signal

    monkeypatch.setattr(signal, "signal", lambda *_: None)
    folder = tmp_path / ".jobs" / "one"
    with Job(folder, tmp_path) as job:
        job.listen(
            Event("r", "SFT", 0, "training", 0.3, "step 3", until=1234.4, left=("measuring",))
        )
        job.close({})
    line = (folder / "progress.jsonl").read_text().splitlines()[-1]
    parsed = ProgressLine.parse(line, "progress")
    assert (parsed.until, parsed.left) == (1234.0, ("measuring",))
    # Lines of earlier versions have neither.
    old = {k: v for k, v in json.loads(line).items() if k not in ("until", "left")}
    assert ProgressLine.parse(json.dumps(old), "progress").left == ()


def test_counts_say_how_many_of_how_many():
    said: list[tuple[float, str]] = []
    report = counted(report_part(lambda *one: said.append(one), 0.5, 1.0), 40, "asking")
    assert list(telling("abcd", report)) == list("abcd")
    assert said == [
        (0.5, "asking, 0 of 40"),
        (0.625, "asking, 10 of 40"),
        (0.75, "asking, 20 of 40"),
        (0.875, "asking, 30 of 40"),
    ]


def test_a_step_that_says_nothing_for_long_is_said_again(capsys, monkeypatch):
    """`cwac align` without a terminal: one line a step, and a step may take half a minute."""
    monkeypatch.setattr(make, "SILENT", 0.02)
    with make._Bar() as bar:
        bar.tell(0.1, "training, step 1 of 2")
        bar.tell(0.1, "training, step 1 of 2")
        time.sleep(0.1)
        bar.tell(0.5, "training, step 2 of 2")
    lines = capsys.readouterr().err.splitlines()
    assert lines[:2] == ["training, step 1 of 2", "training, step 1 of 2 (still)"]
    assert lines.count("training, step 1 of 2") == lines.count("training, step 2 of 2") == 1
