"""What providers say of batches, right, wrong and hostile; and addresses that have none."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from batchmill.llm.lanes import anthropic, openai
from batchmill.llm.lanes.anthropic import AnthropicBatches
from batchmill.llm.lanes.offers import Look, Sent, Speaker, Trouble
from batchmill.llm.lanes.openai import OpenAIBatches
from batchmill.llm.providers.anthropic import Anthropic
from batchmill.llm.providers.base import Endpoint
from batchmill.llm.providers.openai import OpenAI
from batchmill.testing import FakeLLM
from tests.llm.lanes.jobs import ask, jobs, rows, settings_for, states
from tests.llm.servers import answering, serving

PLACE = Endpoint("http://h/v1")
SENT = Sent("ours", 2, 1000.0)


class Told(Speaker):
    """Says what it was given, by the end of the URL; remembers what it was asked."""

    def __init__(self, **answers: Any) -> None:
        self.answers, self.asked = answers, list[str]()

    def _answer(self, url: str) -> Any:
        self.asked.append(url.removeprefix("http://h/v1/"))
        return next(value for name, value in self.answers.items() if name in url)

    async def ask(self, method: str, url: str, body: bytes = b"", content_type: str = "") -> Any:
        answer = self._answer(url)
        return answer.pop(0) if isinstance(answer, list) else answer

    async def lines(self, url: str) -> AsyncIterator[dict[str, Any]]:
        for line in self._answer(url):
            yield line


def openai_batches(**answers: Any) -> tuple[OpenAIBatches, Told]:
    told = Told(**answers)
    return OpenAIBatches(OpenAI(), PLACE, told), told


def anthropic_batches(**answers: Any) -> tuple[AnthropicBatches, Told]:
    told = Told(**answers)
    return AnthropicBatches(Anthropic(), PLACE, told), told


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        ({"response": {"status_code": 200, "body": {"choices": []}}}, None),
        ({"response": {"status_code": 429, "body": {"error": {"message": "slow down"}}}}, "rate_limited"),
        ({"response": {"status_code": 400, "body": {"error": {"code": "context_length_exceeded"}}}}, "too_long"),
        ({"response": None, "error": {"code": "batch_expired", "message": "too late"}}, "timeout"),
        ({"response": {"status_code": 200, "body": "text"}}, "server"),
        ({"response": {"status_code": "200", "body": {}}}, "server"),
        ({}, "server"),
    ],
)
def test_lines_of_openai_are_replies_or_failures(line: dict[str, Any], kind: str | None) -> None:
    found = openai.result({"custom_id": "a", **line})
    assert found.line == "a"
    assert (found.body is None) is (kind is not None)
    assert (found.failure.kind if found.failure else None) == kind
    if kind is not None:
        assert found.failure is not None
        assert found.failure.status >= 400  # nobody bills it


@pytest.mark.parametrize(
    ("told", "kind"),
    [
        ({"type": "succeeded", "message": {"content": []}}, None),
        ({"type": "errored", "error": {"type": "error", "error": {"type": "overloaded_error"}}}, "server"),
        ({"type": "errored", "error": {"type": "invalid_request_error", "message": "bad"}}, "invalid_request"),
        ({"type": "expired"}, "timeout"),
        ({"type": "canceled"}, "server"),
        ({"type": "succeeded"}, "server"),
        ({"type": ["\x1b[31m"]}, "server"),
        (None, "server"),
    ],
)
def test_lines_of_anthropic_are_replies_or_failures(told: Any, kind: str | None) -> None:
    found = anthropic.result({"custom_id": "a", "result": told})
    assert (found.body is None) is (kind is not None)
    assert (found.failure.kind if found.failure else None) == kind


def test_what_a_provider_says_is_shown_without_what_a_terminal_obeys() -> None:
    error = {"message": "\x1b]0;owned\x07 refused\nby me", "code": "x"}
    offer, _ = openai_batches(
        batches={"status": "failed", "errors": {"data": [error]}, "request_counts": {"total": -5}}
    )
    look = asyncio.run(offer.look("batch_1"))
    assert look.is_over
    assert look.problem == "]0;owned refused by me"
    assert (look.done, look.failed) == (0, 0)


@pytest.mark.parametrize("id", ["", None, "../files", "a b", "x" * 300, 7, "\n"])
def test_an_id_that_cannot_be_in_a_url_is_none(id: Any) -> None:
    offer, _ = openai_batches(files={"id": "file-1"}, batches={"id": id})
    with pytest.raises(Trouble):
        asyncio.run(offer.submit("ours", [b"{}\n"]))


def test_a_batch_is_found_on_any_page_by_the_name_that_it_was_given() -> None:
    others = {"data": [{"id": "b1", "created_at": 2000, "metadata": None}], "has_more": True}
    ours = {"data": [{"id": "b2", "created_at": 1001, "metadata": {"batchmill": "ours"}}], "has_more": True}
    offer, told = openai_batches(batches=[others, ours])
    assert asyncio.run(offer.find(SENT, frozenset(), frozenset())) == "b2"
    assert told.asked == ["batches?limit=100", "batches?limit=100&after=b1"]


def test_batches_from_long_before_are_not_looked_through() -> None:
    old = {"data": [{"id": "b1", "created_at": 1000 - 7200}], "has_more": True}
    offer, told = openai_batches(batches=[old], files={"data": []})
    assert asyncio.run(offer.find(SENT._replace(at=1e4), frozenset(), frozenset())) is None
    assert len(told.asked) == 2


def test_a_file_without_its_batch_is_made_one() -> None:
    files = {"data": [{"id": "f1", "filename": "other.jsonl"}, {"id": "f2", "filename": "batchmill-ours.jsonl"}]}
    offer, _ = openai_batches(batches=[{"data": []}, {"id": "b9"}], files=files)
    assert asyncio.run(offer.find(SENT, frozenset(), frozenset())) == "b9"


def batch_of_anthropic(id: str, status: str = "ended", lines: int = 2) -> dict[str, Any]:
    counts = {"processing": 0, "succeeded": lines}
    return {"id": id, "processing_status": status, "request_counts": counts, "created_at": "1970-01-01T00:20:00Z"}


def test_a_batch_of_anthropic_is_known_by_its_size_and_its_lines() -> None:
    page = {"data": [batch_of_anthropic("a", lines=3), batch_of_anthropic("b"), batch_of_anthropic("c")]}
    answers = {"b/results": [{"custom_id": "theirs"}], "c/results": [{"custom_id": "mine"}], "batches": page}
    offer, told = anthropic_batches(**answers)
    assert asyncio.run(offer.find(SENT, frozenset({"x"}), frozenset({"mine"}))) == "c"
    assert told.asked[1:] == ["messages/batches/b/results", "messages/batches/c/results"]


def test_while_a_batch_that_may_be_ours_runs_nothing_is_decided() -> None:
    offer, _ = anthropic_batches(batches={"data": [batch_of_anthropic("a", "in_progress")]})
    with pytest.raises(Trouble) as trouble:
        asyncio.run(offer.find(SENT, frozenset(), frozenset({"mine"})))
    assert trouble.value.failure.retry
    assert asyncio.run(offer.find(SENT, frozenset({"a"}), frozenset({"mine"}))) is None


def test_results_of_strangers_and_repeated_ones_count_for_nobody() -> None:
    lines = [{"custom_id": "zz"}, {"custom_id": "a" * 40}, {"custom_id": None}, {}]
    offer, _ = anthropic_batches(results=lines)

    async def read() -> list[str]:
        return [result.line async for result in offer.results(Look("ended", outputs=("r",)))]

    assert asyncio.run(read()) == ["zz", "a" * 40, "", ""]


def test_an_address_without_batches_is_asked_live_and_not_tried_again() -> None:
    async def check() -> None:
        body = json.dumps({"error": {"message": "Not Found"}}).encode()
        async with FakeLLM() as fake, serving(answering(body, "404 Not Found")) as server:
            asked = jobs(2)
            settings = settings_for(fake)
            endpoint = settings.endpoints["openai"][0].model_copy(update={"url": f"{server.url}/v1"})
            settings = settings.model_copy(update={"endpoints": {"openai": (endpoint,)}})
            errors = await ask(asked, settings)
            uploads = [head for head in server.heads if "/files" in head]
            assert len(uploads) == 1
            assert all("404" in str(error) for error in errors)
            assert states(asked)[:2] == ["released", "settled"] or "released" in states(asked)
            await ask(asked, settings)
            assert [head for head in server.heads if "/files" in head] == uploads
            assert any("there are no batches" in line for job in asked for line in job.lines)
            assert {row.cost for row in rows(asked) if row.state == "settled"} == {0}

    asyncio.run(check())
