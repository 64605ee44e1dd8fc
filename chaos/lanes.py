"""Kills a run whose requests go in batches, at random moments: `python -m chaos.lanes --kills 12 --seed 1`.

Promises that are checked at the end, for OpenAI's kind of batches and for Anthropic's:
- every job succeeded, and no line was asked twice;
- every line has one row that was paid for, and the rows come to what the service billed, to the micro-cent;
- nothing is left that may be billed.
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
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import batchmill
from batchmill.testing import FakeLLM
from chaos.llm import check

IN_FLIGHT = 16  # so many lines has a batch
LEAST_BATCHES = 3
BATCH_TIME = 0.2  # seconds; an unbroken run takes three times as long for each batch, and one to start
LIFE = 0.5, 1.6  # seconds until a kill
MANIFEST = f"""
name: chaos-lanes
task: documents
defaults: {{model: MODEL, prompt: Sum up.}}
limits: {{concurrency: {IN_FLIGHT}, budget: 5 USD, timeout: 5s}}
files: {{directory: docs, as: file}}
"""


def main() -> int:
    """Break a run of each kind; returns 0 if every promise held."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=12, metavar="N", help="of each run")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6), metavar="N")
    told = parser.parse_args()
    return play(told.kills, told.seed)


def play(most: int, seed: int) -> int:
    """Break a run of each kind so many times; returns 0 if every promise held."""
    for model in ("openai/m", "anthropic/m"):
        chance = random.Random(f"{seed} {model}")
        with tempfile.TemporaryDirectory(prefix="batchmill-chaos-") as folder, FakeLLM(batch_time=BATCH_TIME) as fake:
            kills = break_run(Path(folder), fake, model, [chance.uniform(*LIFE) for _ in range(most)])
            print(f"chaos: seed {seed}: {model}, {kills} kills, {fake.counts.batches} batches; every promise held")
    return 0


def break_run(folder: Path, fake: FakeLLM, model: str, lives: Sequence[float]) -> int:
    """Kill after each of these seconds, let it end, and compare the accounts; returns the number of kills."""
    jobs = IN_FLIGHT * max(LEAST_BATCHES, len(lives)) - 1
    (folder / "docs").mkdir()
    for number in range(jobs):
        (folder / "docs" / f"{number}.txt").write_text(f"Document {number} tells a story.")
    (folder / "m.yaml").write_text(MANIFEST.replace("MODEL", model))
    kills = 0
    for life in lives:
        process = start(folder, fake)
        try:
            process.wait(life)
            break
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            kills += 1
    check(start(folder, fake).wait(300) == 0, "the run did not end well")
    check_accounts(folder, fake, jobs)
    return kills


def start(folder: Path, fake: FakeLLM) -> subprocess.Popen[bytes]:
    """The run, in a session of its own."""
    price = {"input": 1, "output": 4}
    settings = {
        "BATCHMILL_LANE": "batch",
        "BATCHMILL_LANES": json.dumps({"quiet": 0.3, "poll": 0.1}),
        "BATCHMILL_ENDPOINTS": json.dumps({"openai": fake.openai_url, "anthropic": fake.anthropic_url}),
        "BATCHMILL_PRICES": json.dumps({"openai/m": price, "anthropic/m": price}),
        "XDG_STATE_HOME": str(folder / "state"),
    }
    command = [sys.executable, "-m", "batchmill", "run", "m.yaml", "--output", "quiet"]
    return subprocess.Popen(command, cwd=folder, env=os.environ | settings, start_new_session=True)


def check_accounts(folder: Path, fake: FakeLLM, jobs: int) -> None:
    """The service's account and the ledger's rows say the same."""
    run, counts = batchmill.open_run(home=folder / ".batchmill"), fake.counts
    check(run.counts["succeeded"] == jobs, f"states at the end: {run.counts}")
    check((counts.batch_lines, counts.requests, counts.duplicates) == (jobs, 0, 0), f"the service was asked: {counts}")
    with closing(sqlite3.connect(folder / ".batchmill" / "runs" / run.id / "ledger.db")) as ledger:
        rows = ledger.execute("SELECT state, count(*), sum(cost) FROM calls GROUP BY state").fetchall()
    paid = [row for row in rows if row[0] not in ("released", "cached")]
    check(paid == [("settled", jobs, counts.cost)], f"{rows} in the ledger, {counts.cost} billed")


if __name__ == "__main__":
    sys.exit(main())
