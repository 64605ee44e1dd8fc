"""The small parts, without processes: channel, logs, calls, failures, step arguments, seeding."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchmill.errors import InternalError
from batchmill.executors import channel, logs, seeding
from batchmill.executors.calls import micro_cents
from batchmill.executors.channel import LIMIT, Gone, Outbox, encode
from batchmill.executors.failures import clean, outcome_of
from batchmill.executors.messages import pack_end, unpack_end
from batchmill.model.outcomes import Blob, LogSlice, Outcome, Usage
from batchmill.model.states import FailureKind, JobState


def test_messages_of_any_size_keep_their_borders() -> None:
    one, other = channel.pair()
    with one, other:
        for size in (0, 1, LIMIT - 100, LIMIT + 1, 5_000_000):
            channel.send_bytes(one, encode(b"x" * size))
            assert channel.receive(other) == b"x" * size


def test_a_message_that_was_cut_off_is_refused() -> None:
    one, other = channel.pair()
    with one, other:
        one.send(b"x" * (LIMIT + 2))
        with pytest.raises(InternalError, match="cut off"):
            channel.receive(other)


def test_a_closed_end_is_told_apart_from_silence() -> None:
    one, other = channel.pair()
    with other:
        with pytest.raises(BlockingIOError):
            channel.receive(other, socket.MSG_DONTWAIT)
        channel.send_bytes(one, encode("last"))
        one.close()
        assert channel.receive(other) == "last"
        with pytest.raises(Gone):
            channel.receive(other)
        with pytest.raises(Gone):
            channel.send_bytes(other, encode(1))


def test_what_a_dead_end_said_is_heard_although_it_did_not_read_all() -> None:
    one, other = channel.pair()
    with other:
        channel.send_bytes(other, encode("unread"))
        channel.send_bytes(one, encode("last words"))
        one.close()
        assert channel.receive(other) == "last words"
        with pytest.raises(Gone):
            channel.receive(other)


def test_an_outbox_never_blocks_and_keeps_the_order() -> None:
    one, other = channel.pair()
    with one, other:
        box = Outbox(one)
        sent = [encode(n) if n % 7 else encode(b"%d" % n + b"x" * LIMIT) for n in range(2000)]
        pending = [box.post(data) for data in sent]
        assert not all(pending)
        received = []
        while box or len(received) < len(sent):
            received.append(channel.receive_bytes(other)[0])
            box.flush()
        assert received == sent


def test_descriptors_travel_with_messages() -> None:
    one, other = channel.pair()
    with one, other:
        channel.send_bytes(one, encode("here"), [1])
        data, fds = channel.receive_bytes(other)
        assert data == encode("here")
        assert os.fstat(fds[0]).st_ino == os.fstat(1).st_ino
        assert not os.get_inheritable(fds[0])
        os.close(fds[0])


OUTCOMES = st.builds(
    Outcome,
    state=st.sampled_from(JobState),
    usage=st.builds(Usage, st.floats(0, 1e9), st.floats(0, 1e9), st.floats(0, 10), st.integers(0, 2**40)),
    kind=st.sampled_from([None, *FailureKind]),
    message=st.text(),
    result=st.none() | st.binary(),
    result_blob=st.none() | st.builds(Blob, st.text(), st.integers(), st.text()),
    metrics=st.none() | st.binary(),
    log=st.none() | st.builds(LogSlice, st.text(), st.integers(), st.integers()),
    resting_rss=st.integers(0),
)


@given(OUTCOMES)
def test_an_end_is_unpacked_as_it_was_packed(outcome: Outcome) -> None:
    if outcome.state is JobState.SUCCEEDED:  # then nothing is said of a failure
        kept = ("state", "usage", "result", "result_blob", "metrics", "log", "resting_rss")
        outcome = Outcome(**{name: getattr(outcome, name) for name in kept})
    ended = unpack_end(1.5, 3, pack_end(7, outcome))
    assert (ended.at, ended.slot, ended.job, ended.outcome) == (1.5, 3, 7, outcome)
    assert type(ended.outcome.usage) is Usage
    assert ended.outcome.log is None or type(ended.outcome.log) is LogSlice


@pytest.mark.parametrize("size", [0, logs.CAP, logs.CAP + 1, 3 * logs.CAP])
def test_a_slice_is_cut_in_its_middle_and_the_file_stays_whole(tmp_path: Path, size: int) -> None:
    path = tmp_path / "log"
    before, text = b"before", os.urandom(size)
    path.write_bytes(before + text)
    end = logs.compact(path, len(before), len(before) + size)
    assert path.stat().st_size == end
    assert path.read_bytes() == before + logs.capped(text)


def test_the_middle_of_a_running_slice_takes_no_disk(tmp_path: Path) -> None:
    path = tmp_path / logs.file_name(1)
    path.write_bytes(b"before" + b"x" * 40_000_000)
    puncher = logs.Puncher(tmp_path, 1)
    puncher.look(6)
    used = path.stat().st_blocks * 512
    puncher.close()
    if used > 39_000_000:
        pytest.skip("this file system punches no holes")
    assert used < 3_000_000
    assert path.stat().st_size == 40_000_006


def test_money_is_exact_and_rounded_up() -> None:
    assert micro_cents(0.1) == 10_000_000
    assert micro_cents("0.000000001") == 1
    for wrong in (-1, float("nan"), "inf"):
        with pytest.raises(ValueError):
            micro_cents(wrong)


def test_an_exception_whose_text_raises_still_tells_its_class() -> None:
    class Mute(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    outcome = outcome_of(Mute(), Usage(0, 0))
    assert outcome.message == "Mute (its text raised RuntimeError)"
    assert outcome.exceptions[0] == "Mute"


@given(st.text(max_size=100), st.integers(0, 50_000))
def test_cleaned_text_can_be_stored_and_is_short(text: str, repeat: int) -> None:
    assert len(clean(text * repeat if repeat * len(text) < 10**6 else text).encode()) < 100_000


def test_seeds_are_fixed_numbers() -> None:
    assert seeding.seed_of(0, "key") == 2389106264335563512
    assert seeding.seed_of(0, "a") != seeding.seed_of(1, "a")


def test_a_generator_imported_by_the_job_is_seeded_too(tmp_path: Path) -> None:
    script = (
        "import sys\n"
        "from batchmill.executors.seeding import Seeder\n"
        "seeder = Seeder()\n"
        "seeder.install()\n"
        "sys.modules.pop('random', None)\n"
        "seeder.seed(1, 'k')\n"
        "import random\n"
        "first = random.random()\n"
        "seeder.seed(1, 'k')\n"
        "assert random.random() == first\n"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False, timeout=60).returncode == 0
