"""What readers of a ledger get: frozen records of a run, its jobs, attempts, steps, calls and artifacts.

How they are read is in `query`. Times are wall seconds since 1970, durations seconds, sizes bytes, money
micro-cents.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from typing import Any, NamedTuple

_NON_FINITE = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
_DECODER = json.JSONDecoder(parse_constant=str)
_MOST_DIGITS = 4000  # int() refuses longer texts (a guard against quadratic time)


def decode(text: str | bytes) -> Any:
    """The value of JSON text. Non-finite numbers are the strings `NaN`, `Infinity`, `-Infinity`, as stored."""
    if isinstance(text, bytes):
        text = text.decode()
    try:
        value, end = _DECODER.raw_decode(text)  # twice as fast as `decode`, which minds white space around
        return value if end == len(text) else _DECODER.decode(text)
    except json.JSONDecodeError:
        raise
    except ValueError:
        return json.loads(text, parse_constant=str, parse_int=_whole)


def decode_all(texts: Sequence[str | None]) -> list[Any]:
    """The values of many JSON texts, and None for None: in one go, which takes a third of the time."""
    try:
        values: list[Any] = decode(f"[{','.join('null' if text is None else text for text in texts)}]")
    except json.JSONDecodeError:
        values = []
    return values if len(values) == len(texts) else [None if text is None else decode(text) for text in texts]


def _whole(digits: str) -> int | str:
    return int(digits) if len(digits) < _MOST_DIGITS else digits


def non_finite(value: Any) -> float | None:
    """The number that `NaN`, `Infinity` or `-Infinity` stands for; None for anything else."""
    return _NON_FINITE.get(value) if isinstance(value, str) else None


def iso(time: float | None) -> str | None:
    """Wall seconds as ISO 8601 in UTC with milliseconds, such as `2030-01-31T09:30:00.250Z`."""
    if time is None:
        return None
    return datetime.fromtimestamp(time, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class Failure(NamedTuple):
    """Why a job failed: the kind (`error`, `timeout`, `memory`, `crashed`, `invalid`, `limit`) and in words."""

    kind: str
    message: str


@dataclass(frozen=True)
class RunInfo:
    """The run as a whole. `wall_s` counts the time in which a driver was alive, over all invocations."""

    id: str
    name: str
    ordinal: int
    task: str
    plan_digest: str
    state: str
    reason: str
    created: float
    started: float | None
    finished: float | None
    wall_s: float
    folder: str
    seed: int
    planned: int
    spent: int
    tick: int
    plan_done: bool
    provenance: Mapping[str, Any]


@dataclass(frozen=True)
class JobView:
    """One job as the ledger has it. `attempts` counts all attempts ever; times and usage are the last one's.

    `params`, `result` and `metrics` are decoded when first asked for, so that a cursor over many jobs is cheap.
    """

    number: int
    name: str
    key: str | None
    state: str
    group: str | None
    task: str
    attempts: int
    message: str
    kind: str | None
    wall_s: float | None
    cpu_s: float | None
    peak_rss_bytes: int | None
    started: float | None
    finished: float | None
    source_run: str | None  # of a cached job: where its result comes from
    source_job: int | None
    stored_params: str = field(repr=False)
    stored_metrics: str | None = field(repr=False)
    stored_result: str | None = field(repr=False)
    result_object: str | None
    cached: bool
    quarantined: bool
    read_object: Callable[[str], bytes] = field(repr=False, compare=False)

    @property
    def error(self) -> Failure | None:
        """Why it failed; None for a job in any other state (`message` holds the reason of a skip)."""
        return Failure(self.kind or "error", self.message) if self.state == "failed" else None

    @cached_property
    def params(self) -> dict[str, Any]:
        """The canonical parameters."""
        text: str | bytes = self.stored_params
        if self.stored_params.startswith("object:"):
            text = self.read_object(self.stored_params.removeprefix("object:"))
        params: dict[str, Any] = decode(text)
        return params

    @cached_property
    def result(self) -> Any:
        """The result, None when there is none. Raises LedgerError when its object is missing or damaged."""
        if self.result_object is not None:
            return decode(self.read_object(self.result_object))
        return None if self.stored_result is None else decode(self.stored_result)

    @cached_property
    def metrics(self) -> dict[str, Any]:
        """The flat columns that the task made of the result; empty when there are none."""
        metrics: dict[str, Any] = decode(self.stored_metrics) if self.stored_metrics else {}
        return metrics


@dataclass(frozen=True)
class AttemptView:
    """One attempt that ended. An attempt that is not `charged` does not count against its job."""

    number: int
    slot: int
    state: str
    kind: str | None
    message: str
    traceback: str
    started: float
    wall_s: float
    cpu_s: float
    peak_rss_bytes: int
    signal: int | None
    exit_code: int | None
    exceptions: tuple[str, ...]
    charged: bool
    log: tuple[str, int, int] | None  # file under logs/, first byte, byte after the last


@dataclass(frozen=True)
class StepView:
    """One finished step of a job: always saved, never run again."""

    name: str
    state: str
    attempt: int
    finished: float
    seconds: float
    stored_value: str = field(repr=False)  # JSON, or `object:` and a digest


@dataclass(frozen=True)
class CallView:
    """One metered request. `cost` is what was set aside while `reserved` or `unknown`, else the true cost."""

    id: int
    quota: str
    key: str
    state: str
    tokens: int
    cost: int
    reserved: float
    closed: float | None
    usage: Mapping[str, Any]


class CallGroup(NamedTuple):
    """The metered requests of one group of jobs, model and stage that are in one state. `cost` is in micro-cents,
    without the `unpriced` requests, answers of models whose price is unknown."""

    group: str
    model: str
    stage: str
    state: str
    requests: int
    failures: int
    tokens_in: int
    tokens_out: int
    cost: int
    unpriced: int = 0


class ArtifactView(NamedTuple):
    """A file that a job made: its content is `objects/ab/cdef...` of the home, by digest."""

    name: str
    digest: str
    size: int


class HookView(NamedTuple):
    """What a task's `prepare`, `summarise` or `report` hook came to."""

    hook: str
    task: str
    state: str
    kind: str | None
    message: str
    result: Any


class SlotView(NamedTuple):
    """What a worker slot held when the ledger was last written; of a dead driver's run: what it left behind."""

    slot: int
    job: int
    name: str
    attempt: int
    pid: int
    since: float


class Message(NamedTuple):
    """Failures of one kind whose messages begin with the same line: how many, and the first of them."""

    text: str
    jobs: int
    first: str


class FailureGroup(NamedTuple):
    """All failures of one kind. `messages` are the most frequent ones; the rest is counted in `others`."""

    kind: str
    jobs: int
    messages: tuple[Message, ...]

    @property
    def others(self) -> int:
        """Failures whose message is not among `messages`."""
        return self.jobs - sum(message.jobs for message in self.messages)
