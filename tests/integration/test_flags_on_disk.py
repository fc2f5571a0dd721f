"""A printed command makes the run that it was printed for: the run ids are compared."""

import json
import os
import shutil
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib import import_module
from itertools import chain
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import pytest

from cwac.artifacts import ArtifactStore, shipped_runs
from cwac.cli.measure import checkpoint
from cwac.cli.run import configurations
from cwac.config import ExperimentConfig
from cwac.errors import ConfigError
from cwac.flags import Plan, arguments, parse, stated
from cwac.methods import METHODS
from cwac.models.card import read_card
from cwac.models.folders import resolve_folder
from cwac.runner.measure import resolve_measured
from cwac.runner.resolve import Arm, method_settings, resolve
from cwac.sources import GGUF

Arms = list[tuple[str, dict[str, Any]]]


@pytest.fixture(scope="module", autouse=True)
def _inputs_are_read_once() -> Iterator[None]:
    """Keep requests and tasks: the same files are named a hundred times, and none changes."""

    def once(load: Callable[..., Any]) -> Callable[..., Any]:
        kept: dict[Any, Any] = {}

        def read(folder: Path, card: Any, *configs: Any) -> Any:
            key = folder, *(config.model_dump_json() for config in configs)
            if key not in kept:
                kept[key] = load(folder, card, *configs)
            return kept[key]

        return read

    # `cwac.runner` gives the function of this name, not the module.
    module = import_module("cwac.runner.resolve")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "load_inputs", once(module.load_inputs))
        yield


def printed(config: ExperimentConfig, *, with_card: bool = True) -> Plan:
    """Return what the command printed for a configuration states."""
    card = read_card(resolve_folder(config.model.source))
    if not with_card:
        return parse(arguments(stated(config, None)))
    settings = {} if config.is_measured else method_settings(Arm(config.method), card)
    return parse(arguments(stated(config, card.defaults.model_dump(), settings)))


def made(plans: Iterable[Plan]) -> list[str]:
    """Return the run ids that plans come to; what they share is resolved once."""
    shared: dict[str, list[Plan]] = defaultdict(list)
    for plan in plans:
        shared[json.dumps(plan.sections)].append(plan)
    ids = []
    for members in shared.values():
        arms: Arms = [(name, dict(changed)) for plan in members for name, changed in plan.arms]
        seeds = sorted(set(chain.from_iterable(plan.seeds for plan in members)))
        ids += [c.run_id for c in configurations(Plan(members[0].sections, arms, seeds))]
    return ids


