"""Replies are kept before they are read, found by their content, and shared by processes."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import stat
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchmill.llm import Image, Message, ModelError, Request, Settings, cache
from batchmill.llm.cache import ReplyCache, reply_key, state_folder
from batchmill.llm.providers.openai import OpenAI
from batchmill.testing import FakeLLM
from tests.llm.client.jobs import RecordedJob, answers, with_fake

ASKED = Request("openai/m", (Message("user", ("Hello",)),))


def test_an_equal_request_is_not_sent_again() -> None:
    async def ask(fake: FakeLLM, settings: Settings) -> None:
        job, other = RecordedJob(1), RecordedJob(2)
        first = await job.llm(settings).ask("openai/m", "Hello", temperature=0.5)
        again = await other.llm(settings).ask("openai/m", "Hello", temperature=0.5)
        assert again.text == first.text
        assert (again.cached, again.requests, again.cost, again.worth) == (True, 0, 0, first.worth)
        assert again.usage == first.usage
        assert not other.rows
        assert other.hits[0]["input"] == first.usage.input
        await other.llm(settings).ask("openai/m", "Hello", temperature=0.6)
        assert fake.counts.requests == 2

    with_fake(ask)


def test_of_fifty_one_questions_of_which_fifty_were_asked_one_is_sent() -> None:
    async def ask(fake: FakeLLM, settings: Settings) -> None:
        async def ask_all(job: RecordedJob, count: int) -> None:
            await asyncio.gather(*(job.llm(settings).ask("openai/m", f"Question {n}") for n in range(count)))

        await ask_all(RecordedJob(1), 50)
        fake.reset()
        await ask_all(RecordedJob(2), 51)
        assert fake.counts.requests == 1

    with_fake(ask)


def test_equal_requests_at_the_same_time_are_sent_once() -> None:
    async def ask(fake: FakeLLM, settings: Settings) -> None:
        job = RecordedJob()
        done = await asyncio.gather(*(job.llm(settings).ask("openai/m", "Hello") for _ in range(5)))
        assert len({answer.text for answer in done}) == 1
        assert fake.counts.requests == 1
        samples = [job.llm(settings).ask("openai/m", "Hello", variant=str(n)) for n in range(3)]
        await asyncio.gather(*samples)
        assert fake.counts.requests == 4

    with_fake(ask, latency="10ms")


def test_when_the_first_of_equal_requests_fails_the_next_one_is_sent() -> None:
    async def ask(fake: FakeLLM, settings: Settings) -> None:
        job = RecordedJob()
        asked = [job.llm(settings).ask("openai/m", "Hello") for _ in range(2)]
        first, second = await asyncio.gather(*asked, return_exceptions=True)
        assert isinstance(first, ModelError)
        assert not isinstance(second, BaseException)

    with_fake(ask, script=["auth"])


def test_fresh_asks_again_but_once_for_each_job_of_a_run() -> None:
    async def ask(fake: FakeLLM, settings: Settings) -> None:
        await RecordedJob(1).llm(settings).ask("openai/m", "Hello")
        job = RecordedJob(2)
        await job.llm(settings, cache="fresh").ask("openai/m", "Hello")
        await job.llm(settings, cache="fresh").ask("openai/m", "Hello")  # another attempt of it
        assert fake.counts.requests == 2
        await RecordedJob(3).llm(settings).ask("openai/m", "Hello")
        assert fake.counts.requests == 2

    with_fake(ask)


def test_without_the_cache_every_request_is_sent_and_nothing_is_kept() -> None:
    async def ask(fake: FakeLLM, settings: Settings) -> None:
        for _ in range(2):
            await RecordedJob().llm(settings, cache="off").ask("openai/m", "Hello")
        assert fake.counts.requests == 2
        assert not state_folder().exists()

    with_fake(ask)


def test_replies_that_are_too_old_are_not_taken() -> None:
    async def ask(fake: FakeLLM, settings: Settings) -> None:
        for max_age in (None, 60.0, 0.0):
            await RecordedJob().llm(settings, max_age=max_age).ask("openai/m", "Hello")
        assert fake.counts.requests == 2

    with_fake(ask)


def test_a_mistake_in_reading_a_reply_is_not_paid_for_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    async def ask(fake: FakeLLM, settings: Settings) -> None:
        def broken(self: OpenAI, body: bytes) -> Any:
            raise KeyError("a mistake of ours")

        job = RecordedJob()
        with monkeypatch.context() as patched:
            patched.setattr(OpenAI, "decode", broken)
            with pytest.raises(KeyError):
                await job.llm(settings).ask("openai/m", "Hello")
        answer = await job.llm(settings).ask("openai/m", "Hello")
        assert answer.cached
        assert fake.counts.requests == 1

    with_fake(ask)


def test_what_cannot_be_read_is_asked_for_again_by_the_same_version_and_read_again_by_another(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def ask(fake: FakeLLM, settings: Settings) -> None:
        with pytest.raises(ModelError, match="answered nothing"):
            await RecordedJob().llm(settings).ask("openai/m", "Hello")
        with pytest.raises(ModelError, match="answered nothing"):
            await RecordedJob().llm(settings).ask("openai/m", "Hello")
        assert fake.counts.requests == 2 * (1 + settings.retry_attempts)
        monkeypatch.setattr("batchmill.llm.exchange.__version__", "another")
        monkeypatch.setattr("batchmill.llm.failures.judge", lambda reply: None)
        answer = await RecordedJob().llm(settings).ask("openai/m", "Hello")
        assert answer.cached

    with_fake(ask, answer=answers(""))


def test_a_refusal_is_remembered() -> None:
    async def ask(fake: FakeLLM, settings: Settings) -> None:
        for _ in range(2):
            with pytest.raises(ModelError) as caught:
                await RecordedJob().llm(settings).ask("openai/m", "Hello")
            assert caught.value.failure == "refusal"
        assert fake.counts.requests == 1

    with_fake(ask, script=["refusal"])


def test_a_file_that_is_of_no_use_costs_the_cache_and_nothing_else() -> None:
    folder = state_folder()
    folder.mkdir(parents=True)
    (folder / "replies.db").write_bytes(b"this is no database, whatever its name says" * 100)

    async def ask(fake: FakeLLM, settings: Settings) -> None:
        job = RecordedJob()
        assert (await job.llm(settings).ask("openai/m", "Hello")).text
        assert (await job.llm(settings).ask("openai/m", "Hello")).text
        assert fake.counts.requests == 2
        (line,) = job.lines
        assert "replies are not kept" in line

    with_fake(ask)


def test_a_file_that_breaks_in_the_middle_costs_the_cache_and_nothing_else() -> None:
    async def ask(fake: FakeLLM, settings: Settings) -> None:
        job = RecordedJob()
        await job.llm(settings).ask("openai/m", "Hello")
        with sqlite3.connect(state_folder() / "replies.db") as connection:
            connection.execute("DROP TABLE replies")
        connection.close()
        assert (await job.llm(settings).ask("openai/m", "Hello again")).text
        assert len(job.lines) == 1

    with_fake(ask)


def test_replies_are_readable_for_their_user_alone() -> None:
    async def ask(fake: FakeLLM, settings: Settings) -> None:
        await RecordedJob().llm(settings).ask("openai/m", "Hello")

    with_fake(ask)
    assert stat.S_IMODE((state_folder() / "replies.db").stat().st_mode) == 0o600


def test_old_replies_are_removed(tmp_path: Path) -> None:
    path = tmp_path / "replies.db"
    asyncio.run(ReplyCache(path).put(b"k" * 20, b"body"))
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE replies SET at = at - 100")
    connection.close()
    asyncio.run(ReplyCache(path).put(b"l" * 20, b"body"))
    kept = ReplyCache(path, kept=50.0)
    assert kept.get(b"k" * 20) is None
    assert kept.get(b"l" * 20) is not None
    with sqlite3.connect(path) as connection:
        assert connection.execute("SELECT count(*) FROM replies").fetchone() == (1,)
    connection.close()


def test_many_processes_write_and_read_at_once(tmp_path: Path) -> None:
    path = tmp_path / "replies.db"
    code = (
        "import asyncio, sys\n"
        "from pathlib import Path\n"
        "from batchmill.llm.cache import ReplyCache\n"
        "async def main():\n"
        "    cache = ReplyCache(Path(sys.argv[1]))\n"
        "    keys = [f'{sys.argv[2]}-{n:018d}'.encode() for n in range(300)]\n"
        "    await asyncio.gather(*(cache.put(key, key * 20) for key in keys))\n"
        "    assert all(cache.get(key).body == key * 20 for key in keys)\n"
        "asyncio.run(main())\n"
    )
    running = [subprocess.Popen([sys.executable, "-c", code, str(path), str(n)]) for n in range(4)]
    assert [process.wait(60) for process in running] == [0] * 4
    with sqlite3.connect(path) as connection:
        assert connection.execute("SELECT count(*) FROM replies").fetchone() == (1200,)
    connection.close()


def test_what_another_process_wrote_is_found_a_moment_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "_LOOK_EVERY", 0.0)
    before, ours = ReplyCache(tmp_path / "replies.db"), ReplyCache(tmp_path / "replies.db")
    assert ours.get(b"k" * 20) is None
    asyncio.run(before.put(b"k" * 20, b"body"))
    assert ours.get(b"k" * 20) is not None
    assert ReplyCache(tmp_path / "replies.db").get(b"k" * 20) is not None  # which was there from the beginning


def test_of_a_very_large_file_every_request_is_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = [bytes([n]) * 20 for n in range(9)]
    for key in keys:
        asyncio.run(ReplyCache(tmp_path / "replies.db").put(key, key))
    monkeypatch.setattr(cache, "_MOST_KNOWN", 4)
    kept = ReplyCache(tmp_path / "replies.db")
    assert all(kept.get(key) for key in keys)


def test_two_keys_that_begin_alike_are_two_keys(tmp_path: Path) -> None:
    kept = ReplyCache(tmp_path / "replies.db")
    one, two = b"same 8 b" + b"1" * 12, b"same 8 b" + b"2" * 12
    asyncio.run(kept.put(one, b"one"))
    asyncio.run(kept.put(two, b"two"))
    assert [stored.body for stored in (kept.get(one), kept.get(two)) if stored] == [b"one", b"two"]
    asyncio.run(kept.put(one, b"newer"))
    found = kept.get(one)
    assert found is not None
    assert found.body == b"newer"


def test_where_the_state_is_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for value in ("", "not/absolute"):
        monkeypatch.setenv("XDG_STATE_HOME", value)
        assert state_folder() == tmp_path / ".local" / "state" / "batchmill"


CHANGES: dict[str, Any] = {
    "model": "openai/n",
    "messages": (Message("user", ("Hello", "")),),
    "max_tokens": 1023,
    "temperature": 0.0,
    "seed": 0,
    "stop": ("x",),
    "schema": {"type": "object"},
    "options": {"top_p": 1},
}


@pytest.mark.parametrize("field", CHANGES)
def test_whatever_can_change_the_answer_changes_the_key(field: str) -> None:
    assert reply_key(replace(ASKED, **{field: CHANGES[field]}), "openai") != reply_key(ASKED, "openai")


def test_family_and_variant_change_the_key() -> None:
    keys = {reply_key(ASKED, family, variant) for family in ("openai", "ollama") for variant in ("", "1", "\ud800")}
    assert len(keys) == 6


def test_the_order_of_keys_does_not() -> None:
    one = replace(ASKED, schema={"a": {"x": 1, "y": 2}, "b": [1]}, options={"p": 1, "q": 2})
    two = replace(ASKED, schema={"b": [1], "a": {"y": 2, "x": 1}}, options={"q": 2, "p": 1})
    assert reply_key(one, "openai") == reply_key(two, "openai")


def test_golden_keys() -> None:
    """A key that changes forgets every reply that anybody has: that is a decision, not an accident."""
    seen = replace(ASKED, messages=(Message("user", ("Hello", Image(b"123"))),), schema={"type": "object"}, seed=1)
    assert reply_key(ASKED, "openai").hex() == "b2342b9434b2196be917524faaea03a60de7c47d"
    assert reply_key(seen, "openai", "2").hex() == "7697453b9c23471a3b750c4d2422cb895c8c0a01"


@given(st.text(), st.text())
def test_any_text_has_a_key_of_its_own(one: str, two: str) -> None:
    keys = {reply_key(replace(ASKED, messages=(Message("user", (text,)),)), "openai") for text in (one, two)}
    assert len(keys) == len({one, two})


def test_lone_surrogates_have_keys() -> None:
    keys = {reply_key(replace(ASKED, messages=(Message("user", (text,)),)), "openai") for text in ("\ud800", "\ud801")}
    assert len(keys) == 2


def test_a_fork_has_a_writer_of_its_own(tmp_path: Path) -> None:
    code = (
        "import asyncio, os\n"
        "from batchmill.llm import service\n"
        "first = service.cache_of_user(print)\n"
        "asyncio.run(first.put(b'a' * 20, b'1'))\n"
        "child = os.fork()\n"
        "if child == 0:\n"
        "    cache = service.cache_of_user(print)\n"
        "    asyncio.run(cache.put(b'b' * 20, b'2'))\n"
        "    os._exit(0 if cache.get(b'a' * 20).body == b'1' else 1)\n"
        "assert os.waitpid(child, 0)[1] == 0\n"
        "assert first.get(b'b' * 20).body == b'2'\n"
    )
    environment = os.environ | {"XDG_STATE_HOME": str(tmp_path)}
    command = [sys.executable, "-W", "ignore", "-c", code]
    assert subprocess.run(command, env=environment, check=False, timeout=60).returncode == 0


def test_a_thread_of_a_closed_loop_is_no_reason_to_fail(tmp_path: Path) -> None:
    kept = cache.ReplyCache(tmp_path / "replies.db")

    async def leave() -> None:
        task = asyncio.create_task(kept.put(b"k" * 20, b"body"))
        await asyncio.sleep(0)
        task.cancel()

    asyncio.run(leave())
    asyncio.run(kept.put(b"l" * 20, b"body"))
    assert kept.get(b"k" * 20) is not None
