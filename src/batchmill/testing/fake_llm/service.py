"""The fake service: what becomes of each request. It decides at once and without I/O; waiting is for `wire`."""

from __future__ import annotations

import heapq
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from pydantic_core import from_json, to_json

from batchmill.testing.fake_llm import answers, chance, headers, spoiling
from batchmill.testing.fake_llm.asked import Answer, Asked, BadRequest, Family, Problem
from batchmill.testing.fake_llm.behaviour import Behaviour, check_kinds
from batchmill.testing.fake_llm.counts import Counts, Entry
from batchmill.testing.fake_llm.families.openai import OpenAI
from batchmill.testing.fake_llm.faults import ERRORS, UNBILLED, FaultPlan
from batchmill.testing.fake_llm.limits import Bucket, Quota
from batchmill.testing.fake_llm.wire import Ending, HttpRequest, Reply

Clock = Callable[[], float]
_UNASKED = frozenset({"stream", "stream_options", "metadata", "user", "keep_alive"})  # what changes no answer


class Service:
    """Answers requests as its behaviour says. `clock` is monotonic, `wall` Unix time."""

    def __init__(self, behaviour: Behaviour, clock: Clock = time.monotonic, wall: Clock = time.time) -> None:
        self.behaviour = behaviour
        self._clock, self._wall = clock, wall
        openai = OpenAI()
        self._chats: Mapping[str, Family] = {"/v1/chat/completions": openai, "/openai/v1/chat/completions": openai}
        self.reset()

    def reset(self) -> None:
        """Forget everything that has happened: counts, log, limits, scripts."""
        self.counts = Counts()
        self.log: deque[Entry] = deque(maxlen=self.behaviour.log)
        self.faults = FaultPlan(self.behaviour.faults, self.behaviour.script, self.behaviour.by_text)
        self._started: float | None = None
        self._outage = self.behaviour.outage
        self._quotas: dict[tuple[str, str], Quota] = {}
        self._seen: dict[int, int] = {}
        self._billed: set[int] = set()
        self._keys: set[str] = set()
        self._free = [0.0] * (self.behaviour.slots or 0)

    def serve(self, request: HttpRequest) -> Reply:
        """The reply of one request."""
        if request.path.startswith("/fake/"):
            return self._control(request)
        family = self._chats.get(request.path)
        if family is None:
            return _json_reply(404, {"error": {"message": f"there is nothing at {request.path[:100]}"}})
        if request.method != "POST":
            return _json_reply(405, {"error": {"message": "use POST"}})
        return self._chat(family, request)

    def _control(self, request: HttpRequest) -> Reply:
        what = (request.method, request.path.removeprefix("/fake/"))
        if what == ("GET", "counts"):
            return _json_reply(200, self.counts)
        if what == ("GET", "log"):
            return _json_reply(200, list(self.log))
        if what == ("POST", "reset"):
            self.reset()
        elif what == ("POST", "script"):
            script = from_json(request.body)
            check_kinds(script)
            self.faults.add(script)
        elif what == ("POST", "outage"):
            self._outage = (self._since_start(), float(from_json(request.body)["seconds"]))
        else:
            return _json_reply(404, {"error": "counts, log, reset, script and outage are here"})
        return _json_reply(200, {})

    def _since_start(self) -> float:
        """Seconds since the first request."""
        now = self._clock()
        if self._started is None:
            self._started = now
        return now - self._started

    def _chat(self, family: Family, request: HttpRequest) -> Reply:
        self.counts.requests += 1
        try:
            asked = family.read(request, _object(request.body))
        except BadRequest as error:
            return self._problem(family, Problem("invalid_request", str(error)), None)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            return self._problem(family, Problem("invalid_request", f"the request is malformed: {error!r:.100}"), None)
        self._recognise(asked, request)
        problem = self._refused(asked)
        if problem is not None:
            return self._problem(family, problem, asked)
        fault = self.faults.fault_of(asked.digest, asked.nth, asked.text)
        if fault is not None:
            self.counts.faults[fault] += 1
        if fault in ERRORS:
            return self._problem(family, self._fault_problem(fault, asked), asked, fault)
        return self._answered(family, asked, fault)

    def _recognise(self, asked: Asked, request: HttpRequest) -> None:
        """Whose request it is, and which one, and how often it has come."""
        given = request.headers
        asked.key = given.get("authorization", "").removeprefix("Bearer ") or given.get("x-api-key", "")
        asked.key = asked.key or given.get("x-goog-api-key", "")
        asked.idempotency_key = given.get("idempotency-key", "")
        if asked.idempotency_key:
            self.counts.repeated_keys += asked.idempotency_key in self._keys
            self._keys.add(asked.idempotency_key)
        kept = {name: value for name, value in asked.body.items() if name not in _UNASKED}
        asked.digest = chance.digest(self.behaviour.seed, to_json([asked.family, asked.model, kept]))
        asked.nth = self._seen.get(asked.digest, 0)
        self._seen[asked.digest] = asked.nth + 1

    def _refused(self, asked: Asked) -> Problem | None:
        """Why the request gets no answer, whatever the faults are."""
        behaviour = self.behaviour
        since = self._since_start()
        if self._outage is not None and 0 <= since - self._outage[0] < self._outage[1]:
            self.counts.faults["outage"] += 1
            return Problem("unavailable", spoiling.MESSAGES["unavailable"])
        if behaviour.keys and asked.key not in behaviour.keys:
            return Problem("auth", spoiling.MESSAGES["auth"])
        if behaviour.models and asked.model not in behaviour.models:
            return Problem(
                "no_model", f"The model `{asked.model[:100]}` does not exist or you do not have access to it."
            )
        if behaviour.context is not None and asked.tokens > behaviour.context:
            return self._fault_problem("too_long", asked)
        if asked.images and not behaviour.vision:
            return self._fault_problem("no_images", asked)
        return self._limited(asked)

    def _limited(self, asked: Asked) -> Problem | None:
        if self.behaviour.concurrency is not None and self.counts.in_flight >= self.behaviour.concurrency:
            return self._violation("concurrency", 0.1)
        most = asked.max_tokens or 0
        refusal = self._quota(asked).admit(asked.tokens + most, self._clock(), self._wall())
        return self._violation(refusal.kind, refusal.wait) if refusal else None

    def _violation(self, kind: str, wait: float) -> Problem:
        self.counts.refused += 1
        self.counts.violations[kind] += 1
        when = headers.go_duration(wait)
        return Problem(kind, f"Rate limit reached on {kind}. Please try again in {when}.", wait)

    def _quota(self, asked: Asked) -> Quota:
        quota = self._quotas.get((asked.key, asked.model))
        if quota is None:
            b, now = self.behaviour, self._clock()
            requests = Bucket(b.rpm, b.burst or max(1.0, b.rpm / 60), now) if b.rpm else None
            tokens = Bucket(b.tpm, b.token_burst or b.tpm, now) if b.tpm else None
            quota = self._quotas[asked.key, asked.model] = Quota(requests, tokens, b.rpd)
        return quota

    def _fault_problem(self, fault: str, asked: Asked) -> Problem:
        message = spoiling.MESSAGES[fault].format(context=self.behaviour.context or 8192, tokens=asked.tokens)
        return Problem(fault, message, spoiling.WAITS.get(fault))

    def _problem(self, family: Family, problem: Problem, asked: Asked | None, fault: str = "") -> Reply:
        status, body = family.error(problem, asked)
        self.counts.statuses[str(status)] += 1
        lines = self._lines(family, asked)
        if problem.wait is not None:
            form = {"rate_limited": "seconds", "rate_limited_date": "date"}.get(
                problem.kind, self.behaviour.retry_after
            )
            lines += headers.wait_lines(problem.wait, form, self._wall())  # type: ignore[arg-type]
        self._note(family, asked, status, fault or problem.kind, None)
        return Reply(status, to_json(body), lines)

    def _lines(self, family: Family, asked: Asked | None) -> str:
        if asked is None:
            return ""
        name = "request-id" if family.name == "anthropic" else "x-request-id"
        lines = f"{name}: req_{asked.digest:016x}{asked.nth:04x}\r\n"
        if self.behaviour.tell_limits and (self.behaviour.rpm or self.behaviour.tpm):
            lines += headers.limit_lines(family.name, self._quota(asked), self._wall())
        return lines

    def _answered(self, family: Family, asked: Asked, fault: str | None) -> Reply:
        answer = answers.cut(asked, answers.say(asked, self.behaviour.answer), asked.max_tokens)
        if fault in spoiling.ANSWERS:
            answer = spoiling.ANSWERS[fault](answer)
        if fault not in UNBILLED:
            self._bill(asked, answer)
        self._note(family, asked, 200, fault or "", answer if fault not in UNBILLED else None)
        self.counts.in_flight += 1
        self.counts.max_in_flight = max(self.counts.max_in_flight, self.counts.in_flight)
        reply = self._written(family, asked, answer)
        reply = reply._replace(delay=self._delay(asked, answer), done=self._done)
        if fault is None:
            return reply
        if fault in ("hang", "reset"):
            return reply._replace(ending=Ending.HANG if fault == "hang" else Ending.RESET)
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
        now = self._clock()
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

    def _bill(self, asked: Asked, answer: Answer) -> None:
        cost = self.behaviour.price(asked.model, answer.tokens_in, answer.tokens_out)
        self.counts.bill(asked.model, answer.tokens_in, answer.tokens_out, cost)
        self.counts.duplicates += asked.digest in self._billed
        self._billed.add(asked.digest)

    def _note(self, family: Family, asked: Asked | None, status: int, fault: str, billed: Answer | None) -> None:
        if asked is None:
            asked = Asked(family.name, "", "", "")
        tokens_in, tokens_out = (billed.tokens_in, billed.tokens_out) if billed else (0, 0)
        self.log.append(
            Entry(
                self.counts.requests,
                self._since_start(),
                family.name,
                asked.model,
                status,
                fault,
                tokens_in,
                tokens_out,
                self.behaviour.price(asked.model, tokens_in, tokens_out),
                billed is not None,
                f"{asked.digest:016x}",
                asked.idempotency_key,
                text=asked.text if self.behaviour.keep_texts else "",
            )
        )


def _object(body: bytes) -> dict[str, Any]:
    value = from_json(body)
    if not isinstance(value, dict):
        raise BadRequest("the body must be a JSON object")
    return value


def _json_reply(status: int, value: Any) -> Reply:
    return Reply(status, to_json(value))
