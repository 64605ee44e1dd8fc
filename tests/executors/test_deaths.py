"""Crashes, kills, hangs and the driver's own death: each costs one attempt, and no process stays behind."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from batchmill.executors import linux
from batchmill.model.commands import Recall, Stop
from batchmill.model.events import Broken, Died, Ended, Ready, Recalled, Sample
from batchmill.model.states import JobState, Mode
from batchmill.model.tasks import TaskSource
from tests.executors.harness import HERE, LIMIT, Rig, alive, processes_with, until

Make = Callable[..., Rig]
TWO = (Mode.PROCESS, Mode.PROCESS)


@pytest.mark.parametrize(
    ("task", "params", "signal_number", "code"),
    [("segfault", {}, signal.SIGSEGV, None), ("exit_now", {"code": 3}, None, 3)],
)
def test_a_crash_hurts_only_its_own_job(
    rig: Make, task: str, params: dict[str, int], signal_number: int | None, code: int | None
) -> None:
    r = rig(task, "echo", "say")
    first = r.send("say", text="before")
    crash = r.send(task, **params)
    behind = [r.send("echo", value=n) for n in range(5)]
    died = r.wait(Died)
    assert (died.signal, died.exit_code) == (signal_number, code)
    assert [e.job for e in r.of(Ended)] == [first]
    assert [j for e in r.of(Recalled) for j in e.jobs] == behind
    assert crash not in behind
    assert r.events.index(r.of(Recalled)[0]) < r.events.index(died)
    r.wait(Ready, lambda e: e.at > died.at)
    assert r.value("echo", value="again") == "again"


def test_a_death_tells_what_the_attempt_took_and_printed(rig: Make, tmp_path: Path) -> None:
    r, mark = rig("say", "mark_and_wait", "allocate"), tmp_path / "mark"
    r.run("allocate", size=150_000_000)
    r.run("say", text="before")
    r.send("mark_and_wait", mark=str(mark), flag=str(tmp_path / "never"))
    until(mark.exists)
    died = r.kill()
    assert died.signal == signal.SIGKILL
    assert 0 <= died.cpu < 1.0
    assert 10**6 < died.peak_rss < 140_000_000
    assert died.log is None


def test_a_loop_in_c_that_ignores_sigterm_is_killed(rig: Make, tmp_path: Path) -> None:
    r, mark = rig("loop_in_c"), tmp_path / "mark"
    r.send("loop_in_c", mark=str(mark))
    until(mark.exists)
    asked = time.monotonic()
    assert r.kill(grace=0.1).signal == signal.SIGKILL
    assert time.monotonic() - asked >= 0.1


def test_a_kill_reaches_a_daemon_in_a_session_of_its_own(rig: Make, tmp_path: Path) -> None:
    r, file = rig("daemonise"), tmp_path / "pid"
    r.send("daemonise", pid_file=str(file))
    daemon = int(until(lambda: file.exists() and file.read_text()))
    r.kill()
    assert not alive(daemon)


def test_unread_jobs_can_be_taken_back(rig: Make, tmp_path: Path) -> None:
    r, mark, flag = rig("mark_and_wait", "length"), tmp_path / "mark", tmp_path / "flag"
    head = r.send("mark_and_wait", mark=str(mark), flag=str(flag))
    until(mark.exists)
    behind = [r.send("length", text="x" * size) for size in (10, 100_000, 10)]
    many = [r.send("length", text="y" * 50_000) for _ in range(20)]  # more than a socket holds
    r.executor.recall([Recall(1)])
    assert r.wait(Recalled).jobs == (*behind, *many)
    flag.touch()
    assert r.outcome(head).state is JobState.SUCCEEDED
    assert r.value("length", text="after") == 5
    assert len(r.of(Ended)) == 2


def test_more_jobs_than_a_socket_holds_arrive_in_order(rig: Make) -> None:
    r = rig("length")
    jobs = [r.send("length", text="z" * 60_000) for _ in range(20)]
    for job in jobs:
        r.outcome(job)
    assert [e.job for e in r.of(Ended)] == jobs


def test_a_retired_worker_ends_cleanly_and_is_replaced(rig: Make) -> None:
    r = rig("pid")
    before = r.value("pid")
    r.executor.stop([Stop(1, "retire")])
    died = r.wait(Died)
    assert (died.signal, died.exit_code) == (None, 0)
    r.wait(Ready, lambda e: e.at > died.at)
    assert r.value("pid") != before


def test_a_slot_without_respawn_stays_empty_until_it_is_used(rig: Make) -> None:
    r = rig("pid", modes=TWO)
    r.kill(2, respawn=False)
    assert r.value("pid", slot=1)
    assert [e.slot for e in r.of(Ready)].count(2) == 1
    assert r.value("pid", slot=2)


def test_memory_of_a_busy_worker_is_sampled(rig: Make, tmp_path: Path) -> None:
    r, flag = rig("hold_memory", sample_interval=0.02), tmp_path / "flag"
    r.send("hold_memory", size=100_000_000, flag=str(flag))
    sample = r.wait(Sample, lambda e: e.rss and e.rss[0][1] > 100_000_000)
    assert sample.rss[0][0] == 1
    assert sample.available > 10**8
    flag.touch()
    r.wait(Ended)
    r.wait(Sample, lambda e: not e.rss and e.at > r.of(Ended)[0].at)


def test_an_isolated_job_has_a_process_of_its_own(rig: Make, tmp_path: Path) -> None:
    (tmp_path / "isolated_jobs.py").write_text(
        "import os\n"
        "from batchmill.plugins import make_task\n"
        "def pid(code: int) -> int:\n"
        "    print('hello')\n"
        "    if code:\n"
        "        os._exit(code)\n"
        "    return os.getpid()\n"
        "pid = make_task(pid, isolation='job')\n"
    )
    source = TaskSource("module", "isolated_jobs", "pid", search_path=(str(tmp_path),))
    r = rig(more={"pid": source})
    pids = {r.value("pid", code=0) for _ in range(3)}
    assert len(pids | {e.pid for e in r.of(Ready)}) == 4
    assert r.run("pid", code=0).log is not None
    r.send("pid", code=5)
    died = r.wait(Died)
    assert died.exit_code == 5
    assert died.log is not None


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("raise RuntimeError('no licence')", "RuntimeError: no licence"),
        ("import sys; sys.exit(1)", "SystemExit: 1"),
        ("import not_to_be_found", "not_to_be_found"),
        ("import os; os._exit(9)", "died twice"),
    ],
)
def test_a_task_that_does_not_import_breaks_the_executor(tmp_path: Path, body: str, said: str) -> None:
    (tmp_path / "bad_task_module.py").write_text(body)
    source = TaskSource("module", "bad_task_module", "run", search_path=(str(tmp_path),))
    with Rig(tmp_path, more={"bad": source}) as r:
        broken = r.wait(Broken)
    assert said in broken.message


def test_closing_does_not_wait_for_a_slow_import(tmp_path: Path) -> None:
    (tmp_path / "slow_module.py").write_text(f"open({str(tmp_path / 'begun')!r}, 'w'); import time; time.sleep(1000)")
    source = TaskSource("module", "slow_module", "run", search_path=(str(tmp_path),))
    with Rig(tmp_path, more={"slow": source}):
        until((tmp_path / "begun").exists)
        began = time.monotonic()
    assert time.monotonic() - began < 60  # the import takes 1000 s
    assert not [p for p in linux.children("self") if alive(p)]


def test_threads_after_import_make_workers_start_afresh(tmp_path: Path) -> None:
    (tmp_path / "threaded_module.py").write_text(
        "import threading\n"
        "threading.Thread(target=threading.Event().wait, daemon=True).start()\n"
        "def count() -> int:\n"
        "    return threading.active_count()\n"
    )
    source = TaskSource("module", "threaded_module", "count", search_path=(str(tmp_path),))
    with Rig(tmp_path, "echo", more={"count": source}) as r:
        r.ready()
        assert r.value("count") == 2
        assert r.value("echo", value="x" * 100) == "x" * 100
        assert r.kill().signal == signal.SIGKILL
        assert r.value("count") == 2
        assert "started afresh" in r.executor.notes[0]


def test_a_dead_zygote_is_replaced_and_its_workers_are_reported(rig: Make, tmp_path: Path) -> None:
    r, mark = rig("mark_and_wait", "echo", "pid", modes=TWO), tmp_path / "mark"
    zygote = linux_parent(r.value("pid"))
    r.send("mark_and_wait", mark=str(mark), flag=str(tmp_path / "never"))
    until(mark.exists)
    behind = r.send("echo", value=1)
    os.kill(zygote, signal.SIGKILL)
    died = [r.wait(Died, lambda e, n=n: e.slot == n) for n in (1, 2)]
    assert all(event.shared for event in died)
    assert [j for e in r.of(Recalled) for j in e.jobs] == [behind]
    for slot in (1, 2):
        r.wait(Ready, lambda e, slot=slot: e.slot == slot and e.at > died[0].at)
        assert r.value("echo", slot, value="up") == "up"
    assert not r.of(Broken)


@pytest.mark.parametrize("seed", [1, 2])
def test_under_random_kills_every_job_ends_or_comes_back_or_was_at_the_head(rig: Make, seed: int) -> None:
    r, chance = rig("echo", modes=TWO), random.Random(seed)
    held: dict[int, list[int]] = {1: [], 2: []}
    todo, ended, killed, seen = list(range(1, 1501)), set(), 0, len(r.events)
    deadline = time.monotonic() + LIMIT
    while todo or any(held.values()):
        assert time.monotonic() < deadline, r.events[-5:]
        for slot, queue in held.items():
            while todo and len(queue) < 16:
                job = todo.pop()
                queue.append(r.send("echo", slot, job=job, value=job))
        if killed < 20 and chance.random() < 0.1:
            killed += 1
            r.executor.stop([Stop(chance.choice((1, 2)), "kill")])
        if chance.random() < 0.1:
            r.executor.recall([Recall(chance.choice((1, 2)))])
        r.turn()
        for event in r.events[seen:]:
            if isinstance(event, Ended):
                assert event.outcome.result == str(event.job).encode()
                assert held[event.slot][0] == event.job  # in the order sent
                held[event.slot].pop(0)
                assert event.job not in ended
                ended.add(event.job)
            elif isinstance(event, Recalled):
                for job in event.jobs:
                    held[event.slot].remove(job)
                    todo.append(job)
            elif isinstance(event, Died):
                assert len(held[event.slot]) <= 1  # the head
                todo += held[event.slot]
                held[event.slot].clear()
        seen = len(r.events)
    assert ended == set(range(1, 1501))
    assert r.of(Died)


def test_a_daemon_does_not_outlive_a_killed_zygote(rig: Make, tmp_path: Path) -> None:
    r, file = rig("daemonise", "pid", modes=TWO), tmp_path / "pid"
    zygote = linux_parent(r.value("pid", 2))
    r.send("daemonise", pid_file=str(file))
    daemon = int(until(lambda: file.exists() and file.read_text()))
    os.kill(zygote, signal.SIGKILL)
    r.wait(Died)
    until(lambda: not alive(daemon), "the daemon's end")
    assert not alive(daemon)


def linux_parent(pid: int) -> int:
    with open(f"/proc/{pid}/stat") as file:
        return int(file.read().rpartition(")")[2].split()[1])


DRIVER = """
import sys, time
from pathlib import Path
from batchmill.model.states import Mode
from tests.executors.harness import Rig, until
folder = Path(sys.argv[1])
rig = Rig(folder, "daemonise", "loop_in_c", modes=(Mode.PROCESS, Mode.PROCESS))
rig.executor.open()
rig.ready()
rig.send("daemonise", 1, pid_file=str(folder / "pid"))
rig.send("loop_in_c", 2, mark=str(folder / "mark"))
until((folder / "pid").exists)
until((folder / "mark").exists)
(folder / "up").touch()
time.sleep(1000)
"""


def test_no_process_outlives_a_killed_driver(tmp_path: Path) -> None:
    marker = f"BATCHMILL_TEST_MARKER={tmp_path.name}-{os.getpid()}"
    name, _, value = marker.partition("=")
    driver = subprocess.Popen(
        [sys.executable, "-c", DRIVER, str(tmp_path)], cwd=HERE.parents[1], env={**os.environ, name: value}
    )
    try:
        until((tmp_path / "up").exists, "the driver")
        assert len(processes_with(marker)) >= 5  # driver, zygote, two workers, the daemon
    finally:
        driver.kill()
        driver.wait()
    until(lambda: not processes_with(marker), "the end of all processes")


def test_closing_leaves_no_process(tmp_path: Path) -> None:
    with Rig(tmp_path, "daemonise", "loop_in_c", modes=TWO) as r:
        r.ready()
        r.send("daemonise", 1, pid_file=str(tmp_path / "pid"))
        r.send("loop_in_c", 2, mark=str(tmp_path / "mark"))
        until((tmp_path / "mark").exists)
        daemon = int(until(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text()))
        pids = [e.pid for e in r.of(Ready)]
    assert not any(map(alive, [*pids, daemon]))
    assert not [p for p in linux.children("self") if alive(p)]
