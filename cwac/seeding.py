"""Randomness: everything seeded once, and named streams that do not disturb each other."""

import hashlib
import os
import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


def seed_everything(seed: int) -> None:
    """Seed Python, NumPy and torch, and ask torch for deterministic algorithms.

    Two runs of the same configuration on the same machine and number of threads then agree
    bit for bit.

    Parameters
    ----------
    seed : int
        At least 0.
    """
    # cuBLAS reads this once, when the first CUDA matrix product runs.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002 - libraries draw from the global stream
    torch.manual_seed(seed)
    # A GPU operation without a deterministic form warns instead of ending a user's run.
    torch.use_deterministic_algorithms(True, warn_only=True)
    # Filling fresh memory with NaN costs time on every step and guards only against reads of
    # uninitialised memory.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # a property of the module


@contextmanager
def undisturbed() -> Iterator[None]:
    """Put the global random streams and torch's determinism back afterwards.

    What is done inside may seed what it likes, and a training around it draws on as if nothing
    had been.
    """
    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002 - as above
    strict = torch.are_deterministic_algorithms_enabled()
    warn = torch.is_deterministic_algorithms_warn_only_enabled()
    filled = torch.utils.deterministic.fill_uninitialized_memory  # type: ignore[attr-defined]  # as above
    try:
        with torch.random.fork_rng():
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)  # noqa: NPY002
        torch.use_deterministic_algorithms(strict, warn_only=warn)
        torch.utils.deterministic.fill_uninitialized_memory = filled  # type: ignore[attr-defined]


def generator(seed: int, *names: str) -> torch.Generator:
    """Return the random stream of this seed and name, independent of every other stream.

    A stream that draws more or less often than before (a method with a further constraint, for
    example) never shifts the numbers that another one gives.

    Parameters
    ----------
    seed : int
        The run's seed.
    *names : str
        What the stream is for, from general to special.

    Examples
    --------
    >>> draw = lambda *key: int(torch.randint(10**6, (), generator=generator(*key)))
    >>> draw(0, "order") == draw(0, "order")
    True
    >>> draw(0, "order") == draw(0, "poison")
    False
    """
    # Python's own hash() differs between processes, so a digest names the stream.
    key = "\x1f".join((str(seed), *names)).encode()
    number = int.from_bytes(hashlib.sha256(key).digest()[:8], "big") >> 1
    return torch.Generator().manual_seed(number)
