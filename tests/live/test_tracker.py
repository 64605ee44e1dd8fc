from __future__ import annotations

import gc
import time
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchmill.live import words
from batchmill.live.facts import Finished, GroupFacts, RequestFacts
from batchmill.live.tracker import Histogram, Tracker
from batchmill.live.watch import Watch
from batchmill.model.commands import Act, Published
from batchmill.model.events import (
    Asked,
    CallCached,
    CallSettled,
    Died,
    LimitSeen,
    Loaded,
    Planned,
    Progress,
    Recalled,
    Sample,
)
from batchmill.model.states import JobState, Mode

from .conftest import Clock, cached, published, row, start


def test_ends_are_counted_on_top_of_what_earlier_invocations_left(clock: Clock) -> None:
    tracker = Tracker(clock, counts={"succeeded": 10, "failed": 1, "pending": 9}, total=20, planning_done=True)
    tracker.publish(
        [
            *(published(1), cached(2), published(3, JobState.FAILED), published(4, JobState.SKIPPED)),
            published(5, JobState.FAILED, retry_in=1.0),
            published(6, JobState.CANCELLED),
        ]
    )
    facts = tracker.facts()
    assert facts.counts == {
        "succeeded": 12,
        "failed": 2,
        "skipped": 1,
        "cancelled": 1,
        "cached": 1,
        "retried": 1,
        "pending": 4,
    }
    assert facts.done == 16


def test_running_attempts_are_told_longest_first_without_those_sent_ahead(clock: Clock) -> None:
    tracker = Tracker(clock)
    tracker.start([start(1, slot=1), start(2, slot=1)])
    clock.now += 5
    tracker.start([start(3, slot=2, attempt=2), start(99, slot=3, hook="prepare")])
    clock.now += 5
    facts = tracker.facts()
    assert [(r.job, r.slot, r.attempt, r.seconds) for r in facts.running] == [("job-1", 1, 1, 10), ("job-3", 2, 2, 5)]
    tracker.publish([published(1, at=clock.now - 2)])
    assert [(r.job, r.seconds) for r in tracker.facts().running] == [("job-3", 5), ("job-2", 2)]


def test_all_jobs_of_an_async_worker_run_at_once(clock: Clock) -> None:
    tracker = Tracker(clock)
    tracker.start([start(n, slot=1, mode=Mode.ASYNC) for n in range(1, 101)])
    facts = tracker.facts(running=10)
    assert (len(facts.running), facts.running_total) == (10, 100)


def test_progress_and_memory_belong_to_their_attempt(clock: Clock) -> None:
    tracker = Tracker(clock)
    tracker.start([start(1, slot=1), start(2, slot=2)])
    tracker.notice([Progress(clock.now, 1, 1, 30, 100, "fit\x1b[2J ting"), Progress(clock.now, 9, 9, 1, 2, "gone")])
    tracker.notice([Sample(clock.now, ((1, 100), (2, 50)), 10**9)])
    facts = tracker.facts()
    first = facts.running[0]
    assert (first.done, first.total, first.stage, first.rss) == (30, 100, "fit ting", 100)
    assert facts.memory == 150


def test_a_dead_worker_and_recalled_jobs_no_longer_run(clock: Clock) -> None:
    tracker = Tracker(clock)
    tracker.start([start(1, slot=1), start(2, slot=1), start(3, slot=2)])
    tracker.notice([Recalled(clock.now, 1, (2,)), Died(clock.now, 1, signal=11)])
    facts = tracker.facts()
    assert [r.job for r in facts.running] == ["job-3"]
    assert facts.queued == ("job-2",)


def test_the_next_jobs_are_those_loaded_and_not_started(clock: Clock) -> None:
    tracker = Tracker(clock)
    tracker.notice([Loaded(clock.now, "main", tuple(row(n) for n in range(1, 7)), False)])
    tracker.start([start(1)])
    tracker.publish([cached(2)])
    assert tracker.facts().queued == ("job-3", "job-4", "job-5")
    tracker.notice([Loaded(clock.now, "main", tuple(row(n) for n in range(10, 5000)), False)])
    assert len(tracker._queued) == 1000
    assert tracker.facts().queued == ("job-3", "job-4", "job-5")


def test_the_last_job_shows_the_first_words_of_its_result(clock: Clock) -> None:
    tracker = Tracker(clock)
    assert tracker.facts().last is None
    tracker.publish([published(1, result=b'{"words":\n 3}' + b"x" * 10_000)])
    last = tracker.facts().last
    assert last is not None
    assert (last.job, last.state) == ("job-1", "succeeded")
    assert last.words.startswith('{"words": 3}xxx')
    assert len(last.words) == 100
    tracker.publish([cached(2)])
    assert tracker.facts().last == Finished("job-2", "cached", "")
    tracker.publish([published(3, JobState.FAILED, message="no\nway")])
    assert tracker.facts().last == Finished("job-3", "failed", "no way")


def test_failures_are_numbered_and_the_latest_kept(clock: Clock) -> None:
    tracker = Tracker(clock)
    tracker.publish(published(n, JobState.FAILED, message=f"m{n}") for n in range(1, 81))
    failures = tracker.facts().failures
    assert [failed.number for failed in failures] == list(range(31, 81))
    assert (failures[-1].job, failures[-1].kind, failures[-1].message) == ("job-80", "error", "m80")


