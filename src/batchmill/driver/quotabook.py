"""The book of what all runs of a user on this machine have in common: `quota.db` in the user's state folder.

Quotas as `core.quota` keeps them, who uses them, and the money of each day. How it is shared out is in `core.lending`.
Times are of the monotonic clock, which all processes of one boot share.
"""

from __future__ import annotations

import json
import os
import sqlite3
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from batchmill.core.lending import Day, Others, lend, lend_money
from batchmill.core.quota import DAY, Quota
from batchmill.ledger.database import transaction
from batchmill.ledger.filesystems import refuse_network
from batchmill.model.commands import Borrow, MoneyAsk, QuotaAsk
from batchmill.model.events import Lent, QuotaLent

VERSION = 1
BUSY_MS = 5_000
ACTIVE = 2.0  # seconds after its last question that a run counts as a user of a quota
REMEMBERED = 7  # days that what was learned of an unused quota is kept
_SCHEMA = """
CREATE TABLE quotas (              -- what is known of each, and used
  name TEXT PRIMARY KEY,
  state TEXT NOT NULL,             -- JSON of `core.quota.Quota`
  boot TEXT NOT NULL,              -- whose monotonic times these are
  day INTEGER NOT NULL             -- of UTC since 1970, whose requests and tokens are counted
) WITHOUT ROWID;
CREATE TABLE users (               -- the runs that use a quota now
  quota TEXT NOT NULL,
  process TEXT NOT NULL,           -- boot:pid:start:number
  slots INTEGER NOT NULL,          -- calls in flight that were lent
  wanted INTEGER NOT NULL,
  asked REAL NOT NULL,
  PRIMARY KEY (quota, process)
) WITHOUT ROWID;
CREATE TABLE money (               -- of each invocation on each day, in micro-cents
  day INTEGER NOT NULL,
  process TEXT NOT NULL,
  run TEXT NOT NULL,               -- its folder
  spent INTEGER NOT NULL,
  held INTEGER NOT NULL,           -- lent and not settled, or what a dead process may have spent
  PRIMARY KEY (day, process)
) WITHOUT ROWID;
"""


def state_folder() -> Path:
    """The folder of what batchmill knows of a user across homes: `$XDG_STATE_HOME/batchmill`."""
    given = os.environ.get("XDG_STATE_HOME", "")
    base = Path(given) if os.path.isabs(given) else Path.home() / ".local" / "state"
    return base / "batchmill"


