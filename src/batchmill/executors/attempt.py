"""One attempt of a job, from its Work to its Outcome, the same in every executor."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from pydantic import BaseModel

from batchmill.executors import hooks
from batchmill.executors.blobs import store_bytes
from batchmill.executors.channel import LIMIT
from batchmill.executors.context import AsyncContext, Context
from batchmill.executors.failures import outcome_of
from batchmill.executors.messages import Work
from batchmill.executors.meter import Stopwatch, data_limit
from batchmill.executors.ports import Port
from batchmill.executors.runner import InvalidJob, Runner
from batchmill.executors.seeding import Seeder
from batchmill.model.jobs import FileIdentity
from batchmill.model.outcomes import Outcome
from batchmill.model.states import JobState


@dataclass
class Environment:
    """What all attempts of a process share."""

    run: str
    run_folder: Path
    seed: int
    runners: Mapping[str, Runner]
    jobs_reader: str
    results_reader: str
    prepared: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    seeder: Seeder = field(default_factory=Seeder)

    @cached_property
    def tmp(self) -> Path:
        """Where blobs wait for the driver."""
        return self.run_folder / "tmp"


class Attempt:
    """Runs a Work once. Whatever the task does, short of killing the process, ends in an Outcome."""

    def __init__(self, work: Work, environment: Environment, port: Port, meter: Stopwatch) -> None:
        self._work, self._environment, self._port, self._meter = work, environment, port, meter
        self._context: Context | None = None

    def run(self) -> Outcome:
        """The outcome, without its log slice."""
        work, environment = self._work, self._environment
        environment.seeder.seed(environment.seed, work.key or f"job:{work.job}")
        before = _identities(work.inputs)
        started = self._meter.start()
        try:
            if work.memory is None:
                result, metrics = self._produce()
            else:
                with data_limit(work.memory):
                    result, metrics = self._produce()
            if before:
                _check_unchanged(before, work.inputs)
            outcome = self._succeeded(started, result, metrics)
        except BaseException as error:  # noqa: BLE001 - whatever a task raises is its outcome
            outcome = self._failed(started, error, before)
        finally:
            self._close()
        return outcome

    async def run_async(self) -> Outcome:
        """The same for a coroutine function, among others in one loop: no seeding, no limit on memory."""
        work = self._work
        before = _identities(work.inputs)
        started = self._meter.start()
        try:
            runner = self._environment.runners[work.task]
            value = runner.call(self._begin(runner), self._context)
            result, metrics = runner.finish(await value if hasattr(value, "__await__") else value)
            _check_unchanged(before, work.inputs)
            outcome = self._succeeded(started, result, metrics)
        except BaseException as error:  # noqa: BLE001 - whatever a task raises is its outcome
            outcome = self._failed(started, error, before)
        finally:
            self._close()
        return outcome

    def _produce(self) -> tuple[bytes, bytes | None]:
        work = self._work
        if work.hook:
            runner = self._environment.runners.get(work.task)
            return hooks.run(work, runner, self._environment, self._make_context(runner))
        runner = self._environment.runners[work.task]
        return runner.finish(runner.run(self._begin(runner), self._context))

    def _begin(self, runner: Runner) -> BaseModel:
        params = runner.params(self._work.params)
        if runner.wants_context:
            self._make_context(runner).params = params
        return params

    def _make_context(self, runner: Runner | None) -> Context:
        environment, work = self._environment, self._work
        kind = AsyncContext if runner is not None and runner.is_async and not work.hook else Context
        prepared = environment.prepared.get(work.task, {})
        self._context = kind(work, environment.run, environment.seed, environment.tmp, prepared, self._port)
        return self._context

    def _succeeded(self, started: float, result: bytes, metrics: bytes | None) -> Outcome:
        blob = None
        if len(result) > LIMIT and self._work.hook != "offload":
            blob = store_bytes(self._environment.tmp, result)
        usage = self._meter.stop(started)
        return Outcome(
            JobState.SUCCEEDED,
            usage,
            result=None if blob else result,
            result_blob=blob,
            metrics=metrics,
            artifacts=self._context.artifacts if self._context is not None else (),
            resting_rss=self._meter.resting(usage),
        )

    def _failed(self, started: float, error: BaseException, before: list[FileIdentity | None]) -> Outcome:
        usage = self._meter.stop(started)
        outcome = outcome_of(_cause(error, before, self._work.inputs), usage)
        artifacts = self._context.artifacts if self._context is not None else ()
        return outcome._replace(artifacts=artifacts, resting_rss=self._meter.resting(usage))

    def _close(self) -> None:
        if self._context is not None:
            self._context.close()
            self._context = None


def _identities(inputs: tuple[FileIdentity, ...]) -> list[FileIdentity | None]:
    return [_identity(i.path) for i in inputs] if inputs else []


def _identity(path: str) -> FileIdentity | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return FileIdentity(path, found.st_size, found.st_mtime_ns, found.st_ino)


def _check_unchanged(before: list[FileIdentity | None], inputs: tuple[FileIdentity, ...]) -> None:
    """Raise InvalidJob when an input file is not what it was when the attempt began."""
    for planned, then in zip(inputs, before, strict=True):
        if _identity(planned.path) != then:
            raise InvalidJob(f"`{planned.path}` changed while it was read")


def _cause(error: BaseException, before: list[FileIdentity | None], inputs: tuple[FileIdentity, ...]) -> BaseException:
    """The error, unless an input file changed: then whatever was raised may come from that."""
    try:
        _check_unchanged(before, inputs)
    except InvalidJob as changed:
        return changed
    return error
