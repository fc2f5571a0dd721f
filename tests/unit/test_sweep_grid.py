"""The grid file of a sweep and the order in which its runs are handed out."""

import tomllib
from collections import Counter

import pytest
from builders import make_examples, make_prompts

from cwac.artifacts import shipped_folder
from cwac.config import ExperimentConfig, TaskConfig
from cwac.errors import CwacError
from cwac.methods import METHODS
from cwac.runner import Arm
from cwac.runner.sweep import GridFile, Schedule, grid_file
from cwac.training import mix_poison


@pytest.fixture
def resolved(monkeypatch):
    """Resolving without a model folder: the configurations alone."""
    calls = []

    def resolve(raw, arms, seeds):
        calls.append(raw)
        blank = {"task": TaskConfig.build(raw["task"]), "training": raw["training"]}
        return [
            ExperimentConfig.build(
                {**blank, "method": arm.method, "settings": dict(arm.settings), "seed": seed}
            )
            for seed in seeds
            for arm in arms
        ]

    monkeypatch.setattr(grid_file, "resolve", resolve)
    return calls


GRID = {
    "tasks": ["instruct", {"source": "sentiment", "test_limit": 5}],
    "poison_ratios": [0.0, 0.1, 0.5],
    "seeds": [3, 4],
    "methods": ["sft", {"method": "cwac", "strengths": [0.1, 0.5], "settings": {"maps": "all"}}],
    "training": {"steps": 7},
}


def test_the_grid_is_crossed_in_order(resolved):
    configs = GridFile.parse(GRID).expand()
    assert len(configs) == 2 * 3 * 2 * 3
    assert len({config.run_id for config in configs}) == len(configs)
    first = [(c.task.source, c.poison_ratio, c.seed, c.method, c.settings) for c in configs[:6]]
    weak, strong = ({"maps": "all", "strength": value} for value in (0.1, 0.5))
    assert first == [
        ("instruct", 0.0, seed, method, settings)
        for seed in (3, 4)
        for method, settings in (("sft", {}), ("cwac", weak), ("cwac", strong))
    ]
    # An experiment's runs stand together, so that it is opened once.
    experiments = [config.experiment_id for config in configs]
    assert experiments == sorted(experiments, key=experiments.index)
    assert list(dict.fromkeys(c.task.source for c in configs)) == ["instruct", "sentiment"]
    assert {c.training.steps for c in configs} == {7}
    # A model's hash is taken per task, not per poison ratio.
    assert len(resolved) == 2


@pytest.mark.parametrize(
    "path",
    sorted((shipped_folder() / "cached_artifacts" / "grids").glob("*.toml")),
    ids=lambda path: path.stem,
)
def test_every_grid_that_ships_names_settings_that_there_are(path):
    grid = GridFile.read(path)
    for arm in grid.arms():
        METHODS[arm.method].settings_type.build(arm.settings, where=arm.method)


def test_the_way_to_train_is_a_setting_of_the_grids_training(resolved):
    grid = tomllib.loads("methods = ['sft', 'salora']\n[training]\nadapter = {rank = 4}")
    for config in GridFile.parse(grid).expand():
        assert config.training.adapter.rank == 4


def test_attackers_train_in_their_own_way_and_are_experiments_of_their_own(resolved):
    grid = GridFile.parse(
        {
            "methods": ["sft", "cwac"],
            "attackers": [{}, {"learning_rate": 0.003}, {"steps": 7, "adapter": "lora"}],
        }
    )
    configs = grid.expand()
    ways = [
        (c.training.learning_rate, c.training.steps, c.training.adapter != "full")
        for c in configs
        if c.method == "sft"
    ]
    plain = configs[0].training
    assert ways == [
        (plain.learning_rate, plain.steps, False),
        (0.003, plain.steps, False),
        (plain.learning_rate, 7, True),
    ]
    assert len({c.experiment_id for c in configs}) == 3


