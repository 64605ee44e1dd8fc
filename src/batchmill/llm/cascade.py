"""From a question to an answer: the ladder of one model (as it is, repaired, asked again), then the next model.

What a text is worth is in `structured`, what one request takes in `exchange`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from batchmill import UsageError
from batchmill.llm import structured
from batchmill.llm.answers import Answer, ModelError, Stage, add_costs, total
from batchmill.llm.bills import Purpose
from batchmill.llm.exchange import Desk, Done, exchange
from batchmill.llm.messages import Message, Reply, Request, Usage
from batchmill.llm.prices import Price
from batchmill.llm.structured import Misfit, Shape

_OF_NO_USE = frozenset({"invalid", "refusal", "too_long", "unsupported", "empty"})  # here, but perhaps not elsewhere
_CHECK = "Is your answer correct and complete? Reply with one word: yes or no."


@dataclass(frozen=True, slots=True)
class Cascade:
    """Models from the cheapest to the strongest; the next one is asked when an answer is invalid or unsure.

    `unsure` says which answers are: a function of the answer, or `ask`, which asks the model itself. It is not wanted
    of the last model. `again` is how often a model is told what is wrong with its answer before the next one's turn.
    """

    models: tuple[str, ...]
    unsure: Callable[[Answer], bool] | Literal["ask"] | None = None
    again: int = 1

    def __post_init__(self) -> None:
        if not self.models or isinstance(self.models, str):  # type: ignore[unreachable]
            raise UsageError(
                "a cascade needs the names of its models", hint='Cascade(("openai/small", "openai/large"))'
            )


class Rung(Purpose):
    """One request of the ladder: reads its reply, and remembers what came out."""

    def __init__(self, ascent: Ascent, label: str) -> None:
        super().__init__(ascent.on_text)
        self.stage = ascent.stage
        self.value: Any = None
        self.misfit = ""
        self.reached = ""
        self._ascent, self._label = ascent, label

    def judge(self, reply: Reply) -> str:
        """See Purpose."""
        shape = self._ascent.shape
        if shape is not None:
            self.reached = self._read(shape, reply)
        return self.reached

    def _read(self, shape: Shape, reply: Reply) -> str:
        try:
            self.value = shape.read(reply.text)
        except Misfit as error:
            return self._repair(shape, reply, str(error))
        return self._label or "valid"

    def _repair(self, shape: Shape, reply: Reply, why: str) -> str:
        if reply.finish == "length":  # repaired, it would be whole in form alone
            self.misfit = "it was cut at the limit of its length: answer more briefly"
            return "invalid"
        try:
            self.value = structured.repaired(shape, reply.text)
        except Misfit as error:
            self.misfit = str(error) or why
            return "invalid"
        return self._label or "repaired"

    def saved(self, usage: Usage, cost: int) -> int | None:
        """See Purpose."""
        return self._ascent.saved_by(self, usage, cost)


class Ascent:
    """One question on its way up. `run` is called once."""

    def __init__(
        self,
        desk: Desk,
        cascade: Cascade,
        request: Request,
        shape: Shape | None,
        variant: str,
        on_text: Callable[[str], None] | None = None,
    ) -> None:
        self.shape, self.on_text = shape, on_text
        self.stage = ""
        self._desk, self._cascade, self._request, self._variant = desk, cascade, request, variant
        self._stages: list[Stage] = []
        self._replies: list[Done] = []  # of this stage
        self._top: Price | None = None
        self._saved = 0
        self._claimed = 0  # the strongest model's price of the reply that counts so far
        if len(cascade.models) > 1:
            self._top = desk.service.prices.price_of(cascade.models[-1])

    async def run(self) -> Answer:
        """The first answer that is good enough. Raises ModelError."""
        models = self._cascade.models
        for number, model in enumerate(models):
            is_last = number == len(models) - 1
            self.stage = f"{number + 1} {model}" if len(models) > 1 else ""
            try:
                answer = await self._climb(model, number)
                if is_last or not await self._is_unsure(answer):
                    self._close_stage(model, accepted=True)
                    return replace(answer, stages=tuple(self._stages), saved=self._saved)
            except ModelError as error:
                if is_last or error.failure not in _OF_NO_USE:
                    raise
            self._close_stage(model, accepted=False)
        raise AssertionError("the last stage answers or raises")

    async def _climb(self, model: str, number: int) -> Answer:
        """The answer of one model. Raises ModelError."""
        request = replace(self._request, model=model) if number else self._request
        rung = Rung(self, "escalated" if number else "")
        reply = await self._asked(request, rung)
        for _ in range(self._cascade.again if self.shape is not None else 0):
            if not rung.misfit:
                break
            why, rung = rung.misfit, Rung(self, "escalated" if number else "asked_again")
            reply = await self._asked(structured.again(request, reply.text, why), rung)
        if rung.misfit:
            raise ModelError(
                f"`{model}` gave no answer that fits the schema: {rung.misfit}", failure="invalid", model=model
            )
        return Answer(reply.text, rung.value, model, reply.finish, rung.reached, ())

    async def _asked(self, request: Request, purpose: Purpose) -> Reply:
        done = await exchange(self._desk, request, purpose, self._variant)
        self._replies.append(done)
        return done.reply

    async def _is_unsure(self, answer: Answer) -> bool:
        unsure = self._cascade.unsure
        if unsure is None:
            return False
        if callable(unsure):
            return bool(unsure(answer))
        said = (Message("assistant", (answer.text,)), Message("user", (_CHECK,)))
        question = replace(
            self._request, model=answer.model, messages=(*self._request.messages, *said), schema=None, stop=()
        )
        reply = await self._asked(question, Check(self))
        return not reply.text.strip(" \t\r\n\"'*`.").lower().startswith("yes")

    def _close_stage(self, model: str, *, accepted: bool) -> None:
        self._stages.append(stage_of(model, self._replies, accepted=accepted))
        self._replies = []

    def saved_by(self, rung: Rung | None, usage: Usage, cost: int) -> int | None:
        """What a reply saved against asking the strongest model at once: its price for as many tokens, less the cost.

        A reply that does not fit saves nothing, and one that follows a reply takes back what that one claimed: so the
        rows of a question sum up to what the question saved.
        """
        if self._top is None:
            return None
        before = self._claimed
        if rung is not None:
            self._claimed = 0 if rung.misfit else self._top.cost(usage)
        saved = self._claimed - before - cost
        self._saved += saved
        return saved


class Check(Purpose):
    """The question whether an answer is right: it costs, and saves nothing."""

    def __init__(self, ascent: Ascent) -> None:
        super().__init__()
        self.stage = ascent.stage
        self._ascent = ascent

    def saved(self, usage: Usage, cost: int) -> int | None:
        """See Purpose."""
        return self._ascent.saved_by(None, usage, cost)


def plain_answer(model: str, done: Done) -> Answer:
    """The answer where any reply will do."""
    reply, requests, cost, worth = done
    stage = Stage(model, requests, not requests, reply.usage or Usage(), cost, worth, accepted=True)
    return Answer(reply.text, None, model, reply.finish, "", (stage,))


def stage_of(model: str, replies: Sequence[Done], *, accepted: bool) -> Stage:
    """What the replies of one model came to."""
    requests = sum(done.requests for done in replies)
    cached = sum(not done.requests for done in replies)
    usage = total(done.reply.usage for done in replies)
    cost, worth = add_costs(done.cost for done in replies), add_costs(done.worth for done in replies)
    return Stage(model, requests, cached, usage, cost, worth, accepted)
