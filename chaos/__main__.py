"""Kills a run at random moments, runs the same command again, and compares the ledger with what was executed.

Promises that are checked after every kill, and at the end:
- what the ledger says is done is never executed again;
- every job ends succeeded, exactly once, with the right result;
- what ran again was in flight, queued in a worker, or not yet committed;
- no process of the run is left behind.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

JOBS = 2000
MARK = "BATCHMILL_CHAOS"
MOST_AGAIN = 2 * 32 + 4 * 256  # two workers' windows, and the batches that a dead driver had not committed
MANIFEST = """\
name: chaos
task: python
defaults: {{function: "chaos.jobs:work", log: {log}}}
limits: {{workers: 2}}
matrix: {{axes: {{number: {{range: [{jobs}]}}}}, name: "n{{number}}"}}
"""


class Broken(AssertionError):
    """A promise was not kept."""


def main() -> int:
    """Run rounds until the time is over; returns 0 if every promise held."""
    options = _options()
    if options.lanes:
        from chaos import lanes

        return lanes.play(options.kills, options.seed)
    if options.llm:
        from chaos import llm, llm_faults

        failed = llm_faults.main(options.requests, options.seed)
        return failed or llm.main(options.requests, options.kills, options.seed)
    chance = random.Random(options.seed)
    started, rounds, kills = time.monotonic(), 0, 0
    while rounds == 0 or time.monotonic() - started < options.seconds:
        with tempfile.TemporaryDirectory(prefix="batchmill-chaos-") as folder:
            kills += Round(Path(folder), chance).play()
        rounds += 1
    print(f"chaos: seed {options.seed}: {rounds} runs of {JOBS} jobs, {kills} kills, every promise held")
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m chaos", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60, help="begin no new run after this time")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--llm", action="store_true", help="kill a run that asks language models instead")
    parser.add_argument("--lanes", action="store_true", help="kill a run whose requests go in batches instead")
    parser.add_argument("--requests", type=int, default=3000, help="with --llm")
    parser.add_argument("--kills", type=int, default=100, help="with --llm or --lanes")
    return parser.parse_args()


class Round:
    """One run, killed up to twenty times, then left to finish."""

    def __init__(self, folder: Path, chance: random.Random) -> None:
        self.folder = folder
        self.chance = chance
        self.token = f"{os.getpid()}-{chance.randrange(10**9)}"
        self.log = folder / "executed.txt"
        self.log.touch()
        self.manifest = folder / "chaos.yaml"
        self.manifest.write_text(MANIFEST.format(log=json.dumps(str(self.log)), jobs=JOBS))

    def play(self) -> int:
        """Kill and continue; returns the number of kills."""
        kills = 0
        done: set[int] = set()
        for _ in range(20):
            if not self._killed_once(done):
                break
            kills += 1
            done = self._succeeded()
        else:
            self._finish(done)
        self._check_end(kills)
        return kills

    def _start(self) -> subprocess.Popen[bytes]:
        environment = {**os.environ, MARK: self.token, "PYTHONPATH": os.getcwd()}
        command = [sys.executable, "-m", "batchmill", "run", str(self.manifest), "--output", "quiet"]
        return subprocess.Popen(
            command, cwd=self.folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )

    def _killed_once(self, done: set[int]) -> bool:
        """Start the run and kill it at a random moment; False if it ended first."""
        before = len(self._executed())
        process = self._start()
        try:
            process.wait(self.chance.uniform(0.15, 1.2))
        except subprocess.TimeoutExpired:
            how = self.chance.choice([signal.SIGKILL] * 3 + [signal.SIGTERM])
            process.send_signal(how)
        output, _ = process.communicate(timeout=60)
        self._check_again(done, before)
        self._check_no_process()
        if process.returncode not in (0, -signal.SIGKILL, -signal.SIGTERM, 143):
            raise Broken(f"exit code {process.returncode}: {output.decode(errors='replace')[-2000:]}")
        return process.returncode != 0

    def _finish(self, done: set[int]) -> None:
        before = len(self._executed())
        process = self._start()
        output, _ = process.communicate(timeout=120)
        if process.returncode != 0:
            raise Broken(f"exit code {process.returncode}: {output.decode(errors='replace')[-2000:]}")
        self._check_again(done, before)

    def _executed(self) -> list[int]:
        return [int(line) for line in self.log.read_text().split()]

    def _ledger(self) -> Path:
        """That of the first run that has one: a kill while a run is made leaves its folder without, and its number."""
        runs = self.folder / ".batchmill" / "runs"
        return next(iter(sorted(runs.glob("chaos-*/ledger.db"))), runs / "none")

    def _rows(self, query: str) -> list[tuple[object, ...]]:
        if not self._ledger().exists():
            return []
        connection = sqlite3.connect(f"file:{self._ledger()}?mode=ro", uri=True)
        try:
            return connection.execute(query).fetchall()
        finally:
            connection.close()

    def _succeeded(self) -> set[int]:
        rows = self._rows("SELECT json_extract(params, '$.number') FROM jobs WHERE state = 'succeeded'")
        return {int(str(row[0])) for row in rows}

    def _check_again(self, done: set[int], before: int) -> None:
        again = done & set(self._executed()[before:])
        if again:
            raise Broken(f"{len(again)} jobs ran again although the ledger had them, such as {min(again)}")

    def _check_no_process(self) -> None:
        deadline = time.monotonic() + 5
        while left := self._processes():
            if time.monotonic() > deadline:
                raise Broken(f"processes left behind: {left}")
            time.sleep(0.02)

    def _processes(self) -> list[int]:
        mark = f"{MARK}={self.token}".encode()
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and int(entry.name) != os.getpid():
                try:
                    if mark in (entry / "environ").read_bytes():
                        found.append(int(entry.name))
                except OSError:
                    continue
        return found

    def _check_end(self, kills: int) -> None:
        results = self._rows("SELECT json_extract(result, '$.number'), json_extract(result, '$.square') FROM jobs")
        if sorted(results) != [(n, n * n) for n in range(JOBS)]:
            raise Broken(f"{len(results)} jobs in the ledger, not the {JOBS} right ones")
        states = dict(self._rows("SELECT state, count(*) FROM jobs GROUP BY state"))
        if states != {"succeeded": JOBS}:
            raise Broken(f"states at the end: {states}")
        (attempts,) = self._rows("SELECT max(n) FROM (SELECT count(*) n FROM attempts WHERE charged GROUP BY job)")[0]
        if attempts != 1:
            raise Broken(f"a job was recorded {attempts} times")
        executions = Counter(self._executed())
        again = sum(executions.values()) - JOBS
        if set(executions) != set(range(JOBS)) or again > kills * MOST_AGAIN:
            raise Broken(f"{again} executions too many after {kills} kills")
        print(f"  {kills} kills, {again} executions again (in flight or not committed)")


if __name__ == "__main__":
    sys.exit(main())
