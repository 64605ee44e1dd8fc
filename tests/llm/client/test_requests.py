"""One question to a real server on loopback: what the ledger gets to know, and what is tried again."""

from __future__ import annotations

import asyncio
import socket

import pytest

from batchmill import UsageError
from batchmill.llm import Image, Message, ModelError, Request, Settings
from batchmill.testing import FakeLLM
from tests.llm.client.jobs import RecordedJob, answers, failures, settings_for, with_fake

PNG = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + (64).to_bytes(4, "big") * 2


def test_an_answer_is_one_row_with_its_true_cost() -> None:
    async def ask(fake: FakeLLM, settings: Settings) -> None:
        job = RecordedJob()
        answer = await job.llm(settings).ask("openai/m", "How are you?")
        (row,) = job.rows
        counts = fake.counts
        assert answer.text
        assert (row.state, row.usage["input"], row.usage["output"]) == ("settled", counts.tokens_in, counts.tokens_out)
        assert row.cost == answer.cost == counts.cost
        assert (answer.requests, answer.cached, answer.usage.input) == (1, False, counts.tokens_in)
        assert row.quota.startswith("openai/m/")
        assert row.usage["request_id"]
        assert row.usage["price"].startswith("own ")

    with_fake(ask)


def test_what_is_reserved_is_never_less_than_what_it_costs() -> None:
    async def ask(fake: FakeLLM, settings: Settings) -> None:
        job = RecordedJob()
        reserved: list[int] = []
        original = job.call
        job.call = lambda **asked: reserved.append(int(asked["cost"] * 10**8)) or original(**asked)  # type: ignore[method-assign,func-returns-value,return-value]
        for text in ("a", "ä ö ü" * 100, "漢字" * 500, "x" * 10_000, "\0\ud800"):
            await job.llm(settings).ask("openai/m", text, max_tokens=40)
        assert all(most >= (row.cost or 0) for most, row in zip(reserved, job.rows, strict=True))

    with_fake(ask)


@pytest.mark.parametrize("fault", ["server", "unavailable", "truncated", "html", "empty", "reset", "cut"])
def test_what_passes_is_tried_again(fault: str) -> None:
    async def ask(fake: FakeLLM, settings: Settings) -> None:
        job = RecordedJob()
        fake.script(fault, fault)
        answer = await job.llm(settings).ask("openai/m", "Hello")
        assert answer.requests == 3
        assert [row.usage.get("failure") is None for row in job.rows] == [False, False, True]
        assert len(job.slept) == 2

    with_fake(ask)


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        ("auth", "auth"),
        ("no_money", "no_money"),
        ("day_limit", "exhausted"),
        ("invalid_request", "invalid_request"),
        ("too_long", "too_long"),
        ("no_images", "unsupported"),
        ("refusal", "refusal"),
    ],
)
def test_what_lasts_is_never_tried_again(fault: str, kind: str) -> None:
    async def ask(fake: FakeLLM, settings: Settings) -> None:
        job = RecordedJob()
        with pytest.raises(ModelError) as caught:
            await job.llm(settings).ask("openai/m", "Hello")
        assert caught.value.failure == kind
        assert failures(job.rows) == [kind]
        assert not job.slept

    with_fake(ask, script=[fault])


def test_a_refused_request_costs_nothing_and_a_lost_one_may_be_billed() -> None:
    async def ask(fake: FakeLLM, settings: Settings) -> None:
        job = RecordedJob()
        await job.llm(settings).ask("openai/m", "Hello")
        refused, lost, answered = job.rows
        assert (refused.state, refused.cost, refused.tokens) == ("settled", 0, 0)
        assert (lost.state, lost.usage["failure"]) == ("unknown", "reset")
        assert (lost.cost or 0) > (answered.cost or 0) > 0

    with_fake(ask, script=["server", "reset"])


def test_it_gives_up_after_its_tries() -> None:
    async def ask(fake: FakeLLM, settings: Settings) -> None:
        job = RecordedJob()
        with pytest.raises(ModelError, match="the server failed") as caught:
            await job.llm(settings).ask("openai/m", "Hello")
        assert caught.value.failure == "server"
        assert len(job.rows) == 1 + settings.retry_attempts
        assert all(wait <= 2**number for number, wait in enumerate(job.slept))

    with_fake(ask, faults={"server": 1.0})


def test_it_waits_as_long_as_it_is_told_and_no_longer() -> None:
    async def ask(fake: FakeLLM, settings: Settings) -> None:
        job = RecordedJob()
        await job.llm(settings).ask("openai/m", "Hello")
        assert failures(job.rows) == ["rate_limited", None]
        assert job.slept == [1.0]
        (_, told), *_ = [seen for seen in job.limits if seen[1]["refused"]]
        assert told["pause"] == 1.0

    with_fake(ask, script=["rate_limited"])


def test_refusals_by_a_limit_do_not_use_up_the_tries() -> None:
    async def ask(fake: FakeLLM, settings: Settings) -> None:
        job = RecordedJob()
        await job.llm(settings).ask("openai/m", "Hello")
        assert len(job.rows) == 9

    with_fake(ask, script=["rate_limited"] * 8)


def test_an_outage_is_survived_although_it_takes_more_than_the_tries() -> None:
    async def ask(fake: FakeLLM, settings: Settings) -> None:
        job = RecordedJob()
        await job.llm(settings).ask("openai/m", "Hello")
        fake.script(*["unavailable"] * 12)
        await job.llm(settings).ask("openai/m", "Hello again")
        assert failures(job.rows) == [None, *["server"] * 12, None]

    with_fake(ask)


