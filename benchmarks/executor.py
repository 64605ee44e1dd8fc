"""How fast the process executor turns over jobs that do nothing: `python benchmarks/executor.py [JOBS] [WORKERS]`.

A trivial driver loop keeps a window of 32 jobs in each worker. Prints jobs a second, and the CPU time of the driver
and of the workers per job.
"""

from __future__ import annotations

import json
import os
import select
import sys
import tempfile
import time
from pathlib import Path

from batchmill.executors.base import ExecutorSettings, SlotSpec
from batchmill.executors.facade import Executors
from batchmill.model.commands import Start
from batchmill.model.events import Ended, Event, Ready
from batchmill.model.jobs import Row
from batchmill.model.states import Mode
from batchmill.model.tasks import TaskSource

WINDOW = 32


def settings(folder: Path, workers: int) -> ExecutorSettings:
    """A run with this one task."""
    source = TaskSource("module", "noop", "noop", search_path=(str(Path(__file__).parent),))
    slots = tuple(SlotSpec(n, Mode.PROCESS, 1) for n in range(1, workers + 1))
    return ExecutorSettings(slots, {"noop": source}, "bench-1", folder, folder, 0, "", "")


def start(slot: int, job: int) -> Start:
    """One job."""
    row = Row(job, f"job-{job}", "noop", Mode.PROCESS, "1", '{"x": 1}', f"{job:064x}")
    return Start(slot, row, 1, None, None)


def worker_cpu(pids: list[int]) -> float:
    """CPU seconds of these processes."""
    ticks = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/schedstat").read_text().split()
        ticks += int(fields[0])
    return ticks / 1e9


def receive(executor: Executors, poll: select.poll) -> list[Event]:
    """Everything that happens next."""
    poll.poll(1000)
    return executor.receive(time.monotonic(), 256)


def measure(jobs: int, workers: int) -> dict[str, float]:
    """Run so many jobs; the figures."""
    executor = Executors(settings(Path(tempfile.mkdtemp(prefix="batchmill-bench-")), workers))
    executor.open()
    poll = select.poll()
    poll.register(executor.fileno(), select.POLLIN)
    pids: list[int] = []
    while len(pids) < workers:
        pids += [e.pid for e in receive(executor, poll) if isinstance(e, Ready)]
    wall, driver, before = time.perf_counter(), time.process_time(), worker_cpu(pids)
    sent = ended = 0
    for _ in range(WINDOW):
        for slot in range(1, workers + 1):
            executor.start([start(slot, sent := sent + 1)])
    while ended < jobs:
        done = [e for e in receive(executor, poll) if isinstance(e, Ended)]
        ended += len(done)
        executor.start([start(e.slot, sent := sent + 1) for e in done if sent < jobs])
    wall, driver, used = time.perf_counter() - wall, time.process_time() - driver, worker_cpu(pids) - before
    executor.close()
    return {
        "jobs_per_second": round(jobs / wall),
        "driver_us_per_job": round(1e6 * driver / jobs, 1),
        "worker_us_per_job": round(1e6 * used / jobs, 1),
        "load": round(os.getloadavg()[0], 1),
    }


if __name__ == "__main__":
    numbers = [int(a) for a in sys.argv[1:]]
    print(json.dumps(measure(*(numbers + [100_000, 2][len(numbers) :]))))
