"""Kills a run of language-model requests at random moments, and compares three accounts: the service's own, the rows of
the ledger, and the report.

Promises that are checked:
- results are those of a run that nobody killed;
- a request is paid for again only where one was in flight at a kill, and the ledger names each of those;
- every billed request has its row, with its tokens and its cost;
- the report is the sum of the rows.
"""

from __future__ import annotations

import json
import os
import random
import re
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import batchmill
from batchmill.testing import FakeLLM
from batchmill.testing.fake_llm import Counts, Entry
from chaos.llm_jobs import MODEL

PRICES = (1.0, 4.0)  # dollars a million tokens
LONGEST = 120.0  # seconds without any progress


class Broken(AssertionError):
    """A promise was not kept."""


class Row(NamedTuple):
    """A metered request as the ledger has it."""

    job: int
    state: str
    cost: int
    tokens_in: int
    tokens_out: int
    failure: str | None


def main(requests: int, kills: int, seed: int) -> int:
    """An unbroken run and a broken one; returns 0 if every promise held."""
    chance = random.Random(seed)
    with tempfile.TemporaryDirectory(prefix="batchmill-chaos-") as folder:
        whole = Trial(Path(folder) / "whole", requests)
        whole.play([])
        broken = Trial(Path(folder) / "broken", requests)
        done = broken.play([chance.uniform(0.1, 1.4) * requests / (kills + 1) for _ in range(kills)])
        check(whole.results() == broken.results(), "the results differ from those of the unbroken run")
    print(
        f"chaos: seed {seed}: {requests} requests to a model, {done} kills: {broken.again} paid again, "
        f"{broken.in_flight} in flight at the kills, every one named; every promise held"
    )
    return 0


class Trial:
    """One run in a folder of its own, with a service of its own."""

    def __init__(self, folder: Path, requests: int) -> None:
        self.folder, self.requests = folder, requests
        self.in_flight = self.again = 0
        (folder / "state").mkdir(parents=True)

    def play(self, gaps: Iterable[float]) -> int:
        """Kill after so many requests each, then let it end, and check; returns the number of kills."""
        kills = 0
        with FakeLLM(latency="2ms-40ms", default_price=PRICES, log=10 * self.requests, keep_texts=True) as fake:
            for gap in gaps:
                if not self._killed_after(fake, gap):
                    break
                kills += 1
                self.in_flight += sum(row.state == "reserved" for row in self._rows())
            self.finish(fake)
            self._check_accounts(fake.counts, fake.log)
        return kills

    def results(self) -> list[Any]:
        """What the jobs returned, in the order of the plan; None of those that failed."""
        return [outcome.result for outcome in self.run().results()]

    def run(self) -> batchmill.Run:
        """The run, as it is now."""
        return batchmill.open_run("chaos-llm", home=self.folder / "home")

    def _start(self, fake: FakeLLM, **settings: str) -> subprocess.Popen[bytes]:
        environment = {
            **os.environ,
            "XDG_STATE_HOME": str(self.folder / "state"),
            "OPENAI_API_KEY": "sk-chaos",
            "BATCHMILL_ENDPOINTS": json.dumps({"openai": [{"url": fake.openai_url}]}),
            "BATCHMILL_PRICES": json.dumps({MODEL: {"input": PRICES[0], "output": PRICES[1]}}),
            **settings,
            "PYTHONPATH": os.pathsep.join([os.getcwd(), os.environ.get("PYTHONPATH", "")]),
        }
        command = [sys.executable, "-m", "chaos.llm_jobs", str(self.folder / "home"), str(self.requests)]
        return subprocess.Popen(
            command, cwd=self.folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )

    def _killed_after(self, fake: FakeLLM, gap: float) -> bool:
        """Start, and kill when the service has billed so many more; False if the run ended first."""
        goal, process = fake.counts.billed + gap, self._start(fake)
        deadline = time.monotonic() + LONGEST
        while process.poll() is None and fake.counts.billed < goal:
            check(time.monotonic() < deadline, "the run makes no progress")
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
        output, _ = process.communicate(timeout=60)
        check(process.returncode in (0, -signal.SIGKILL), output.decode(errors="replace")[-2000:])
        while fake.counts.in_flight:  # what was on its way is abandoned
            check(time.monotonic() < deadline, "a worker outlives its driver")
            time.sleep(0.005)
        return process.returncode != 0

    def finish(self, fake: FakeLLM, **settings: str) -> None:
        """Run to the end; jobs may fail."""
        process = self._start(fake, **settings)
        output, _ = process.communicate(timeout=3600)
        words = output.decode(errors="replace")[-2000:]
        check(process.returncode in (0, 1) and "Traceback" not in words, words)

    def _rows(self) -> list[Row]:
        ledgers = list((self.folder / "home").glob("runs/*/ledger.db"))
        if not ledgers:
            return []
        connection = sqlite3.connect(f"file:{ledgers[0]}?mode=ro", uri=True)
        try:
            found = connection.execute("SELECT job, state, cost, tokens_in, tokens_out, failure FROM calls").fetchall()
        finally:
            connection.close()
        return [Row(*values) for values in found]

    def rows_by_job(self) -> dict[int, list[Row]]:
        """The requests that left, by the number of their job from 0."""
        rows = [row for row in self._rows() if row.state in ("settled", "unknown")]
        first = min((row.job for row in rows), default=0)
        found: dict[int, list[Row]] = defaultdict(list)
        for row in rows:
            found[row.job - first].append(row)
        return found

    def _check_accounts(self, counts: Counts, log: list[Entry]) -> None:
        """The service's account, the rows and the report say the same."""
        rows, run = self._rows(), self.run()
        check(run.counts["succeeded"] == self.requests, f"states at the end: {run.counts}")
        jobs = {outcome.params["number"]: number for number, outcome in enumerate(run.results())}
        self.again = counts.billed - self.requests
        check(counts.duplicates == self.again, "a question was never asked, or asked in other words")
        check(self.again <= self.in_flight, f"{self.again} paid again, {self.in_flight} in flight at the kills")
        _check_each_job(rows, Counter(jobs[number_of(entry)] for entry in log if entry.billed))
        _check_sums(rows, counts, run.summary()["calls"])


