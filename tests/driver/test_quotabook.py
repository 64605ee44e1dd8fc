"""The book of quotas on disk: what one process writes another finds, also after a death, a midnight and a reboot."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from batchmill.driver import quotabook
from batchmill.driver.lender import FILE, Lender
from batchmill.driver.quotabook import QuotaBook, state_folder
from batchmill.errors import HomeError
from batchmill.ledger.paths import RunPaths
from batchmill.model.commands import Borrow, MoneyAsk, QuotaAsk, Told
from batchmill.model.events import Event, Lent, LimitSeen, QuotaLent
from batchmill.model.limits import QuotaLimit, Rate

TEN = QuotaLimit(rate=Rate(600, 60.0), burst=1.0)
NOON = 20_000 * 86_400.0 + 43_200.0

Open = Callable[..., QuotaBook]


@pytest.fixture
def book(tmp_path: Path) -> Iterator[Open]:
    opened: list[QuotaBook] = []

    def open_one(run: str = "run", path: Path = tmp_path / "state" / FILE) -> QuotaBook:
        opened.append(QuotaBook(path, run, len(opened)))
        return opened[-1]

    yield open_one
    for one in opened:
        one.close()


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    return tmp_path / "batchmill" / FILE


def lend(book: QuotaBook, now: float, calls: int, wall: float = NOON, **fields: object) -> QuotaLent:
    fields = {"quickest": 0.01, **fields}  # nothing has to be tried out slowly
    ask = QuotaAsk("q", fields.pop("limit", TEN), (1,) * calls, slots=calls, **fields)  # type: ignore[arg-type]
    return book.borrow(Borrow((ask,)), now, wall).quotas[0]


def test_times_that_one_run_was_lent_another_is_not(book: Open) -> None:
    one, other = book("one"), book("other")
    assert lend(one, 100.0, 3).times == pytest.approx((100.0, 100.1, 100.2))
    lent = lend(other, 100.0, 3)
    assert lent.times == ()
    assert 100.0 < lent.again < 100.3
    assert lend(other, 100.2, 1).times == pytest.approx((100.3,))


def test_what_comes_back_is_lent_again(book: Open) -> None:
    one, other = book("one"), book("other")
    lend(one, 100.0, 2)
    lend(one, 100.0, 0, unused=2)
    assert lend(other, 100.0, 1).times == (100.0,)


def test_what_the_service_told_one_run_holds_for_all(book: Open) -> None:
    one, other = book("one"), book("other")
    told = Told(LimitSeen(100.0, "q", QuotaLimit(rate=Rate(60, 60.0), concurrency=3), 130.0))
    lend(one, 100.0, 0, limit=QuotaLimit(), told=(told,))
    lent = lend(other, 101.0, 5)
    assert (lent.paused_until, lent.slots) == (130.0, 3)
    assert lent.limit.rate == Rate(60, 60.0)
    assert lend(other, 130.0, 5).times == (130.0,)


def test_a_refusal_of_one_run_slows_all(book: Open) -> None:
    one, other = book("one"), book("other")
    fast = QuotaLimit(rate=Rate(100, 1.0), burst=1.0)
    for tick in range(20):
        lend(one, 100.0 + tick / 5, 20, limit=fast)
    refused = Told(LimitSeen(104.0, "q", refused=True), left=103.9, tokens=1)
    lend(one, 104.0, 0, limit=fast, told=(refused,) * 5)
    times = lend(other, 105.0, 50, limit=fast).times
    assert len(times) < 0.9 * 0.25 * 100


def test_slots_of_a_process_that_died_are_free(book: Open, tmp_path: Path) -> None:
    limit = QuotaLimit(concurrency=4)
    program = f"""