def test_groups_are_counted_and_their_number_is_bounded(clock: Clock) -> None:
    tracker = Tracker(clock, groups={"a": GroupFacts(1, 5, 0), "b": GroupFacts(0, 3, 0)})
    tracker.publish([published(1, group="a"), published(2, JobState.FAILED, group="b")])
    assert tracker.facts().groups == {"a": (2, 5, 0), "b": (1, 3, 1)}
    tracker.publish(published(n, group=f"g{n}") for n in range(3000))
    groups = tracker.facts().groups
    assert len(groups) == 1001
    assert groups["(other groups)"].done == 3000 - 998


def test_pace_and_time_left_come_from_jobs_that_ran(clock: Clock) -> None:
    tracker = Tracker(clock, total=1000, planning_done=True)
    facts = tracker.facts()
    assert (facts.jobs_per_hour, facts.eta, facts.typical) == (None, None, None)
    tracker.publish([cached(n) for n in range(500)])
    for n in range(100):
        clock.now += 1
        tracker.publish([published(1000 + n, at=clock.now)])
        facts = tracker.facts()
    assert facts.jobs_per_hour == pytest.approx(3600, rel=0.02)
    assert facts.eta == pytest.approx(400, rel=0.02)
    assert facts.typical == pytest.approx(1.0, rel=0.2)
    tracker.notice([Planned(clock.now, 5000, False)])
    facts = tracker.facts()
    assert (facts.total, facts.planning_done, facts.eta) == (5000, False, None)


def test_the_time_left_is_known_before_all_is_planned_where_the_number_of_jobs_is(clock: Clock) -> None:
    tracker = Tracker(clock, whole=1000)
    for n in range(100):
        clock.now += 1
        tracker.publish([published(n, at=clock.now)])
    tracker.notice([Planned(clock.now, 500, False)])
    facts = tracker.facts()
    assert (facts.total, facts.planning_done) == (1000, True)
    assert facts.eta == pytest.approx(900, rel=0.02)


def test_the_pace_follows_the_last_minute(clock: Clock) -> None:
    tracker = Tracker(clock, total=10**6, planning_done=True)
    for per_tick in (1, 10):
        for _ in range(400):
            clock.now += 0.25
            tracker.publish(published(n, at=clock.now) for n in range(per_tick))
            facts = tracker.facts()
    assert facts.jobs_per_hour == pytest.approx(40 * 3600, rel=0.02)


def test_money_pauses_and_stops_are_told(clock: Clock) -> None:
    tracker = Tracker(clock, spent=5)
    tracker.notice([CallSettled(clock.now, 1, 1, 1, 100, 37, True), LimitSeen(clock.now, "gpt", None, clock.now + 12)])
    facts = tracker.facts(waiting=["memory"])
    assert (facts.spent, facts.waiting) == (42, ("memory", "rate limit of `gpt` for 12.0 s"))
    clock.now += 13
    assert tracker.facts().waiting == ()
    tracker.notice([Asked(clock.now, "cancel", job=7)])
    assert tracker.facts().stopping == ""
    tracker.notice([Asked(clock.now, "drain")])
    assert "second Ctrl-C" in tracker.facts().stopping


def test_the_display_is_updated_four_times_a_second(clock: Clock) -> None:
    shown = []

    class Recorder:
        def update(self, facts: object) -> None:
            shown.append(facts)

    watch = Watch(Tracker(clock), Recorder(), clock)  # type: ignore[arg-type]
    for n in range(100):
        watch.see([], Act(starts=[start(n)], published=[published(n)]))
        clock.now += 0.05
    assert 16 <= len(shown) <= 21
    watch.show()
    assert shown[-1].counts["succeeded"] == 100  # type: ignore[attr-defined]


@given(st.lists(st.floats(1e-6, 1e6), min_size=1), st.floats(0, 1))
def test_a_percentile_is_within_one_class_of_the_true_one(durations: list[float], share: float) -> None:
    histogram = Histogram()
    for seconds in durations:
        histogram.add(seconds)
    found = histogram.percentile(share)
    assert found is not None
    assert min(durations) / 1.2 <= found <= max(durations) * 1.2


def test_memory_does_not_grow_with_the_jobs(clock: Clock) -> None:
    tracker = Tracker(clock)
    batch = [published(n, JobState.FAILED if n % 9 == 0 else JobState.SUCCEEDED, group=f"g{n}") for n in range(2000)]

    def turns(number: int) -> None:
        for _ in range(number):
            tracker.start(start(n) for n in range(2000))
            tracker.publish(batch)
        gc.collect()

    turns(2)
    tracemalloc.start()
    try:
        turns(10)
        grown, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert grown < 100_000


def test_a_publication_costs_microseconds(clock: Clock) -> None:
    tracker = Tracker(clock)
    batch: list[Published] = [published(n) for n in range(20_000)]
    seconds = []
    for _ in range(5):
        tracker.start([start(n) for n in range(20_000)])
        began = time.process_time()
        tracker.publish(batch)
        seconds.append(time.process_time() - began)
    assert min(seconds) / len(batch) < 10e-6  # about 1 us on an idle machine; the bound is for a loaded one


def test_requests_and_their_tokens_are_counted(clock: Clock) -> None:
    tracker = Tracker(clock)
    said = (b'{"input":30,"output":5}', b'{"input":"many"}', b"{}")
    tracker.notice([CallSettled(1.0, 0, 1, ticket, 5, 7, True, usage) for ticket, usage in enumerate(said)])
    tracker.notice([CallSettled(1.0, 0, 1, 9, 0, 0, False), CallCached(1.0, 0, 1, "q", "k")])
    clock.now += 7
    facts = tracker.facts()
    assert facts.requests == RequestFacts(answered=3, cached=1, tokens_in=30, tokens_out=5)
    assert words.requests(facts) == "3 requests (1 more from the cache), 5 tokens/s"
