"""Cheap models first: who is asked, and what it saves."""

from __future__ import annotations

from typing import Any

import pytest

from batchmill import UsageError
from batchmill.llm import Answer, Cascade, ModelError, Settings
from batchmill.testing import FakeLLM
from tests.llm.client.jobs import RecordedJob, with_fake

SCHEMA = {"type": "object", "properties": {"sure": {"type": "number"}}, "required": ["sure"]}
MODELS = ("openai/cheap", "openai/strong")


def fake_of(**texts: str) -> Any:
    """A fake whose models say these texts; a check is answered by what `check` says."""
    return lambda asked: texts["check"] if "correct and complete" in asked.prompt else texts[asked.model]


def asked_models(job: RecordedJob) -> list[str]:
    """Who was asked, in order."""
    return [row.usage["model"].removeprefix("openai/") for row in job.rows]


def saved(job: RecordedJob) -> int:
    """Micro-cents, summed over the ledger's rows."""
    return sum(row.usage["saved"] for row in job.rows)


def test_a_good_answer_of_the_cheap_model_is_enough() -> None:
    async def ask(fake: FakeLLM, settings: Settings) -> None:
        job = RecordedJob()
        answer = await job.llm(settings).ask(Cascade(MODELS), "Are you sure?", schema=SCHEMA)
        assert (answer.model, answer.rung) == ("openai/cheap", "valid")
        assert asked_models(job) == ["cheap"]
        assert answer.saved == saved(job) == 9 * (answer.cost or 0)  # the strong one has ten times its price
        assert [(stage.model, stage.accepted) for stage in answer.stages] == [("openai/cheap", True)]
        assert job.rows[0].usage["stage"] == "1 openai/cheap"

    with_fake(ask, answer=fake_of(cheap='{"sure": 1}'))


def test_the_strong_model_is_asked_when_the_cheap_one_never_fits() -> None:
    async def ask(fake: FakeLLM, settings: Settings) -> None:
        job = RecordedJob()
        answer = await job.llm(settings).ask(Cascade(MODELS), "Are you sure?", schema=SCHEMA)
        assert (answer.model, answer.rung) == ("openai/strong", "escalated")
        assert asked_models(job) == ["cheap", "cheap", "strong"]
        cheap, strong = answer.stages
        assert (cheap.requests, cheap.accepted, strong.requests, strong.accepted) == (2, False, 1, True)
        assert answer.saved == saved(job) == -(cheap.cost or 0)  # it would have been cheaper to begin with the strong
        assert answer.cost == (cheap.cost or 0) + (strong.cost or 0) == fake_cost(job)

    with_fake(ask, answer=fake_of(cheap="no idea", strong='{"sure": 1}'))


def fake_cost(job: RecordedJob) -> int:
    """What the rows say."""
    return sum(row.cost or 0 for row in job.rows)


def test_the_strong_model_is_asked_when_the_caller_finds_an_answer_unsure() -> None:
    def unsure(answer: Answer) -> bool:
        return bool(answer.value["sure"] < 0.5)

    async def ask(fake: FakeLLM, settings: Settings) -> None:
        job = RecordedJob()
        answer = await job.llm(settings).ask(Cascade(MODELS, unsure=unsure), "Are you sure?", schema=SCHEMA)
        assert answer.value == {"sure": 0.2}  # of the last model, whatever it says
        assert asked_models(job) == ["cheap", "strong"]
        assert answer.saved == saved(job) == -(answer.stages[0].cost or 0)

    with_fake(ask, answer=fake_of(cheap='{"sure": 0.1}', strong='{"sure": 0.2}'))


@pytest.mark.parametrize(("word", "models"), [("Yes.", ["cheap", "cheap"]), ("no", ["cheap", "cheap", "strong"])])
def test_a_model_may_be_asked_whether_it_is_sure(word: str, models: list[str]) -> None:
    async def ask(fake: FakeLLM, settings: Settings) -> None:
        job = RecordedJob()
        answer = await job.llm(settings).ask(Cascade(MODELS, unsure="ask"), "What is it?")
        assert asked_models(job) == models
        assert answer.text == ("it is this" if len(models) == 2 else "it is that")
        assert answer.saved == saved(job)
        assert answer.cost == fake_cost(job)

    with_fake(ask, answer=fake_of(cheap="it is this", strong="it is that", check=word))


def test_the_next_model_is_asked_when_one_cannot() -> None:
    async def ask(fake: FakeLLM, settings: Settings) -> None:
        for fault in ("too_long", "refusal", "no_images"):
            fake.script(fault)
            job = RecordedJob()
            answer = await job.llm(settings, cache="off").ask(Cascade(MODELS), "What is it?")
            assert answer.model == "openai/strong"
        fake.script("auth")
        with pytest.raises(ModelError, match="key"):  # which no other model helps against
            await RecordedJob().llm(settings, cache="off").ask(Cascade(MODELS), "What is it?")

    with_fake(ask, answer=fake_of(cheap="this", strong="that"))


def test_a_cascade_may_have_more_than_two_models() -> None:
    async def ask(fake: FakeLLM, settings: Settings) -> None:
        job = RecordedJob()
        cascade = Cascade(("openai/a", "openai/b", "openai/c"), unsure=lambda answer: answer.text != "b", again=0)
        answer = await job.llm(settings).ask(cascade, "What is it?")
        assert answer.text == "b"
        assert [stage.accepted for stage in answer.stages] == [False, True]

    with_fake(ask, answer=fake_of(a="a", b="b", c="c"))


@pytest.mark.parametrize("models", [(), "openai/m"])
def test_a_cascade_needs_models(models: Any) -> None:
    with pytest.raises(UsageError, match="names of its models"):
        Cascade(models)
