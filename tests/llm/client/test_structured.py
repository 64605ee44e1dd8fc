"""Answers that have to fit a schema: the ladder from a clean answer to none at all."""

from __future__ import annotations

import json
from datetime import date
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field

from batchmill import UsageError
from batchmill.llm import ModelError, Settings, structured
from batchmill.llm.providers.openai import OpenAI
from batchmill.llm.structured import Misfit, repaired, shape_of
from batchmill.testing import FakeLLM
from tests.llm.client.jobs import RecordedJob, answers, with_fake

SCHEMA = {
    "type": "object",
    "properties": {"title": {"type": "string"}, "year": {"type": "integer"}},
    "required": ["title", "year"],
    "additionalProperties": False,
}
GOOD = '{"title": "Dune", "year": 1965}'
VALUE = {"title": "Dune", "year": 1965}


class Book(BaseModel):
    """A book."""

    title: str
    year: int = Field(ge=0)
    read: date | None = None


def rungs(job: RecordedJob) -> list[str]:
    """Which rung each reply reached."""
    return [row.usage["rung"] for row in job.rows]


def test_a_clean_answer_is_valid() -> None:
    async def ask(fake: FakeLLM, settings: Settings) -> None:
        job = RecordedJob()
        answer = await job.llm(settings).ask("openai/m", "Which book?", schema=SCHEMA)
        assert (answer.value, answer.rung) == (VALUE, "valid")
        book = await job.llm(settings).ask("openai/m", "Which book?", schema=Book)
        assert book.value == Book(title="Dune", year=1965)
        assert rungs(job) == ["valid", "valid"]

    with_fake(ask, answer=answers(GOOD))


@pytest.mark.parametrize(
    "said",
    [
        f"```json\n{GOOD}\n```",
        f"Here it is:\n{GOOD}\nIs there anything else?",
        f"<think>They want {{a book}}.</think>{GOOD}",
        "{'title': 'Dune', 'year': 1965,}",
        '{"title": "Dune", "year": 1965',
        "{title: Dune, year: 1965}",
    ],
)
def test_slips_are_repaired_without_a_request(said: str) -> None:
    async def ask(fake: FakeLLM, settings: Settings) -> None:
        job = RecordedJob()
        answer = await job.llm(settings).ask("openai/m", "Which book?", schema=SCHEMA)
        assert (answer.value, answer.rung, answer.requests) == (VALUE, "repaired", 1)
        assert rungs(job) == ["repaired"]

    with_fake(ask, answer=answers(said))


def test_an_answer_that_does_not_fit_is_asked_for_again_with_the_reason() -> None:
    asked: list[str] = []

    def reply(question: Any) -> str:
        asked.append(question.text)
        return GOOD if len(asked) > 1 else '{"title": "Dune", "year": "long ago"}'

    async def ask(fake: FakeLLM, settings: Settings) -> None:
        job = RecordedJob()
        answer = await job.llm(settings).ask("openai/m", "Which book?", schema=SCHEMA)
        assert (answer.value, answer.rung, answer.requests) == (VALUE, "asked_again", 2)
        assert rungs(job) == ["invalid", "asked_again"]
        assert "`year`" in asked[1]
        assert "long ago" in asked[1]

    with_fake(ask, answer=reply)


def test_an_answer_that_never_fits_is_invalid() -> None:
    async def ask(fake: FakeLLM, settings: Settings) -> None:
        job = RecordedJob()
        with pytest.raises(ModelError, match="fits the schema") as caught:
            await job.llm(settings).ask("openai/m", "Which book?", schema=Book)
        assert (caught.value.failure, caught.value.invalid) == ("invalid", True)
        assert rungs(job) == ["invalid", "invalid"]

    with_fake(ask, answer=answers("I would rather talk about the weather."))


def test_an_answer_that_was_cut_is_not_repaired_into_a_shorter_one() -> None:
    async def ask(fake: FakeLLM, settings: Settings) -> None:
        job = RecordedJob()
        schema = {"type": "array", "items": {"type": "integer"}}
        answer = await job.llm(settings).ask("openai/m", "Count.", schema=schema)
        assert (answer.value, answer.rung) == ([1, 2, 3, 4], "asked_again")

    with_fake(ask, answer=answers("[1, 2, 3, 4, 5, 6, 7, 8]", "[1, 2, 3, 4]"), script=["length"])


