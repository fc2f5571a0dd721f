"""Fixtures shared by all tests: tiny things, made once where nothing changes them."""

import os
from pathlib import Path

import pytest

# Set before any library reads them: no test may look at the network.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
# Threads that wait for each other make tiny models many times slower on a busy machine.
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="session", autouse=True)
def _no_waiting_for_the_disk():
    """Let the system write files when it likes: no test cuts the power."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _file: None)
        yield


@pytest.fixture
def data_folder() -> Path:
    """Real data for tests, named by CWAC_TEST_DATA; tests that need it are skipped without."""
    folder = os.environ.get("CWAC_TEST_DATA")
    if not folder or not Path(folder).is_dir():
        pytest.skip("CWAC_TEST_DATA names no folder of real data")
    return Path(folder)


@pytest.fixture(scope="session")
def tiny_chat():
    """A tiny tokenizer with a chat template."""
    from builders import make_chat

    return make_chat()


@pytest.fixture
def tiny_model(tiny_chat):
    """A tiny Llama, fresh for each test."""
    from builders import make_model

    return make_model(tiny_chat)


@pytest.fixture(scope="session")
def tiny_prompts():
    """Twelve requests of each kind in each split."""
    from builders import make_prompts

    return make_prompts()


@pytest.fixture
def tiny_context(tiny_chat, tiny_prompts):
    """A method's context around a fresh tiny model."""
    from builders import make_context

    return make_context(chat=tiny_chat, prompts=tiny_prompts)
