"""Everything seeded once; named streams independent of each other and of Python's hash seed."""

import random

import numpy as np
import torch

from cwac.provenance import collect
from cwac.seeding import generator, seed_everything


def _draws() -> tuple[float, float, float]:
    return random.random(), float(np.random.rand()), float(torch.rand(()))  # noqa: NPY002 - the global stream


def test_seeding_covers_python_numpy_and_torch():
    seed_everything(3)
    first = _draws()
    seed_everything(3)
    assert _draws() == first
    seed_everything(4)
    assert all(a != b for a, b in zip(_draws(), first, strict=True))
    assert torch.are_deterministic_algorithms_enabled()


def test_streams_differ_by_seed_and_by_name():
    keys = [(0,), (1,), (0, "a"), (0, "b"), (0, "a", "b"), (0, "ab"), (1, "a")]
    draws = {tuple(torch.rand(4, generator=generator(*key)).tolist()) for key in keys}
    assert len(draws) == len(keys)


def test_a_stream_ignores_the_global_one():
    seed_everything(0)
    first = torch.rand(3, generator=generator(0, "x"))
    torch.rand(100)
    assert torch.equal(torch.rand(3, generator=generator(0, "x")), first)


def test_a_stream_is_the_same_in_every_process_and_as_it_was_in_stored_runs():
    assert generator(7, "data", "task").initial_seed() == 7464207076155460342


def test_provenance_says_what_and_where():
    found = collect({"training": 1.5})
    assert found.versions["torch"] == torch.__version__
    assert found.durations == {"training": 1.5}
    assert found.threads == torch.get_num_threads()
    assert found.device == "cpu"
    assert found.peak_memory_bytes is not None
    # An interpreter with torch loaded takes more than 50 MB and less than 50 GB: the unit is right.
    assert 50e6 < found.peak_memory_bytes < 50e9
    assert (found.git_commit is None) == (found.git_dirty is None)
