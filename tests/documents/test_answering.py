"""Documents that are too long for one request: parts, steps, and one answer in the end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from batchmill import Skip
from batchmill.llm.messages import Image, Request
from batchmill.workloads.documents.answering import Ask, Cutting, Interview, Said, TooLong, _groups, together
from batchmill.workloads.documents.conversation import Conversation
from batchmill.workloads.documents.job import cutting_of, interviewed
from batchmill.workloads.documents.params import DocumentParams
from batchmill.workloads.documents.readers import Document, Picture
from batchmill.workloads.documents.result import DocumentResult

LONG = "".join(f"Sentence number {n} tells of a ship.\n" for n in range(60))


class FakeContext:
    """Keeps steps, and runs what is offloaded here."""

    def __init__(self) -> None:
        self.steps: dict[str, Any] = {}

    async def step(self, name: str, fn: Callable[..., Any], *args: Any) -> Any:
        if name not in self.steps:
            self.steps[name] = await fn(*args)
        return self.steps[name]

    async def offload(self, fn: Callable[..., Any], *args: Any) -> Any:
        return fn(*args)


class Model:
    """Answers with a running number; `most` characters are what it can read."""

    def __init__(self, most: int = 10**9) -> None:
        self.requests: list[Request] = []
        self._most = most

    async def __call__(self, request: Request) -> Said:
        if len(text_of(request)) > self._most:
            raise TooLong("too long")
        self.requests.append(request)
        number = len(self.requests)
        await asyncio.sleep(0)
        return Said(f"answer {number}", None, False, request.model, 10, 2)


def text_of(request: Request) -> str:
    return "\n".join(message.text for message in request.messages)


def ask(
    document: Document, model: Ask, context: FakeContext | None = None, /, **given: Any
) -> tuple[DocumentResult, FakeContext]:
    params = DocumentParams.model_validate({"model": "openai/m", "file": "docs/a.txt", **given})
    context = context or FakeContext()
    interview = Interview(context, model, Conversation(params, True), document, cutting_of(params))  # type: ignore[arg-type]
    return asyncio.run(interviewed(interview, params, document)), context


def test_a_short_document_is_one_request_after_its_prompt() -> None:
    model = Model()
    result, context = ask(Document("The text.", "text", size=9), model, prompt="Sum up.", system="Be brief.")
    (request,) = model.requests
    assert [(m.role, m.parts) for m in request.messages] == [
        ("system", ("Be brief.",)),
        ("user", ("Sum up.", "The text.")),
    ]
    assert (result.text, result.chunks, result.usage.requests, result.bytes) == ("answer 1", 1, 1, 9)
    assert context.steps == {}


def test_a_prompt_that_places_the_document_has_it_once() -> None:
    model = Model()
    ask(Document("The text.", "text"), model, prompt="From {{ file.name }}: <{{ text }}> Sum up.")
    assert model.requests[0].messages[0].parts == ("From a.txt: <The text.> Sum up.",)


def test_a_long_document_is_asked_about_in_parts_and_combined() -> None:
    model = Model()
    result, context = ask(Document(LONG, "text"), model, prompt="Sum up.", chunk_tokens=200, chunk_overlap=0)
    *parts, last = model.requests
    assert "".join(str(request.messages[0].parts[1]) for request in parts) == LONG
    assert result.chunks == len(parts)
    assert "Sum up." in text_of(last)
    assert "Part 1:\nanswer 1" in text_of(last)
    assert result.text == f"answer {len(parts) + 1}"
    assert result.usage.model_dump() == {
        "input": 10 * len(model.requests),
        "output": 2 * len(model.requests),
        "cached_input": 0,
        "requests": len(model.requests),
    }
    assert list(context.steps) == [
        *(f"document part {n} of {len(parts)}" for n in range(1, len(parts) + 1)), "document combined 1.1"
    ]  # fmt: skip


def test_a_step_that_is_saved_is_not_asked_again() -> None:
    first = Model()
    result, context = ask(Document(LONG, "text"), first, prompt="Sum up.", chunk_tokens=200)
    del context.steps["document combined 1.1"]
    context.steps = {name: list(value) for name, value in context.steps.items()}  # as JSON gives it back
    second = Model()
    again, _ = ask(Document(LONG, "text"), second, context, prompt="Sum up.", chunk_tokens=200)
    assert len(second.requests) == 1
    assert again.usage == result.usage


def test_many_answers_are_combined_in_groups() -> None:
    model = Model()
    result, context = ask(Document(LONG, "text"), model, prompt="x", chunk_tokens=50, chunk_overlap=0)
    assert result.chunks > 8
    assert {"document combined 1.1", "document combined 1.2", "document combined 2.1"} <= context.steps.keys()


def test_groups_shrink_at_every_level() -> None:
    for count in range(1, 30):
        groups = _groups(["a long answer " * 50] * count, 10)
        assert [item for group in groups for item in group] == ["a long answer " * 50] * count
        assert len(groups) <= max(1, count // 2)


def test_answers_of_parts_can_be_kept_apart() -> None:
    model = Model()
    result, _ = ask(Document(LONG, "text"), model, prompt="x", chunk_tokens=200, reduce="none")
    assert result.parts == [f"answer {n}" for n in range(1, result.chunks + 1)]
    assert result.text == "\n\n".join(result.parts)


def test_what_a_model_cannot_read_at_once_is_cut_smaller() -> None:
    model = Model(most=700)
    result, context = ask(Document(LONG, "text"), model, prompt="Sum up.", chunk_overlap=0)
    assert result.chunks == 4
    assert list(context.steps) == [*(f"document.{n}.{m}" for n in (1, 2) for m in (1, 2)), "document combined 1.1"]
    texts = [str(request.messages[0].parts[1]) for request in model.requests[:-1]]
    assert "".join(texts) == LONG
    with pytest.raises(TooLong):
        ask(Document(LONG, "text"), Model(most=5), prompt="Sum up.")


def test_questions_begin_alike_and_the_first_goes_ahead() -> None:
    order: list[str] = []

    async def model(request: Request) -> Said:
        question = str(request.messages[-1].parts[-1])
        order.append(f"asked {question}")
        await asyncio.sleep(0)
        order.append(f"answered {question}")
        return Said(f"to {question}")

    questions = {"who": "Who?", "when": "When?", "why": "Why?"}
    result, context = ask(Document("The text.", "text"), model, prompt="Read this.", questions=questions)
    assert order == ["asked Who?", "answered Who?", "asked When?", "asked Why?", "answered When?", "answered Why?"]
    assert result.answers is not None
    assert {name: answer.text for name, answer in result.answers.items()} == {
        "who": "to Who?", "when": "to When?", "why": "to Why?"
    }  # fmt: skip
    assert result.text == "Who?\nto Who?\n\nWhen?\nto When?\n\nWhy?\nto Why?"
    assert list(context.steps) == ["question 1: who", "question 2: when", "question 3: why"]
    first = Conversation(DocumentParams(file="a", prompt="Read this.", questions=questions, model="m/m"), True)
    share = Document("The text.", "text")
    one = first.about(share, "Who?").messages[0].parts  # type: ignore[arg-type]
    assert one[:-1] == ("Read this.", "The text.")


def test_images_go_with_the_text_as_many_as_a_request_takes() -> None:
    model = Model()
    pictures = tuple(Picture(bytes([n]), "image/png") for n in range(25))
    result, _ = ask(Document("Text.", "pdf", pictures), model, prompt="x", model="anthropic/m")
    assert [len(request.images) for request in model.requests] == [0, 20, 5, 0]
    assert result.images == 25
    model = Model()
    ask(Document("Text.", "pdf", pictures[:3]), model, prompt="x", model="anthropic/m")
    (request,) = model.requests
    assert request.messages[0].parts == ("x", "Text.", *(Image(p.data, p.media_type) for p in pictures[:3]))


def test_pictures_of_a_model_that_reads_go_to_one_that_describes() -> None:
    model = Model()
    ask(Document("Text.", "pdf", (Picture(b"1", "image/png"),)), model, prompt="x", model="local/smollm2", vision=True)
    assert [request.model for request in model.requests] == ["local/smollm2", "describe/basic", "local/smollm2"]


def test_messages_are_a_whole_conversation() -> None:
    model = Model()
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hello"},
        {"role": "assistant", "content": "Yes?"},
        {"role": "user", "content": "Sum up."},
    ]
    ask(Document("The text.", "text"), model, messages=messages)
    assert [m.parts for m in model.requests[0].messages] == [
        ("Be brief.",), ("Hello",), ("Yes?",), ("Sum up.", "The text.")
    ]  # fmt: skip


def test_structured_answers_of_parts_are_combined_as_data() -> None:
    requests: list[Request] = []

    async def model(request: Request) -> Said:
        requests.append(request)
        return Said("{}", {"n": len(requests)})

    schema = {"type": "object"}
    result, _ = ask(Document(LONG, "text"), model, prompt="x", chunk_tokens=200, schema=schema)
    assert all(request.schema == schema for request in requests)
    assert '{"n": 1}' in text_of(requests[-1])
    assert result.data == {"n": len(requests)}


def test_the_first_error_ends_what_runs_beside_it() -> None:
    ended: list[str] = []

    async def slow() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("slow")

    async def fails() -> None:
        await asyncio.sleep(0)
        raise Skip("no")

    async def both() -> None:
        with pytest.raises(Skip):
            await together([slow(), fails()])
        await asyncio.sleep(0)

    asyncio.run(both())
    assert ended == ["slow"]


def test_a_table_is_cut_between_lines() -> None:
    model = Model()
    rows = "\n".join(f"{n},value {n}" for n in range(100))
    document = Document(f"id,text\n{rows}", "csv", header="id,text", is_table=True)
    ask(document, model, prompt="x", chunk_tokens=100)
    texts = [str(request.messages[0].parts[1]) for request in model.requests[:-1] if len(request.messages[0].parts) > 1]
    assert all(text.startswith("id,text\n") for text in texts)


def test_cutting_follows_the_provider() -> None:
    assert cutting_of(DocumentParams(file="a", model="openai/m", chunk_tokens=500)) == Cutting(500, 60, 50, True, True)