def test_a_model_without_a_native_mode_is_told_the_schema(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(OpenAI, "native_schema", False)
    asked: list[str] = []

    def reply(question: Any) -> str:
        asked.append(question.text)
        return GOOD

    async def ask(fake: FakeLLM, settings: Settings) -> None:
        for system in ("", "You like books."):
            answer = await RecordedJob().llm(settings).ask("openai/m", "Which?", schema=SCHEMA, system=system)
            assert answer.value == VALUE
        assert all('"additionalProperties": false' in text for text in asked)

    with_fake(ask, answer=reply)


def test_on_a_second_run_the_ladder_costs_nothing() -> None:
    async def ask(fake: FakeLLM, settings: Settings) -> None:
        first = await RecordedJob(1).llm(settings).ask("openai/m", "Which book?", schema=SCHEMA)
        job = RecordedJob(2)
        again = await job.llm(settings).ask("openai/m", "Which book?", schema=SCHEMA)
        assert (again.value, again.rung, again.requests) == (first.value, first.rung, 0)
        assert [hit["rung"] for hit in job.hits] == ["invalid", "asked_again"]
        assert (again.usage, again.worth) == (first.usage, first.worth)

    with_fake(ask, answer=answers("no", GOOD))


@pytest.mark.parametrize("schema", [{"type": "no such type"}, 5, str, {"$ref": "http://127.0.0.1:9/schema"}])
def test_what_is_no_schema_is_an_error_of_the_caller(schema: Any) -> None:
    async def ask(fake: FakeLLM, settings: Settings) -> None:
        with pytest.raises(UsageError, match="schema"):
            await RecordedJob().llm(settings).ask("openai/m", "Which?", schema=schema)

    with_fake(ask, answer=answers(GOOD))


def test_a_pydantic_model_is_read_as_json_is() -> None:
    shape = shape_of(Book)
    assert shape.read('{"title": "Dune", "year": 1, "read": "2020-01-02"}').read == date(2020, 1, 2)
    assert repaired(shape, "{'title': 'Dune', 'year': 1, 'read': '2020-01-02',}").read == date(2020, 1, 2)
    with pytest.raises(Misfit, match="`year`"):
        shape.read('{"title": "Dune", "year": -1}')


@pytest.mark.parametrize(
    "text",
    [
        "",
        "NaN",
        "[" * 100_000,
        "{'" + "\"'" * 50_000 + "}",
        "{" * 50_000 + "}" * 50_000,
        '{"a":' * 5_000,
        "}{",
        "nothing",
        "{" + "a" * 300_000,
    ],
)
def test_hostile_texts_are_misfits(text: str) -> None:
    shape = shape_of(SCHEMA)
    with pytest.raises(Misfit):
        shape.read(text)
    with pytest.raises(Misfit):
        repaired(shape, text)


@given(st.text(max_size=200))
def test_any_text_is_a_value_or_a_misfit(text: str) -> None:
    shape = shape_of(SCHEMA)
    for read in (shape.read, lambda said: repaired(shape, said)):
        try:
            value = read(text)
        except Misfit:
            continue
        assert set(value) == {"title", "year"}


@given(st.dictionaries(st.text(), st.integers() | st.text() | st.booleans()), st.text(alphabet="abc \n", max_size=20))
def test_json_among_talk_is_found(value: dict[str, Any], talk: str) -> None:
    shape = shape_of({"type": "object"})
    assert repaired(shape, f"{talk}{json.dumps(value)}{talk}") == value


def test_a_shape_is_made_once() -> None:
    assert shape_of(SCHEMA) is shape_of(dict(SCHEMA))
    assert shape_of(Book) is shape_of(Book)
    assert shape_of(shape_of(Book)) is shape_of(Book)


def test_what_a_model_is_told_is_bounded() -> None:
    shape = shape_of({"type": "array", "items": {"type": "integer"}})
    with pytest.raises(Misfit) as caught:
        shape.read(json.dumps(["x" * 1000] * 100))
    assert len(str(caught.value)) <= structured._SHOWN