def test_models_are_an_axis_of_the_grid_and_stand_in_place_of_the_one_model(resolved):
    configs = GridFile.parse(GRID | {"models": ["organism", "organism-b"]}).expand()
    assert len(configs) == len(GridFile.parse(GRID).expand())  # the stand-in ignores the model
    assert [raw["model"] for raw in resolved[:4]] == ["organism"] * 2 + ["organism-b"] * 2
    with pytest.raises(CwacError, match="both given"):
        GridFile.parse(GRID | {"model": "organism", "models": ["organism-b"]})


def test_every_axis_counts_against_the_limit(resolved):
    rates = [{"learning_rate": 1e-5 * (1 + i)} for i in range(300)]
    few = {"methods": ["sft"], "seeds": list(range(300)), "attackers": rates}
    with pytest.raises(CwacError, match="more than"):
        GridFile.parse(few).expand()


@pytest.mark.parametrize(
    ("attacker", "sentence"),
    [({"lr": 1}, "unknown key 'lr' in attackers of the grid"), ({"steps": 0}, "steps = 0")],
)
def test_a_wrong_attacker_is_one_sentence(resolved, attacker, sentence):
    with pytest.raises(CwacError, match=sentence):
        GridFile.parse({"methods": ["sft"], "attackers": [attacker]}).expand()


def test_adapters_are_an_axis_of_the_grid(resolved):
    grid = GRID | {"adapters": ["full", "lora", {"rank": 4, "targets": "ffn"}]}
    configs = GridFile.parse(grid).expand()
    before = GridFile.parse(GRID).expand()
    assert len(configs) == 3 * len(before)
    assert len({config.run_id for config in configs}) == len(configs)
    # The runs of a grid without adapters keep their ids.
    assert [c for c in configs if c.training.adapter == "full"] == before
    loras = {c.training.adapter for c in configs} - {"full"}
    assert {(lora.rank, lora.targets) for lora in loras} == {(8, ("all",)), (4, ("ffn",))}
    # Full and LoRA runs of one method never fall into one experiment, nor under one arm's label.
    experiments = [config.experiment_id for config in configs]
    assert experiments == sorted(experiments, key=experiments.index)
    assert len(set(experiments)) == 3 * len({c.experiment_id for c in before})
    assert len(resolved) == 4, "a model's hash is taken per task, not per adapter"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"methods": ["sft", "salora"], "adapters": ["lora", "full"]},
            "'salora' does not work with training.adapter = 'full'; it works with 'lora'.",
        ),
        (
            {"methods": ["sft"], "adapters": ["qlora"]},
            "training.adapter = 'qlora' is not allowed",
        ),
        ({"methods": ["sft"], "adapters": [{"rnak": 4}]}, "did you mean 'rank'?"),
        ({"methods": ["sft"], "adapters": []}, "adapters"),
        (
            {"methods": ["sft"], "adapters": ["lora"], "training": {"adapter": "full"}},
            "adapters = ['lora'] and training.adapter = 'full' are both given",
        ),
    ],
)
def test_impossible_adapters_are_refused_in_a_sentence_before_any_hash(resolved, values, message):
    with pytest.raises(CwacError) as problem:
        GridFile.parse(values).expand()
    assert message in str(problem.value)
    assert "\n" not in str(problem.value)
    assert not resolved


def test_an_adapter_alone_takes_methods_that_need_it(resolved):
    configs = GridFile.parse({"methods": ["salora"], "adapters": ["lora"]}).expand()
    assert [config.training.adapter.kind for config in configs] == ["lora"]
    assert resolved[0]["training"]["adapter"].kind == "lora"


def test_one_seed_is_one_order_of_examples_whatever_the_method(resolved):
    configs = GridFile.parse(GRID).expand()
    examples, poison = make_examples(24), make_prompts().get("attack", "harmful")
    orders = {}
    for c in configs:
        mixed = mix_poison(examples, poison, c.poison_ratio, 40, c.seed)
        orders.setdefault((c.experiment_id, c.seed), set()).add(tuple(e.id for e in mixed))
    assert len(orders) == 12
    assert all(len(order) == 1 for order in orders.values())
    assert len(set().union(*orders.values())) == 6, "poison ratios and seeds do differ"