def number_of(entry: Entry) -> int:
    """Which job asked."""
    found = re.search(r"about (\d+)\?", entry.text)
    check(found is not None, f"the service was asked something else: {entry.text[:100]}")
    return int(found[1]) if found else -1


def _check_each_job(rows: list[Row], billed: Counter[int]) -> None:
    """Of each job: what was answered was billed, and what was billed has a row, answered or possibly billed."""
    first = min(row.job for row in rows)
    answered = Counter(row.job - first for row in rows if row.state == "settled")
    unknown = Counter(row.job - first for row in rows if row.state == "unknown")
    for job in answered | unknown | billed:
        least, most = answered[job], answered[job] + unknown[job]
        check(
            least <= billed[job] <= most, f"job {job}: {billed[job]} billed, {least} answered, {unknown[job]} unknown"
        )


def _check_sums(rows: list[Row], counts: Counts, report: dict[str, Any]) -> None:
    """The report is the sum of the rows; the service's sums lie between what was answered and what may be billed."""
    settled = [row for row in rows if row.state == "settled"]
    unknown = [row for row in rows if row.state == "unknown"]
    cost, possible = sum(row.cost for row in settled), sum(row.cost for row in unknown)
    told = [report[name] for name in ("answered", "possibly_billed_requests", "tokens_in", "tokens_out")]
    sums = [len(settled), len(unknown), sum(r.tokens_in for r in settled), sum(r.tokens_out for r in settled)]
    check(told == sums, f"the report says {told}, the rows {sums}")
    check(round(report["cost"] * 1e8) == cost, "the report's cost is not the sum of the rows")
    check(cost <= counts.cost <= cost + possible, f"{cost} in the rows, {counts.cost} billed, {possible} possible")
    if not unknown:
        check([counts.billed, counts.tokens_in, counts.tokens_out, counts.cost] == [sums[0], *sums[2:], cost], "sums")


def check(holds: bool, otherwise: str) -> None:
    """Raises Broken, with the words `otherwise`, unless it holds."""
    if not holds:
        raise Broken(otherwise)
