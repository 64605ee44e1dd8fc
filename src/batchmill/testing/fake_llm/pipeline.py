"""What becomes of a question: recognised, refused or admitted, given its fault, answered, billed and noted.

Everything is decided at once and without I/O; waiting is for `wire`.
"""

from __future__ import annotations

import heapq
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from pydantic_core import from_json, to_json

from batchmill.testing.fake_llm import answers, chance, headers, spoiling
from batchmill.testing.fake_llm.asked import Answer, Asked, BadRequest, Family, Problem
from batchmill.testing.fake_llm.behaviour import Behaviour
from batchmill.testing.fake_llm.counts import Counts, Entry
from batchmill.testing.fake_llm.faults import ERRORS, UNBILLED, FaultPlan
from batchmill.testing.fake_llm.limits import Bucket, Quota
from batchmill.testing.fake_llm.wire import Ending, HttpRequest, Reply

Clock = Callable[[], float]
_UNASKED = frozenset({"stream", "stream_options", "metadata", "user", "keep_alive"})  # what changes no answer
_MALFORMED = (KeyError, TypeError, ValueError, AttributeError, IndexError)
_FORMS: dict[str, Any] = {"rate_limited": "seconds", "rate_limited_date": "date"}


class Pipeline:
    """Answers questions as its behaviour says. `clock` is monotonic, `wall` Unix time."""

    def __init__(self, behaviour: Behaviour, clock: Clock = time.monotonic, wall: Clock = time.time) -> None:
        self.behaviour = behaviour
        self.clock, self.wall = clock, wall
        self.counts = Counts()
        self.log: deque[Entry] = deque(maxlen=behaviour.log)
        self.faults = FaultPlan(behaviour.faults, behaviour.script, behaviour.by_text)
        self.outage = behaviour.outage
        self._started: float | None = None
        self._quotas: dict[tuple[str, str], Quota] = {}
        self._seen: dict[int, int] = {}
        self._billed: set[int] = set()
        self._keys: set[str] = set()
        self._free = [0.0] * (behaviour.slots or 0)

    def since_start(self) -> float:
        """Seconds since the first request."""
        now = self.clock()
        if self._started is None:
            self._started = now
        return now - self._started

    def live(self, family: Family, request: HttpRequest) -> Reply:
        """The reply to a request that waits for it."""
        self.counts.requests += 1
        try:
            asked = self.read(family, request, _json(request.body))
        except BadRequest as error:
            return self.problem(family, Problem("invalid_request", str(error)))
        problem = self._refused(family, asked) or self._limited(asked)
        if problem is not None:
            return self.problem(family, problem, asked)
        fault = self.faults.fault_of(asked)
        if fault is not None:
            self.counts.faults[fault] += 1
        if fault in ERRORS:
            self._settle(asked, 0)
            return self.problem(family, self._fault_problem(family, fault, asked), asked, fault)
        return self._answered(family, asked, fault)

    def batched(self, family: Family, request: HttpRequest, body: dict[str, Any], batch: str) -> tuple[int, Any]:
        """The status and the body for a line of a batch, at half price; faults of the wire do not happen there."""
        self.counts.batch_lines += 1
        try:
            asked = self.read(family, request, body)
        except BadRequest as error:
            return family.error(Problem("invalid_request", str(error)), None)
        problem = self._refused(family, asked)
        fault = None if problem else self.faults.fault_of(asked)
        if fault in ERRORS:
            problem = self._fault_problem(family, fault, asked)
        if problem is not None:
            status, told = family.error(problem, asked)
            self._note(family, asked, status, fault or problem.kind, None, batch)
            return status, told
        answer = self._answer(asked, fault)
        cost = self._bill(asked, answer, 0.5)
        self._note(family, asked, 200, fault if fault in spoiling.ANSWERS else "", answer, batch, cost)
        return 200, family.reply(asked, answer)

    def read(self, family: Family, request: HttpRequest, body: Any) -> Asked:
        """The question, recognised: whose it is, which one, and how often it has come. Raises BadRequest."""
        try:
            asked = family.read(request, body)
        except _MALFORMED as error:
            raise BadRequest(f"the request is malformed: {type(error).__name__}: {error}"[:200]) from None
        asked.key = key_of(request)
        asked.idempotency_key = request.headers.get("idempotency-key", "")
        if asked.idempotency_key:
            self.counts.repeated_keys += asked.idempotency_key in self._keys
            self._keys.add(asked.idempotency_key)
        kept = {name: value for name, value in asked.body.items() if name not in _UNASKED}
        asked.digest = chance.digest(self.behaviour.seed, to_json([asked.family, asked.model, kept]))
        asked.nth = self._seen.get(asked.digest, 0)
        self._seen[asked.digest] = asked.nth + 1
        return asked

    def _refused(self, family: Family, asked: Asked) -> Problem | None:
        """Why the question gets no answer, whatever the limits and faults are."""
        behaviour = self.behaviour
        since = self.since_start()
        if self.outage is not None and 0 <= since - self.outage[0] < self.outage[1]:
            self.counts.faults["outage"] += 1
            return self._fault_problem(family, "unavailable", asked)
        if behaviour.keys and asked.key not in behaviour.keys:
            return self._fault_problem(family, "auth", asked)
        if behaviour.models and asked.model not in behaviour.models:
            return self._fault_problem(family, "no_model", asked)
        if behaviour.context is not None and asked.tokens > behaviour.context:
            return self._fault_problem(family, "too_long", asked)
        if asked.images and not behaviour.vision:
            return self._fault_problem(family, "no_images", asked)
        return None

    def _limited(self, asked: Asked) -> Problem | None:
        if self.behaviour.concurrency is not None and self.counts.in_flight >= self.behaviour.concurrency:
            return self._violation("concurrency", 0.1)
        refusal = self._quota(asked).admit(_most_tokens(asked), self.clock(), self.wall())
        return self._violation(refusal.kind, refusal.wait) if refusal else None

    def _violation(self, kind: str, wait: float) -> Problem:
        self.counts.refused += 1
        self.counts.violations[kind] += 1
        when = headers.go_duration(wait)
        b = self.behaviour
        limit = {"requests": b.rpm, "tokens": b.tpm, "day": b.rpd}.get(kind)
        unit = "requests per day (RPD)" if kind == "day" else kind
        return Problem(kind, f"Rate limit reached on {unit}. Please try again in {when}.", wait, limit)

    def _quota(self, asked: Asked) -> Quota:
        quota = self._quotas.get((asked.key, asked.model))
        if quota is None:
            b, now = self.behaviour, self.clock()
            requests = Bucket(b.rpm, b.burst or max(1.0, b.rpm / 60), now) if b.rpm else None
            tokens = Bucket(b.tpm, b.token_burst or b.tpm, now) if b.tpm else None
            quota = self._quotas[asked.key, asked.model] = Quota(requests, tokens, b.rpd)
        return quota

    def _fault_problem(self, family: Family, fault: str, asked: Asked) -> Problem:
        words = family.words.get(fault) or spoiling.MESSAGES[fault]
        context = self.behaviour.context or 8192
        message = words.format(context=context, tokens=max(asked.tokens, context + 1))
        return Problem(fault, message, spoiling.WAITS.get(fault))

    def problem(self, family: Family, problem: Problem, asked: Asked | None = None, fault: str = "") -> Reply:
        """The reply that tells of a problem."""
        status, body = family.error(problem, asked)
        self.counts.statuses[str(status)] += 1
        lines = self._lines(family, asked)
        if problem.wait is not None:
            form = _FORMS.get(problem.kind, self.behaviour.retry_after)
            lines += headers.wait_lines(problem.wait, form, self.wall())
        self._note(family, asked, status, fault or problem.kind, None)
        return Reply(status, to_json(body), lines)

    def _lines(self, family: Family, asked: Asked | None) -> str:
        if asked is None:
            return ""
        name = "request-id" if family.name == "anthropic" else "x-request-id"
        lines = f"{name}: req_{answers.identity(asked)}\r\n"
        if self.behaviour.tell_limits and (self.behaviour.rpm or self.behaviour.tpm):
            lines += headers.limit_lines(family.name, self._quota(asked), self.wall())
        return lines

    def _answer(self, asked: Asked, fault: str | None) -> Answer:
        if asked.inputs:
            return answers.embed(asked, self.behaviour.dimensions)
        answer = answers.cut(asked, answers.say(asked, self.behaviour.answer), asked.max_tokens)
        return spoiling.ANSWERS[fault](answer) if fault in spoiling.ANSWERS else answer

    def _answered(self, family: Family, asked: Asked, fault: str | None) -> Reply:
        answer = self._answer(asked, fault)
        is_billed = fault not in UNBILLED
        cost = self._bill(asked, answer) if is_billed else 0
        self._settle(asked, asked.tokens + answer.tokens_out if is_billed else 0)
        self._note(family, asked, 200, fault or "", answer if is_billed else None, cost=cost)
        self.counts.in_flight += 1
        self.counts.max_in_flight = max(self.counts.max_in_flight, self.counts.in_flight)
        reply = self._written(family, asked, answer)
        reply = reply._replace(delay=self._delay(asked, answer), done=self._done)
        if fault is None:
            return reply
        if fault in ("hang", "reset"):
            return reply._replace(ending=Ending.HANG if fault == "hang" else Ending.RESET, body=b"", pieces=())
        return spoiling.spoilt(reply, fault, self.behaviour.drip)

    def _written(self, family: Family, asked: Asked, answer: Answer) -> Reply:
        lines = self._lines(family, asked)
        if not asked.stream:
            return Reply(200, to_json(family.reply(asked, answer)), lines)
        content_type, pieces = family.events(asked, answer)
        pause = 4 * self.behaviour.token_time  # a piece holds about three or four tokens
        return Reply(200, b"", lines, content_type, pieces=pieces, pause=pause, chunked=True)

    def _delay(self, asked: Asked, answer: Answer) -> float:
        """Seconds to the first byte; where slots are limited, after those that came before."""
        u = chance.uniform(asked.digest, chance.LATENCY, asked.nth)
        work = self.behaviour.latency.at(u)
        if not asked.stream:
            work += self.behaviour.token_time * answer.tokens_out
        if not self._free:
            return work
        now = self.clock()
        start = max(now, heapq.heappop(self._free))
        heapq.heappush(self._free, start + work)
        return start + work - now

    def _done(self, delivered: bool) -> None:
        self.counts.in_flight -= 1
        if delivered:
            self.counts.answered += 1
            self.counts.statuses["200"] += 1
        else:
            self.counts.abandoned += 1

    def _bill(self, asked: Asked, answer: Answer, share: float = 1.0) -> int:
        cost = round(share * self.behaviour.price(asked.model, answer.tokens_in, answer.tokens_out))
        self.counts.bill(asked.model, answer.tokens_in, answer.tokens_out, cost)
        self.counts.duplicates += asked.digest in self._billed
        self._billed.add(asked.digest)
        return cost

    def _settle(self, asked: Asked, used: int) -> None:
        """Give back the tokens that were reserved and not used."""
        tokens = self._quota(asked).tokens
        if tokens is not None:
            tokens.take(used - _most_tokens(asked))

    def _note(
        self,
        family: Family,
        asked: Asked | None,
        status: int,
        fault: str,
        billed: Answer | None,
        batch: str = "",
        cost: int = 0,
    ) -> None:
        entry = Entry(self.counts.requests, self.since_start(), family.name, status, fault, batch=batch)
        if asked is not None:
            entry.model, entry.idempotency_key = asked.model, asked.idempotency_key
            entry.digest = f"{asked.digest:016x}"
            entry.text = asked.text if self.behaviour.keep_texts else ""
        if billed is not None:
            entry.tokens_in, entry.tokens_out, entry.cost = billed.tokens_in, billed.tokens_out, cost
            entry.billed = True
        self.log.append(entry)


def _json(body: bytes) -> Any:
    try:
        return from_json(body)
    except ValueError as error:
        raise BadRequest(f"the body is not JSON: {error}"[:200]) from None


def _most_tokens(asked: Asked) -> int:
    return asked.tokens + (asked.max_tokens or 0)


def key_of(request: HttpRequest) -> str:
    """The key that the request was sent with, in the place of any family; empty if there is none."""
    given = request.headers
    if "authorization" in given:
        return given["authorization"].removeprefix("Bearer ")
    key = given.get("x-api-key") or given.get("x-goog-api-key") or ""
    return key or next((word[4:] for word in request.query.split("&") if word.startswith("key=")), "")