class QuotaBook:
    """One connection to the book, for one invocation of a run. Raises sqlite3.Error, OSError and BatchmillError."""

    def __init__(self, path: Path, run: str, number: int = 0) -> None:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        refuse_network(path.parent)
        self._connection = _connect(path)
        self._run = run
        self._boot = _boot()
        self._process = f"{self._boot}:{os.getpid()}:{_start_of(os.getpid())}:{number}"
        self._settled_before: dict[int, int] = {}  # day -> what this invocation had settled when it began
        self._alive: dict[str, tuple[float, bool]] = {}

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def borrow(self, ask: Borrow, now: float, wall: float) -> Lent:
        """Take in what the run tells, and lend what it asks for."""
        with transaction(self._connection):
            quotas = tuple(self._lend(one, now, wall) for one in ask.quotas)
            money, most = self._lend_money(ask.money, int(wall // DAY)) if ask.money is not None else (None, None)
        return Lent(now, quotas, money, most)

    # --- quotas

    def _lend(self, ask: QuotaAsk, now: float, wall: float) -> QuotaLent:
        quota = self._read(ask.quota, now, wall)
        lent = lend(quota, ask, self._others(ask.quota, now), now)
        state = json.dumps(quota.dump(), separators=(",", ":"))
        self._connection.execute(
            "REPLACE INTO quotas VALUES (?, ?, ?, ?)", (ask.quota, state, self._boot, int(wall // DAY))
        )
        user = (ask.quota, self._process, max(lent.slots or 0, ask.open), ask.slots, now)
        self._connection.execute("REPLACE INTO users VALUES (?, ?, ?, ?, ?)", user)
        return lent

    def _read(self, name: str, now: float, wall: float) -> Quota:
        quota, today = Quota(), int(wall // DAY)
        row = self._connection.execute("SELECT state, boot, day FROM quotas WHERE name = ?", (name,)).fetchone()
        if row is not None and row[2] > today - REMEMBERED:
            state, boot, day = row
            quota.load(json.loads(state))
            if boot != self._boot:
                quota.restart(now)
            if day != today:
                quota.new_day()
        quota.day_ends = now + DAY - wall % DAY
        return quota

    def _others(self, quota: str, now: float) -> Others:
        query = "SELECT process, slots, wanted, asked FROM users WHERE quota = ? AND process <> ?"
        slots = runs = 0
        hungry = starving = False
        for process, lent, wanted, asked in self._connection.execute(query, (quota, self._process)).fetchall():
            if not self._is_alive(process, now):
                self._connection.execute("DELETE FROM users WHERE quota = ? AND process = ?", (quota, process))
                continue
            slots += lent
            if wanted and asked > now - ACTIVE:
                runs += 1
                hungry, starving = hungry or wanted > lent, starving or not lent
        return Others(slots, runs, hungry, starving)

    # --- money

    def _lend_money(self, ask: MoneyAsk, today: int) -> tuple[int, int | None]:
        before = self._begin_day(ask, today)
        limit, most = lend_money(ask, self._day(today), ask.spent - before)
        self._write_money(today, ask.spent - before, limit - ask.spent)
        return limit, most

    def _begin_day(self, ask: MoneyAsk, today: int) -> int:
        """What was settled before today. Reservations that are open at midnight move to the new day."""
        if today not in self._settled_before:
            for day, before in self._settled_before.items():
                self._write_money(day, ask.spent - before, 0)
            self._settled_before = {today: ask.spent if self._settled_before else 0}
            self._connection.execute("DELETE FROM money WHERE day < ?", (today - REMEMBERED,))
        return self._settled_before[today]

    def _write_money(self, day: int, spent: int, held: int) -> None:
        row = (day, self._process, self._run, spent, held)
        self._connection.execute("REPLACE INTO money VALUES (?, ?, ?, ?, ?)", row)

    def _day(self, today: int) -> Day:
        others = (today, self._process)
        query = "SELECT coalesce(sum(spent), 0) FROM money WHERE day = ? AND process <> ?"
        ((spent,),) = self._connection.execute(query, others).fetchall()
        query = "SELECT process, held FROM money WHERE day = ? AND process <> ? AND held > 0"
        held = self._connection.execute(query, others).fetchall()
        lost = sum(amount for process, amount in held if not self._is_alive(process, 0.0))
        return Day(spent, sum(amount for _, amount in held), lost)

    def settle_dead(self, spent_since: Callable[[float], int], wall: float) -> None:
        """Dead invocations of this run may have spent all that was lent to them: its ledger knows what they did.

        `spent_since` tells the micro-cents of its calls since a wall time, with those whose end nobody knows.
        """
        today = int(wall // DAY)
        with transaction(self._connection):
            query = "SELECT process, spent, held FROM money WHERE run = ? AND day = ?"
            rows = self._connection.execute(query, (self._run, today)).fetchall()
            dead = [(process, held) for process, _, held in rows if held and not self._is_alive(process, 0.0)]
            left = max(0, spent_since(today * DAY) - sum(spent for _, spent, _ in rows)) if dead else 0
            for process, held in dead:
                kept = min(held, left)
                left -= kept
                change = "UPDATE money SET held = ? WHERE day = ? AND process = ?"
                self._connection.execute(change, (kept, today, process))

    # --- who lives

    def _is_alive(self, process: str, now: float) -> bool:
        """Whether that process runs still; looked at anew once a second of `now`."""
        looked, alive = self._alive.get(process, (-1.0, True))
        if alive and (looked < 0 or now > looked + 1.0 or now == 0.0):
            boot, pid, start, _ = process.split(":")
            alive = boot == self._boot and _start_of(int(pid)) == start
            self._alive[process] = (now, alive)
        return alive


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    try:
        connection.execute(f"PRAGMA busy_timeout = {BUSY_MS}")
        connection.execute("PRAGMA journal_mode = WAL")
        # a power cut may take the last seconds, which pace forgives; no kill of a process takes anything
        connection.execute("PRAGMA synchronous = NORMAL")
        _make(connection)
    except BaseException:
        connection.close()
        raise
    with suppress(OSError):
        path.chmod(0o600)
    return connection


def _make(connection: sqlite3.Connection) -> None:
    with transaction(connection):
        ((version,),) = connection.execute("PRAGMA user_version").fetchall()
        if version == 0:
            for statement in _SCHEMA.split(";"):
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {VERSION}")
        elif version != VERSION:
            raise sqlite3.DatabaseError(f"it is of version {version}, this batchmill reads {VERSION}")


def _boot() -> str:
    """What tells one boot of the machine from another; monotonic times hold for one."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
    except OSError:
        return str(round(time.time() - time.monotonic(), -2))


def _start_of(pid: int) -> str:
    """When a process started, in ticks since boot (proc(5)); empty where there is none, or a dead one."""
    try:
        fields: list[Any] = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace").rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] == "Z" else str(fields[19])
