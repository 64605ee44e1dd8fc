"""Batches: jobs of many lines that are done later, at half price. Their progress, results and expiry.

The paths and the JSON of the two families are in `families.openai_batches` and `families.anthropic_batches`.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from batchmill.testing.fake_llm import spoiling
from batchmill.testing.fake_llm.asked import BadRequest, Family, Problem
from batchmill.testing.fake_llm.pipeline import Pipeline, key_of
from batchmill.testing.fake_llm.wire import Ending, HttpRequest, Reply

VALIDATING, FINALIZING = 0.1, 0.9  # shares of a batch's time before which, and after which, its lines are not worked on


class Line(NamedTuple):
    """One request of a batch."""

    custom_id: str
    body: dict[str, Any]


class Result(NamedTuple):
    """What became of a line: a status and a body, or None where it was not done."""

    custom_id: str
    status: int | None
    body: Any


@dataclass(slots=True)
class Batch:
    """Lines that are being done. `share` of its time has passed; at 1 it has ended, by itself or `cancelled`."""

    id: str
    family: Family
    request: HttpRequest
    lines: list[Line]
    created: float  # monotonic
    created_at: int  # Unix time
    about: dict[str, Any] = field(default_factory=dict)  # what its maker said of it
    share: float = 0.0
    is_cancelled: bool = False
    results: list[Result] = field(default_factory=list)

    @property
    def has_ended(self) -> bool:
        """Whether its results are there."""
        return self.share >= 1

    @property
    def done(self) -> int:
        """How many lines have been worked on."""
        if self.has_ended:
            return sum(result.status is not None for result in self.results)
        return int(len(self.lines) * max(0.0, min(1.0, (self.share - VALIDATING) / (FINALIZING - VALIDATING))))

    @property
    def is_expired(self) -> bool:
        """Whether its time ended before its lines did."""
        return self.has_ended and not self.is_cancelled and self.done < len(self.lines)


class BatchStore:
    """All batches and files, oldest first."""

    def __init__(self, pipeline: Pipeline) -> None:
        self.pipeline = pipeline
        self.batches: dict[str, Batch] = {}
        self._chance = random.Random(pipeline.behaviour.seed)
        self._script = deque(pipeline.behaviour.batch_script)

    def new_id(self, prefix: str) -> str:
        """An identifier, the same for the same seed and order."""
        return f"{prefix}_{self._chance.getrandbits(96):024x}"

    def now(self) -> int:
        """Unix time in whole seconds."""
        return int(self.pipeline.wall())

    def create(self, prefix: str, family: Family, request: HttpRequest, lines: list[Line], about: Any) -> Batch:
        """Begin a batch."""
        batch = Batch(self.new_id(prefix), family, request, lines, self.pipeline.clock(), self.now(), about)
        self.batches[batch.id] = batch
        self.pipeline.counts.batches += 1
        return batch

    def made(self, family: Family, make: Callable[[], Reply]) -> Reply:
        """The reply of `make`, which makes a batch, with the next fault of the script."""
        fault = self._script.popleft() if self._script else None
        if fault is None:
            return make()
        self.pipeline.counts.faults[fault] += 1
        if fault in spoiling.MESSAGES:
            words = family.words.get(fault) or spoiling.MESSAGES[fault]
            return self.pipeline.problem(family, Problem(fault, words, spoiling.WAITS.get(fault)))
        if fault in ("hang", "reset"):
            return make()._replace(ending=Ending.HANG if fault == "hang" else Ending.RESET, body=b"")
        return spoiling.spoilt(make(), fault, self.pipeline.behaviour.drip)

    def advance(self) -> None:
        """Bring every batch to where it is now; those that end have their lines answered and billed."""
        now = self.pipeline.clock()
        for batch in self.batches.values():
            if batch.share < 1:
                batch.share = min(1.0, (now - batch.created) / max(self.pipeline.behaviour.batch_time, 1e-9))
                if batch.share == 1:
                    self._end(batch, round(len(batch.lines) * self.pipeline.behaviour.batch_done))

    def cancel(self, batch: Batch) -> None:
        """End a batch; what was done until now stays."""
        self.advance()
        if not batch.has_ended:
            done = batch.done
            batch.is_cancelled, batch.share = True, 1.0
            self._end(batch, done)

    def _end(self, batch: Batch, done: int) -> None:
        order = list(range(len(batch.lines)))
        self._chance.shuffle(order)  # results come in any order
        for place, index in enumerate(order):
            line = batch.lines[index]
            status, body = self._answer(batch, line) if place < done else (None, None)
            batch.results.append(Result(line.custom_id, status, body))

    def _answer(self, batch: Batch, line: Line) -> tuple[int, Any]:
        return self.pipeline.batched(batch.family, batch.request, line.body, batch.id)

    def waiting_tokens(self, model: str) -> int:
        """Tokens of the lines of a model that have not been done."""
        open_batches = [batch for batch in self.batches.values() if not batch.has_ended]
        return sum(self.tokens(batch.lines) for batch in open_batches if batch.about.get("model") == model)

    def tokens(self, lines: list[Line]) -> int:
        """About how many tokens go in with the lines."""
        return sum(len(repr(line.body.get("messages"))) for line in lines) // 4


class BatchPaths(Protocol):
    """One family's paths."""

    family: Family

    def serve(self, prefix: str, rest: tuple[str, ...], request: HttpRequest) -> Reply | None:
        """The reply, or None where there is nothing; `rest` is the path after `prefix`. Raises BadRequest."""
        ...


class BatchDesk:
    """Everything below the paths of batches and files."""

    def __init__(self, pipeline: Pipeline, families: Mapping[str, Family]) -> None:
        from batchmill.testing.fake_llm.families.anthropic_batches import AnthropicBatches
        from batchmill.testing.fake_llm.families.openai_batches import OpenAIBatches

        self._store = BatchStore(pipeline)
        self._paths: dict[str, BatchPaths] = {
            "/v1/messages/batches": AnthropicBatches(self._store, families["/v1/messages"]),
            "/v1/files": (openai := OpenAIBatches(self._store, families)),
            "/v1/batches": openai,
        }

    def advance(self) -> None:
        """Bring every batch to where it is now."""
        self._store.advance()

    def serve(self, request: HttpRequest) -> Reply | None:
        """The reply to a request about batches or files; None for any other."""
        path = request.path.removeprefix("/openai")
        for prefix, paths in self._paths.items():
            if path == prefix or path.startswith(f"{prefix}/"):
                rest = tuple(part for part in path.removeprefix(prefix).split("/") if part)
                self._store.advance()
                return self._served(paths, prefix, rest, request)
        return None

    def _served(self, paths: BatchPaths, prefix: str, rest: tuple[str, ...], request: HttpRequest) -> Reply:
        family, pipeline = paths.family, self._store.pipeline
        if pipeline.behaviour.keys and key_of(request) not in pipeline.behaviour.keys:
            return pipeline.problem(family, Problem("auth", spoiling.MESSAGES["auth"]))
        try:
            found = paths.serve(prefix, rest, request)
        except BadRequest as error:
            return pipeline.problem(family, Problem("invalid_request", str(error)))
        return found or pipeline.problem(family, Problem("not_found", "there is no such object"))