def test_numbers_of_tokens_that_cannot_be_are_not_billed_by() -> None:
    async def ask(fake: FakeLLM, settings: Settings) -> None:
        job = RecordedJob()
        await job.llm(settings).ask("openai/m", "Hello", max_tokens=50)
        (row,) = job.rows
        assert row.usage["estimated"]
        assert (row.cost or 0) >= fake.counts.cost

    with_fake(ask, script=["wrong_usage"])


def test_a_server_that_was_never_there_is_an_error_soon() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and does not listen
        settings = settings_for(f"http://127.0.0.1:{taken.getsockname()[1]}/v1")
        job = RecordedJob()
        with pytest.raises(ModelError, match="cannot connect") as caught:
            asyncio.run(job.llm(settings).ask("openai/m", "Hello"))
    assert caught.value.failure == "connect"
    assert [row.state for row in job.rows] == ["released"] * (1 + settings.retry_attempts)


@pytest.mark.parametrize("fault", ["rate_limited", "server", "reset", "truncated"])
def test_without_retries_there_is_one_request_whatever_comes_of_it(fault: str) -> None:
    async def ask(fake: FakeLLM, settings: Settings) -> None:
        job = RecordedJob()
        with pytest.raises(ModelError):
            await job.llm(settings.model_copy(update={"retry_attempts": 0})).ask("openai/m", "Hello")
        assert (fake.counts.requests, len(job.rows), job.slept) == (1, 1, [])

    with_fake(ask, faults={fault: 1.0})


def test_several_endpoints_share_the_work_and_a_dead_one_is_avoided() -> None:
    async def main() -> None:
        async with FakeLLM() as one, FakeLLM() as two:
            with socket.socket() as taken:
                taken.bind(("127.0.0.1", 0))
                dead = f"http://127.0.0.1:{taken.getsockname()[1]}/v1"
                settings = settings_for(one.openai_url, two.openai_url, dead)
                job = RecordedJob()
                await asyncio.gather(*(job.llm(settings).ask("openai/m", f"Question {n}") for n in range(30)))
                refused = failures(job.rows).count("connect")
                assert 1 <= refused <= 15
                assert not job.slept  # the others were there
                assert min(one.counts.answered, two.counts.answered) >= 10
                await job.llm(settings).ask("openai/m", "One more")
                assert failures(job.rows).count("connect") == refused

    asyncio.run(main())


def test_images_go_to_models_that_see() -> None:
    async def ask(fake: FakeLLM, settings: Settings) -> None:
        job = RecordedJob()
        answer = await job.llm(settings).ask("openai/m", "What is this?", images=[Image(PNG)])
        assert answer.text.count("[image") == 1

    with_fake(ask, answer="echo")


def test_messages_may_be_given_whole() -> None:
    async def ask(fake: FakeLLM, settings: Settings) -> None:
        job = RecordedJob()
        turns = [Message("user", ("My name is Ada.",)), Message("assistant", ("Hello Ada.",)), "What is my name?"]
        answer = await job.llm(settings).ask("openai/m", turns, system="Be brief.")
        assert answer.text == "What is my name?"
        request = Request("openai/m", (Message("user", ("Again",)),), max_tokens=20)
        assert (await job.llm(settings).complete(request)).text == "Again"
        with pytest.raises(UsageError, match="needs a prompt"):
            await job.llm(settings).ask("openai/m", [])

    with_fake(ask, answer="echo")


def test_secrets_that_a_server_echoes_are_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-planted-0123456789")

    async def ask(fake: FakeLLM, settings: Settings) -> None:
        from batchmill.llm.cache import state_folder
        from batchmill.llm.secrets import remember

        remember("sk-planted-0123456789")
        job = RecordedJob()
        await job.llm(settings).ask("openai/m", "Hello")
        kept = b"".join(path.read_bytes() for path in state_folder().iterdir())
        assert b"[secret]" in kept
        assert b"sk-planted" not in kept

    with_fake(ask, answer=answers("your key is sk-planted-0123456789"))


def test_text_may_be_seen_while_it_comes() -> None:
    async def ask(fake: FakeLLM, settings: Settings) -> None:
        job, pieces = RecordedJob(), list[str]()
        answer = await job.llm(settings).ask("openai/m", "Hello", on_text=pieces.append)
        assert len(pieces) > 1
        assert "".join(pieces) == answer.text
        assert job.rows[0].cost == fake.counts.cost
        pieces.clear()
        again = await job.llm(settings).ask("openai/m", "Hello", on_text=pieces.append)
        assert (again.cached, pieces) == (True, [answer.text])
        plain = await job.llm(settings).ask("openai/m", "Hello")
        assert (plain.cached, plain.text) == (True, answer.text)

    with_fake(ask)


@pytest.mark.parametrize("fault", ["cut", "truncated", "server", "reset"])
def test_a_stream_that_breaks_is_begun_again(fault: str) -> None:
    async def ask(fake: FakeLLM, settings: Settings) -> None:
        job, pieces = RecordedJob(), list[str]()
        answer = await job.llm(settings).ask("openai/m", "Hello", on_text=pieces.append)
        assert "".join(pieces).endswith(answer.text)
        assert [kind is None for kind in failures(job.rows)] == [False, True]

    with_fake(ask, script=[fault])