def test_what_is_named_twice_is_run_once(resolved):
    grid = {"methods": ["sft", "sft"], "seeds": [1, 1], "poison_ratios": [0.1, 0.1]}
    assert len(GridFile.parse(grid).expand()) == 1


def test_the_documented_example_is_a_grid():
    example = (GridFile.__doc__ or "").split("::")[1].split("Strengths are")[0]
    grid = GridFile.parse(tomllib.loads(example))
    assert [arm.method for arm in grid.arms()] == ["sft", "cwac", "cwac", "lisa"]
    for arm in grid.arms():
        METHODS[arm.method].settings_type.build(arm.settings)
    assert grid.training == {"steps": 200}


def test_strengths_go_to_the_method_s_own_knob():
    grid = GridFile.parse({"methods": [{"method": "safelora", "strengths": [0.3]}]})
    assert grid.arms() == [Arm("safelora", {"threshold": 0.3})]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "names no methods"),
        ({"methods": []}, "methods"),
        ({"methods": "sft"}, "methods = 'sft' must be a list"),
        ({"methods": [3]}, "methods of the grid: 3 must be a name, or a table with method"),
        ({"methods": ["sft"], "seedz": []}, "'seedz' in the grid; did you mean 'seeds'?"),
        (
            {"methods": [{"method": "cwac", "strenghts": [1]}]},
            "unknown key 'strenghts' in methods of the grid; did you mean 'strengths'?",
        ),
        ({"methods": ["sft"], "seeds": [-1]}, "the grid.seeds.0 = -1 is not allowed"),
        ({"methods": ["sft"], "poison_ratios": [1.5]}, "poison_ratios.0 = 1.5 is not allowed"),
        ({"methods": [{"method": "cwac", "strengths": []}]}, "strengths"),
        ({"methods": ["cwca"]}, "unknown method 'cwca' (did you mean 'cwac'?)"),
        ({"methods": [{"method": "sft", "strengths": [1]}]}, "'sft' has no strength knob"),
        (
            {"methods": [{"method": "cwac", "strengths": [1], "settings": {"strength": 2}}]},
            "cwac.strength is given by strengths = [1] and by settings = 2",
        ),
    ],
)  # fmt: skip
def test_a_bad_grid_is_one_sentence(values, message):
    with pytest.raises(CwacError) as problem:
        GridFile.parse(values).arms()
    assert message in str(problem.value)
    assert "\n" not in str(problem.value)


def _configs(*counts):
    return [
        ExperimentConfig(poison_ratio=place / 10, seed=seed)
        for place, count in enumerate(counts)
        for seed in range(count)
    ]


def test_a_worker_stays_with_its_experiment_and_others_open_their_own():
    schedule = Schedule(_configs(2, 3))
    taken = [(w, schedule.next(w).poison_ratio) for w in (0, 1, 0, 1)]
    assert taken == [(0, 0.0), (1, 0.1), (0, 0.0), (1, 0.1)]
    # Nothing is left that nobody works on, so the first helps the second.
    assert schedule.next(0).poison_ratio == 0.1
    assert schedule.next(0) is None
    assert len(schedule) == 0


def test_what_a_dead_worker_had_open_is_free_again():
    schedule = Schedule(_configs(2, 9))
    schedule.next(0)
    schedule.next(1)
    schedule.leave(0)
    assert schedule.next(2).poison_ratio == 0.0


def test_every_run_is_handed_out_once():
    configs = _configs(3, 1, 4)
    schedule = Schedule(configs)
    handed = Counter()
    for turn in range(len(configs)):
        handed[schedule.next(turn % 3).run_id] += 1
    assert handed == Counter(c.run_id for c in configs)
    assert schedule.next(0) is None