import sys, time
from pathlib import Path
from batchmill.driver.quotabook import QuotaBook
from batchmill.model.commands import Borrow, QuotaAsk
from batchmill.model.limits import QuotaLimit
book = QuotaBook(Path({str(tmp_path / "state" / FILE)!r}), "dying")
ask = QuotaAsk("q", QuotaLimit(concurrency=4), (1,) * 9, slots=9)
print(book.borrow(Borrow((ask,)), time.monotonic(), time.time()).quotas[0].slots, flush=True)
sys.stdin.read()
"""
    mine = book()
    with subprocess.Popen([sys.executable, "-c", program], stdin=-1, stdout=-1, text=True) as dying:
        assert dying.stdout is not None
        assert dying.stdout.readline() == "4\n"
        assert lend(mine, 1e6, 9, limit=limit).slots == 0
        dying.send_signal(signal.SIGKILL)
    assert lend(mine, 1e6 + 2.0, 9, limit=limit).slots == 4


def test_a_new_day_brings_new_requests(book: Open) -> None:
    limit, one = QuotaLimit(day_requests=3), book()
    evening = NOON + 43_100.0
    assert len(lend(one, 100.0, 5, evening, limit=limit).times) == 3
    lent = lend(one, 101.0, 5, evening + 1.0, limit=limit)
    assert lent.times == ()
    assert len(lend(one, 201.0, 5, evening + 101.0, limit=limit).times) == 3


def test_after_a_reboot_limits_are_known_and_times_are_not(book: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    told = Told(LimitSeen(9e6, "q", QuotaLimit(rate=Rate(120, 60.0)), 9e6 + 50))
    lend(book(), 9e6, 2, limit=QuotaLimit(), told=(told,))
    monkeypatch.setattr(quotabook, "_boot", lambda: "another-boot")
    lent = lend(book(), 10.0, 1, limit=QuotaLimit())
    assert lent.times == (10.0,)
    assert (lent.limit.rate, lent.paused_until) == (Rate(120, 60.0), 0.0)


def money(book: QuotaBook, spent: int, reserved: int, wanted: int, budget: int | None, day: int = 0) -> Lent:
    return book.borrow(Borrow((), MoneyAsk(spent, reserved, wanted, budget)), 0.0, NOON + 86_400.0 * day)


def test_the_money_of_a_day_is_shared_and_a_new_day_brings_more(book: Open) -> None:
    one, other = book("one"), book("other")
    assert money(one, 0, 0, 70, 100).money == 70
    lent = money(other, 0, 0, 70, 100)
    assert (lent.money, lent.most) == (30, 100)
    money(one, 60, 0, 0, 100)
    lent = money(other, 0, 0, 70, 100)
    assert (lent.money, lent.most) == (40, 40)
    assert money(one, 60, 10, 70, 100, day=1).money == 60 + 10 + 70
    assert money(other, 40, 0, 70, 100, day=1).money == 40 + 20


def test_of_what_a_dead_invocation_held_as_much_is_spent_as_its_ledger_says(
    book: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quotabook, "_start_of", lambda pid: "dead")
    money(book("run"), 20, 30, 20, 100)
    money(book("run"), 0, 10, 0, 100)
    monkeypatch.undo()
    again, other = book("run"), book("other")
    assert money(other, 0, 0, 0, 100).most == 20
    again.settle_dead(lambda since: 200, NOON)
    assert money(other, 0, 0, 0, 100).most == 20
    again.settle_dead(lambda since: 45, NOON)  # of them, 20 were told
    assert money(other, 0, 0, 0, 100).most == 55
    again.settle_dead(lambda since: 20, NOON)
    assert money(other, 0, 0, 0, 100).most == 80


def test_the_ledger_is_asked_for_today_and_only_if_somebody_died(book: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[float] = []
    book("run").settle_dead(lambda since: asked.append(since) or 0, NOON)
    assert asked == []
    monkeypatch.setattr(quotabook, "_start_of", lambda pid: "dead")
    money(book("run"), 0, 10, 0, 100)
    monkeypatch.undo()
    book("run").settle_dead(lambda since: asked.append(since) or 0, NOON)
    assert asked == [NOON - 43_200.0]


def test_the_file_is_the_user_s_own(book: Open, tmp_path: Path) -> None:
    book()
    assert (tmp_path / "state" / FILE).stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "state").stat().st_mode & 0o777 == 0o700


def test_a_newer_book_is_left_alone(book: Open, tmp_path: Path) -> None:
    book().close()
    with closing(sqlite3.connect(tmp_path / "state" / FILE)) as connection:
        connection.execute("PRAGMA user_version = 99")
    with pytest.raises(sqlite3.DatabaseError, match="version 99"):
        book()


def test_a_network_folder_is_refused(book: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(folder: Path) -> None:
        raise HomeError("on a network file system")

    monkeypatch.setattr(quotabook, "refuse_network", refuse)
    with pytest.raises(HomeError):
        book()


def test_a_relative_state_home_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", "somewhere")
    assert state_folder() == Path.home() / ".local/state/batchmill"


class Post:
    """Collects what a lender answers."""

    def __init__(self) -> None:
        self.events: list[Lent] = []
        self._more = threading.Semaphore(0)

    def __call__(self, event: Event) -> None:
        assert isinstance(event, Lent)
        self.events.append(event)
        self._more.release()

    def next(self) -> Lent:
        assert self._more.acquire(timeout=20)
        return self.events[-1]


QUESTION = Borrow((QuotaAsk("q", TEN, (1,), slots=1),))
FAREWELL = Borrow((QuotaAsk("q", TEN, unused=1),), MoneyAsk(7, 0, 0, None))


def test_a_lender_answers_and_gives_back_at_the_end(state: Path, book: Open) -> None:
    post = Post()
    lender = Lender(RunPaths(state.parents[1], "run-1"), post)
    lender.ask(QUESTION)
    assert len(post.next().quotas[0].times) == 1
    lender.close(lambda: FAREWELL)
    assert money(book("other", state), 0, 0, 0, 100).most is not None
    with closing(sqlite3.connect(state)) as connection:
        assert connection.execute("SELECT slots, wanted FROM users").fetchall() == [(0, 0)]
        assert (7, 0) in connection.execute("SELECT spent, held FROM money").fetchall()


def test_a_lender_that_was_asked_nothing_makes_no_file(state: Path) -> None:
    Lender(RunPaths(state.parents[1], "run-1"), Post()).close(lambda: FAREWELL)
    assert not state.exists()


@pytest.mark.parametrize("damage", ["text", "schema", "row", "folder", "read-only"])
def test_a_book_that_cannot_be_used_is_told_once_and_never_asked_again(state: Path, damage: str) -> None:
    state.parent.mkdir(parents=True)
    _damage(state, damage)
    post = Post()
    lender = Lender(RunPaths(state.parents[1], "run-1"), post)
    for _ in range(2):
        lender.ask(QUESTION)
    broken = post.next().broken
    lender.close(lambda: FAREWELL)
    assert str(state) in broken
    assert "limits hold for this run alone" in broken
    assert len(post.events) == 1


def _damage(state: Path, damage: str) -> None:
    if damage == "folder":
        state.mkdir()
    elif damage == "text":
        state.write_text("this is no database, " * 500)
    elif damage == "read-only":
        if os.geteuid() == 0:
            pytest.skip("root may write everywhere")
        state.parent.chmod(0o500)
    else:
        QuotaBook(state, "x").close()
        with closing(sqlite3.connect(state)) as connection, connection:
            if damage == "schema":
                connection.execute("DROP TABLE users")
            else:
                connection.execute("INSERT INTO quotas SELECT 'q', '{\"seen\": 3}', ?, 1e9", (quotabook._boot(),))
