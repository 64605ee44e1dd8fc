from __future__ import annotations

from batchmill.core.room import Room


def test_one_attempt_alone_may_always_start() -> None:
    room = Room(100)
    assert room.admits(1000)
    room.enter(0, 1000)
    assert not room.admits(0)


def test_attempts_are_admitted_until_the_sum_of_their_limits_is_the_total() -> None:
    room = Room(100)
    room.enter(0, 60)
    assert room.admits(40)
    assert not room.admits(41)
    room.leave(0, "t", 50)
    assert room.admits(100)


def test_what_was_measured_counts_when_it_is_more() -> None:
    room = Room(100)
    room.enter(0, 10)
    room.sample(((0, 80), (7, 999)), 10**9)  # slot 7 holds nothing
    assert room.used == 80
    assert not room.admits(30)


def test_without_a_limit_the_highest_peak_of_the_task_is_expected() -> None:
    room = Room(100)
    assert room.estimate("t", None) == 0
    room.enter(0, 0)
    room.leave(0, "t", 70)
    assert (room.estimate("t", None), room.estimate("u", None), room.estimate("t", 5)) == (70, 0, 5)


def test_nothing_starts_while_the_machine_is_short_of_memory() -> None:
    room = Room(None, reserve=50)
    room.enter(0, 1)
    room.sample(((0, 1),), 49)
    assert not room.admits(1)
    room.sample(((0, 1),), 50)
    assert room.admits(1)
