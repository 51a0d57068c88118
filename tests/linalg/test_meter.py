from __future__ import annotations

import torch

from nyff.linalg.preconditioner.meter import MemoryMeter


def numbers(count: int) -> torch.Tensor:
    return torch.zeros(count, dtype=torch.float64)


def test_counts_what_is_held_at_once():
    with MemoryMeter() as meter:
        a = numbers(1000)
        b = a + 1
        del a
        c = b * 2
        assert meter.held == 16_000
        del b, c
    assert meter.held == 0
    assert meter.peak == 16_000


def test_views_and_work_in_place_cost_nothing():
    with MemoryMeter() as meter:
        a = numbers(600)
        b = a.view(20, 30).T[3:]
        b += 1
        a.mul_(2.0)
    assert meter.peak == 4800


def test_what_was_there_before_is_not_counted():
    before = numbers(5000)
    with MemoryMeter() as meter:
        part = before[:100]
        before.add_(1.0)
        torch.mul(part, 2.0, out=part)
    assert meter.peak == 0


def test_a_view_keeps_its_memory_alive():
    with MemoryMeter() as meter:
        a = numbers(100)
        b = a[:1]
        del a
        assert meter.held == 800
        del b
        assert meter.held == 0


def test_decompositions_count_their_workspace():
    matrix = torch.eye(50, dtype=torch.float64)
    with MemoryMeter() as meter:
        torch.linalg.eigh(matrix)
    assert meter.peak >= 8 * (50 * 50 + 50 + 2 * 50 * 50)


def test_memory_outside_of_torch_can_be_noted():
    with MemoryMeter() as meter:
        kept = numbers(10)
        meter.note(1000)
        del kept
    assert meter.peak == 1080
    assert meter.held == 0
