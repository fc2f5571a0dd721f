"""What a page has freed goes back to the system: a server runs for days.

Streamlit runs a page in a thread of its own each time, with a pool of the C library's; Arrow has
one besides: after a walk over all pages they hold a fifth of the server's memory.
"""

import gc
from functools import cache

import pyarrow as pa

from cwac.memory import trim


def give_back() -> None:
    """Give the system what is free in the pools, after a page."""
    _keep()
    pa.default_memory_pool().release_unused()
    trim()


@cache
def _keep() -> None:
    """Leave out of every search for garbage what the first page loaded: modules and records.

    They stay as long as the server does, and to look through them takes a tenth of a second.
    """
    gc.collect()
    gc.freeze()