@pytest.fixture
def public_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether the folder that a command runs in has the public files of the shipped runs."""
    gguf, data = os.environ.get("CWAC_TEST_GGUF"), os.environ.get("CWAC_TEST_DATA")
    if gguf is None or data is None:
        return False
    shutil.copy(gguf, tmp_path / "SmolLM2-135M-Instruct.Q4_1.gguf")
    shutil.copy(Path(data) / "sst2" / "dev.tsv", tmp_path / "sst2.tsv")
    monkeypatch.chdir(tmp_path)
    return True


def test_every_shipped_run_is_printed_as_the_command_that_made_it(public_files: bool) -> None:
    """With the public files in any folder, the ids are those of the runs that ship."""
    root = shipped_runs()
    assert root is not None
    runs = [run.record for run in ArtifactStore(root).list_runs() if run.record is not None]
    assert len(runs) > 100
    if not public_files:
        runs = [record for record in runs if not record.config.model.source.endswith(GGUF)]
    # The seeds of an arm differ by one flag, which other tests print: the first one stands for all.
    runs.sort(key=lambda record: -record.config.seed)
    first = {(record.experiment_id, record.variant): record for record in runs}.values()
    again = made(printed(record.config) for record in first)
    assert {record.run_id for record in first} <= set(again)


CANDIDATES = (False, True, 0, 1, 2, 7, 0.35, 0.015, "all", [0, 2], "a b, 'c' = \"1\"\n")


def words_of(annotation: Any) -> list[Any]:
    """Return the words that a type allows, also as a part of it."""
    parts = get_args(annotation)
    if get_origin(annotation) is Literal:
        return list(parts)
    return [word for part in parts for word in words_of(part)]


BESIDE: Mapping[tuple[str, str], Mapping[str, Any]] = {
    ("refusal_direction_penalty", "penalty_gradient"): {"inputs": "harmful"},
}
"""What another setting must be before a setting may differ from its default."""


def one_changed(method: str) -> list[dict[str, Any]]:
    """Return settings of a method in which one is changed, for each that can be."""
    kind = METHODS[method].settings_type
    changes = []
    for key, field in kind.model_fields.items():
        beside = dict(BESIDE.get((method, key), {}))
        for value in (*words_of(field.annotation), *CANDIDATES):
            try:
                built = kind.build(beside | {key: value})
            except ConfigError:
                continue
            if getattr(built, key) != getattr(kind(), key):
                changes.append(beside | {key: value})
                break
    return changes


def test_every_setting_of_every_method_survives() -> None:
    arms: Arms = [(method, change) for method in METHODS for change in one_changed(method)]
    assert len(arms) > 80
    settings = {f"{method}.{key}" for method, change in arms for key in change}
    fields = {
        f"{m}.{key}" for m, kind in METHODS.items() for key in kind.settings_type.model_fields
    }
    # What no candidate fits would be left out unseen.
    assert fields - settings == set()
    configs = resolve({"training": {"adapter": "lora"}}, [Arm(*arm) for arm in arms], [3])
    assert set(made(map(printed, configs))) == {config.run_id for config in configs}


VARIANTS: Mapping[str, Mapping[str, Any]] = {
    "weight decay and length": {"training": {"weight_decay": 0.1 + 0.2, "max_length": 64}},
    "the code's defaults, not the card's": {
        "training": {"learning_rate": 2e-5},
        "evaluation": {"max_new_tokens": 40, "batch_size": 64},
        "measurement": {"maps": "ffn", "tokens": "refusal", "tail_energy": 1e-3},
    },
    "a task with defaults": {"task": {"source": "sentiment", "test_limit": 20}},
    "adapter": {"training": {"adapter": {"rank": 3, "alpha": 2.5, "targets": ["ffn"]}}},
    "judge": {"evaluation": {"judge": "qi", "prompt_limit": 30}},
    "measurement": {"measurement": {"layers": [0, 2], "rank": 5, "sae_layers": [1], "sae_width": 64,
                                    "sae_k": 4, "latent_score": "frequency", "seed": 4}},
    "public SAEs": {"measurement": {"sae_release": "a folder, maybe", "sae_ids": ["x", "y=1"]}},
    "poison and precision": {"poison_ratio": 1 / 3, "model": {"precision": "bfloat16"}},
    "unaligned": {"model": {"unaligned": True}, "prompts": {"split_seed": 2}},
}  # fmt: skip


@pytest.mark.parametrize("name", VARIANTS)
def test_what_is_changed_of_an_experiment_survives(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Whether there are such SAEs is asked elsewhere.
    monkeypatch.setattr(sys.modules[resolve.__module__], "check_public_saes", lambda *_: None)
    (config,) = resolve(VARIANTS[name], ["sft"], [0])
    (blank,) = resolve({}, ["sft"], [0])
    assert config.run_id != blank.run_id
    for with_card in (True, False):
        assert made([printed(config, with_card=with_card)]) == [config.run_id]


def rows(path: Path, verb: str, count: int) -> str:
    lines = [
        {"text": f"how would you {verb} item {n}", "kind of": kind, "reply": f"so {verb} {n}"}
        for n in range(count)
        for kind in ("a, b", "c=d")
    ]
    path.write_text("\n".join(json.dumps(line | {"text": f"{line['text']} {i}"}) for i, line in
                              enumerate(lines)))  # fmt: skip
    return str(path)


def test_the_user_s_files_and_filters_survive(tmp_path: Path) -> None:
    harmful = rows(tmp_path / "bad ones.jsonl", "break", 30)
    harmless = rows(tmp_path / "fine.jsonl", "bake", 30)
    lookalike = rows(tmp_path / "look.jsonl", "kill time with", 30)
    task = rows(tmp_path / "task.jsonl", "paint", 30)
    tests = rows(tmp_path / "test.jsonl", "carve", 10)
    columns = {"prompt_column": "text", "answer_column": "reply", "check": "helpfulness"}
    sections = {
        "prompts": {
            "harmful": f"{harmful}:text",
            "harmful_answer_column": "reply",
            "harmful_where": "kind of=c=d",
            "harmless": f"{harmless}:text",
            "harmless_where": "kind of=a, b",
            "lookalike": f"{lookalike}:text",
            "lookalike_where": "kind of=a, b",
        },
        "task": {"source": task, "test_source": tests, **columns},
    }
    (config,) = resolve(sections, ["sft"], [0])
    plan = printed(config)
    assert dict(plan.sections["prompts"]) == sections["prompts"]
    assert made([plan]) == [config.run_id]


def test_a_measured_checkpoint_is_printed_as_its_measurement(tmp_path: Path) -> None:
    base = resolve_folder("organism") / "base"
    sections = {"task": "sentiment", "evaluation": {"judge": "qi"}}
    config = resolve_measured(sections, base, base=base, name="my model, 2")
    words = arguments(stated(config, None))
    assert words[0] == "measure"
    assert "--poison" not in words
    for with_card in (True, False):
        assert checkpoint(printed(config, with_card=with_card)).run_id == config.run_id
