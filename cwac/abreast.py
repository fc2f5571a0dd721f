"""Independent pieces of linear algebra side by side, each in a thread of its own.

LAPACK gains next to nothing from a second thread on a matrix of a thousand rows, where two matrices
at once take half the time of one after the other.
"""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

import torch
from threadpoolctl import threadpool_limits

Item = TypeVar("Item")
Result = TypeVar("Result")
MOST: Final = 4
"""Pieces at a time: each has matrices of its own, of which a wide model's fill hundreds of MB."""


def abreast(
    function: Callable[[Item], Result], items: Iterable[Item], *, wide: bool
) -> Iterator[Result]:
    """Give ``function(item)`` for every item in order; the threads of torch are dealt out.

    Parameters
    ----------
    function : callable
        Touches nothing that another call changes, and takes no gradient.
    wide : bool
        Whether items are large and lie in the machine's own memory, so that it pays. Else, and
        with one thread, they are taken one after the other, by the threads that there are: the
        last digit of a sum depends on how many these are.

    Examples
    --------
    >>> list(abreast(abs, [-1, 2, -3], wide=True))
    [1, 2, 3]
    """
    threads = torch.get_num_threads()
    if not wide or threads == 1:
        yield from map(function, items)
        return
    workers = min(threads, MOST)
    share = threads // workers

    @torch.no_grad()
    def alone(item: Item) -> Result:
        return function(item)

    pool = ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(share,))
    try:
        # numpy's and scipy's products have threads of their own, which would be as many for each.
        with threadpool_limits(limits=share, user_api="blas"):
            yield from pool.map(alone, items)
    finally:
        pool.shutdown(cancel_futures=True)
        # What a thread sets is what threads that come after it begin with.
        torch.set_num_threads(threads)
