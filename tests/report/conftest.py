"""Small ledgers, made of the schema and plain inserts, as the journal would have left them."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterable
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

NOON = 1_900_000_000.0  # 2030-03-17T17:46:40Z


class Ledger:
    """A run's folder that grows job by job."""

    def __init__(self, home: Path, run: str, **fields: Any) -> None:
        self.folder = home / "runs" / run
        self.folder.mkdir(parents=True)
        self.home = home
        self.database = sqlite3.connect(self.folder / "ledger.db")
        self.database.executescript(files("batchmill.ledger").joinpath("schema.sql").read_text())
        self.database.execute("PRAGMA user_version = 1")
        name, _, ordinal = run.rpartition("-")
        row = {
            "id": run,
            "name": name,
            "ordinal": int(ordinal),
            "task": "count-words",
            "plan_digest": "0" * 64,
            "state": "finished",
            "created": NOON,
            "started": NOON + 1,
            "finished": NOON + 61.5,
            "active_s": 60.5,
            "folder": "/data",
            "tick": 9,
            "plan_done": 1,
            "provenance": '{"python":"3.11.7"}',
        }
        self.insert("run", **row | fields)
        self.insert("bindings", id=1, task="count-words", mode="process", version="1")
        self.counts: Counter[tuple[str, str]] = Counter()
        self.number = 0

    def insert(self, table: str, **row: Any) -> None:
        marks = ", ".join("?" * len(row))
        self.database.execute(f"INSERT INTO {table} ({', '.join(row)}) VALUES ({marks})", tuple(row.values()))

    def job(self, name: str, state: str = "succeeded", *, params: Any = None, **fields: Any) -> int:
        """Add a job; `result` and `metrics` are values, other fields columns."""
        self.number += 1
        for column in ("result", "metrics"):
            if column in fields:
                fields[column] = json.dumps(fields[column])
        row = {"number": self.number, "name": name, "binding": 1, "state": state, "tick": 5}
        row |= {"params": json.dumps(params or {}), "key": f"{self.number:064x}", "total_attempts": 1}
        self.insert("jobs", **row | fields)
        self._count(fields.get("grp") or "", state, fields)
        return self.number

    def _count(self, group: str, state: str, fields: dict[str, Any]) -> None:
        self.counts[group, state] += 1
        self.counts[group, "cached"] += fields.get("cached", 0)
        self.counts[group, "retried"] += fields.get("total_attempts", 1) > 1

    def jobs(self, rows: Iterable[tuple[Any, ...]]) -> None:
        """Many jobs at once: (number, name, params, result, metrics, wall_s), all succeeded."""
        self.database.executemany(
            "INSERT INTO jobs (number, name, binding, params, result, metrics, wall_s, cpu_s, peak_rss, state)"
            " VALUES (?, ?, 1, ?, ?, ?, ?, 0.5, 1000, 'succeeded')",
            rows,
        )

    def object(self, content: bytes) -> str:
        """Put content among the home's objects; its digest."""
        digest = hashlib.sha256(content).hexdigest()
        path = self.home / "objects" / digest[:2] / digest[2:]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return digest

    def close(self) -> Path:
        """Write everything down; the run's folder."""
        self.database.executemany(
            "INSERT INTO counts (grp, state, n) VALUES (?, ?, ?)",
            [(group, state, n) for (group, state), n in self.counts.items()],
        )
        self.database.execute("UPDATE run SET planned = (SELECT count(*) FROM jobs)")
        self.database.commit()
        self.database.close()
        return self.folder


MakeLedger = Callable[..., Ledger]


@pytest.fixture
def make_ledger(tmp_path: Path) -> MakeLedger:
    def make(run: str = "words-1", **fields: Any) -> Ledger:
        return Ledger(tmp_path / ".batchmill", run, **fields)

    return make


@pytest.fixture
def small_run(make_ledger: MakeLedger) -> Path:
    """Seven jobs, one of each fate, in two groups."""
    ledger = make_ledger(spent=123_000_000)
    times = {"wall_s": 2.0, "cpu_s": 1.5, "peak_rss": 50_000_000, "started": NOON + 2, "finished": NOON + 4}
    ledger.job("a", params={"text": "one two", "n": 2}, result={"words": 2}, metrics={"words": 2}, grp="x", **times)
    ledger.job(
        "b",
        params={"text": "=1+1", "n": 1},
        result={"words": 1, "engine_s": 0.25, "list": [1, "x"]},
        metrics={"words": 1, "ratio": "NaN", "engine_s": 0.25},
        grp="x",
        total_attempts=3,
        **times | {"wall_s": 4.0},
    )
    ledger.job("c", cached=1, source_run="words-0", source_job=3, result={"words": 7}, metrics={"words": 7})
    message = "ValueError: no | words\nin <b>this</b> \x1b[31mtext"
    ledger.job("d", "failed", kind="error", message=message, grp="y", **times)
    ledger.job("e", "failed", kind="timeout", message="took longer than 2 s", grp="y", **times | {"wall_s": 9.0})
    ledger.job("f", "skipped", kind="skip", message="nothing to do")
    ledger.job("g", "pending", total_attempts=0)
    return ledger.close()
