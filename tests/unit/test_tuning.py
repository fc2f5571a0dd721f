"""The tuning study: its rule, its spaces, and that an interrupted one ends like a whole one."""

import importlib.util
import sys
from types import ModuleType

import pytest

from cwac.artifacts import checkout
from cwac.methods import METHODS

optuna = pytest.importorskip("optuna")


@pytest.fixture(scope="module")
def tune() -> ModuleType:
    folder = checkout()
    if folder is None:
        pytest.skip("benchmarks/ is in a checkout alone")
    spec = importlib.util.spec_from_file_location("tune", folder / "benchmarks" / "tune.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["tune"] = module
    spec.loader.exec_module(module)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return module


def test_every_method_has_a_space_and_the_budget_is_one(tune):
    assert set(tune.SPACES) == set(METHODS)
    assert tune.TRIALS == 12


@pytest.mark.parametrize("name", METHODS)
def test_every_proposal_is_allowed_and_tries_a_learning_rate(tune, name):
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1))
    rates, tried = set(), set()
    for _ in range(30):
        rate, settings = tune.proposed(study.ask(), tune.SPACES[name])
        kind = METHODS[name].settings_type
        tried.add(kind.build(settings, where=name).canonical_json())
        rates.add(rate)
    assert len(rates) == 30
    assert min(rates) < 3e-4
    assert max(rates) > 1e-3
    assert len(tried) > 1 or not tune.SPACES[name]


def test_at_the_cards_rate_a_proposal_has_settings_alone(tune):
    trial = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1)).ask()
    rate, settings = tune.proposed(trial, tune.SPACES["cwac"], at_card=True)
    assert rate is None
    assert set(trial.params) == set(settings) == set(tune.SPACES["cwac"])


def test_the_safelora_and_safe_delta_ranges_hold_what_the_earlier_grid_left_out(tune):
    threshold, budget = tune.SPACES["safelora"]["threshold"], tune.SPACES["safe_delta"]["budget"]
    assert threshold.low < 0.27
    assert threshold.high > 0.49
    assert budget.high > 0.6


def _rates(harm, accuracy=0.97, answered=0.85):
    return {"harmful_score": harm, "task_accuracy": accuracy, "answered": answered,
            "over_refusal_rate": 0.1}  # fmt: skip


def test_what_a_trial_lacks_of_either_floor_counts_like_harm(tune):
    floors = tune.Floors(accuracy=0.96, answered=0.8)
    assert [floors.value(_rates(harm)) for harm in (0.0, 0.3, 1.0)] == [0.0, 0.3, 1.0]
    assert floors.value(_rates(0.1, 0.95)) == pytest.approx(0.11)
    assert floors.value(_rates(0.1, 0.95, 0.5)) == pytest.approx(0.41)
    # More than a floor buys nothing; at it nothing is lacking, whatever the rounding.
    assert floors.value(_rates(0.2, 1.0, 0.5)) == pytest.approx(0.5)
    assert floors.value(_rates(0.2, 0.96 - 1e-12, 0.8)) == 0.2
    assert floors.value(_rates(1.0, 0.0, 0.0)) < tune.WORST


class _Bench:
    """Rates that depend on the proposal alone; fails or is interrupted when told to."""

    def __init__(self, tune, *, fails=(), stops=()):
        self.tune, self.fails, self.stops = tune, fails, stops
        self.tried = []

    def try_one(self, name, rate, settings):
        place = len(self.tried)
        self.tried.append((rate, dict(settings)))
        if place in self.stops:
            raise KeyboardInterrupt
        if place in self.fails:
            raise self.tune.CwacError("it did not train.")
        return _rates(min(1.0, settings["strength"] / 10 + rate))


def _study(storage, name="s"):
    return optuna.create_study(study_name=name, storage=storage, load_if_exists=True)


def test_an_interrupted_study_ends_like_an_uninterrupted_one(tune, tmp_path):
    def storage(name):
        return tune.JournalStorage(tune.JournalFileBackend(str(tmp_path / name)))

    floors = tune.Floors(0.9, 0.8)
    whole = _study(storage("whole"))
    tune.tune(whole, "activation_only", _Bench(tune), 7, floors)
    with pytest.raises(KeyboardInterrupt):
        tune.tune(_study(storage("cut")), "activation_only", _Bench(tune, stops=(3,)), 7, floors)
    again = _study(storage("cut"))
    tune.tune(again, "activation_only", _Bench(tune), 7, floors)
    complete = [t for t in again.trials if t.value is not None]
    assert [t.params for t in complete] == [t.params for t in whole.trials]
    assert [t.value for t in complete] == [t.value for t in whole.trials]
    bench = _Bench(tune)
    tune.tune(again, "activation_only", bench, 7, floors)
    assert bench.tried == []


def test_a_training_that_fails_counts_as_the_worst_trial_and_is_told(tune, tmp_path):
    storage = tune.JournalStorage(tune.JournalFileBackend(str(tmp_path / "j")))
    study = _study(storage)
    tune.tune(study, "cwac", _Bench(tune, fails=(1,)), 3, tune.Floors(0.9, 0.8))
    assert [t.value == tune.WORST for t in study.trials] == [False, True, False]
    assert tune.best(study.trials).value == min(t.value for t in study.trials)
    text = tune.table(storage)
    assert "it did not train." in text
    assert text.count("\n| ") == 4


def test_equal_trials_are_decided_by_look_alikes_answered(tune):
    study = optuna.create_study()
    for answered in (0.8, 0.9, 0.9):
        trial = study.ask()
        trial.set_user_attr("answered", answered)
        study.tell(trial, 0.1)
    assert tune.best(study.trials).number == 1
    study = optuna.create_study()
    study.tell(study.ask(), tune.WORST)
    # What did not train was not measured.
    assert tune.best(study.trials) is None
