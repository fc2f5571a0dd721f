"""Pieces of linear algebra side by side: the same results in order, and threads as they were."""

import threading

import pytest
import torch

from cwac.abreast import MOST, abreast


@pytest.fixture
def threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2 * MOST)
    yield 2 * MOST
    torch.set_num_threads(before)


def test_pieces_come_in_order_with_the_threads_dealt_out(threads) -> None:
    together = threading.Barrier(MOST, timeout=60)

    def piece(number: int) -> tuple[int, int, bool]:
        together.wait()
        return number, torch.get_num_threads(), torch.is_grad_enabled()

    found = list(abreast(piece, range(2 * MOST), wide=True))
    assert found == [(number, 2, False) for number in range(2 * MOST)]
    assert torch.get_num_threads() == threads


def test_small_pieces_and_a_single_thread_are_taken_one_by_one(threads) -> None:
    here = threading.get_ident()
    assert set(abreast(lambda _: threading.get_ident(), range(3), wide=False)) == {here}
    torch.set_num_threads(1)
    assert set(abreast(lambda _: threading.get_ident(), range(3), wide=True)) == {here}


def test_what_a_piece_raises_is_raised_and_threads_are_put_back(threads) -> None:
    def piece(number: int) -> int:
        if number == 1:
            raise ValueError("singular")
        return number

    with pytest.raises(ValueError, match="singular"):
        list(abreast(piece, range(20), wide=True))
    assert torch.get_num_threads() == threads
