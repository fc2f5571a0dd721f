import subprocess
import sys

import pytest

from cwac.cli import main


def call(*arguments: str) -> int:
    with pytest.raises(SystemExit) as ending:
        main(list(arguments))
    return int(ending.value.code or 0)


@pytest.mark.parametrize(
    "arguments",
    [
        ["run", "--no-such-flag"],
        ["run", "--poison", "much"],
        ["nonsense"],
        ["list", "nonsense"],
        ["table", "--root", "/nowhere/at/all"],
        ["run", "--config", "/nowhere.toml"],
        ["run", "--set", "nonsense"],
        ["organism", "build"],
    ],
)
def test_bad_input_is_one_sentence_and_status_2(arguments, capsys):
    assert call(*arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("Error: ")
    assert captured.err.count("\n") == 1


def test_what_is_no_log_is_not_made_a_folder_of_logs(tmp_path, capsys):
    out = tmp_path / "x.txt"
    assert call("inspect", "export", "--run", "any", "--out", str(out)) == 2
    assert "a log's name ends in .eval or .json, and no folder" in capsys.readouterr().err
    assert not out.exists()


def test_help_names_every_command(capsys):
    assert call("--help") == 0
    out = capsys.readouterr().out
    commands = (
        "run sweep slim table list preview answer measure judge organism align check app doctor"
    )
    for command in commands.split():
        assert f"\n  {command} " in out


def test_help_loads_nothing_heavy():
    code = (
        "import sys\nfrom cwac.cli import app\n"
        "heavy = {'torch', 'pandas', 'numpy', 'pydantic', 'transformers', 'streamlit'}\n"
        "sys.exit(', '.join(sorted(heavy & set(sys.modules))) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_listing_stored_runs_never_loads_torch(tmp_path):
    code = (
        "import sys\nfrom cwac.cli import main\n"
        f"try: main({['list', 'runs', '--root', str(tmp_path)]!r})\n"
        "except SystemExit as end: assert end.code == 0, end.code\n"
        f"try: main({['table', '--root', str(tmp_path)]!r})\n"
        "except SystemExit as end: assert end.code == 0, end.code\n"
        "sys.exit('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_shell_completes_commands_and_flags(monkeypatch):
    code = "from cwac.cli import app; app(prog_name='cwac')"
    asked = {
        "_CWAC_COMPLETE": "complete_bash",
        "COMP_WORDS": "cwac measure --harmf",
        "COMP_CWORD": "2",
    }
    for name, value in asked.items():
        monkeypatch.setenv(name, value)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["--harmful", "--harmful-answer-column", "--harmful-where"]


def test_measure_has_no_flag_about_training(capsys):
    assert call("measure", "--help") == 0
    out = capsys.readouterr().out
    for flag in ("--poison", "--steps", "--seed", "--method", "--adapter", "--model "):
        assert flag not in out
    for flag in ("--aligned", "--harmful-where", "--judge", "--check", "--set"):
        assert flag in out
