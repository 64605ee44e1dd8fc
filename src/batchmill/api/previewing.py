"""What a run would do: how many jobs, and which of them are done, changed or new. Nothing is written, no home is made.

Ledgers of earlier runs are read; input files too, where only their content can tell whether a result exists.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

from batchmill.api.batch import Batch
from batchmill.api.forecasting import Forecast, Reservoir, estimates, expected
from batchmill.ledger.database import connect_reader, ledger_errors
from batchmill.ledger.home import Home, RunInfo
from batchmill.ledger.paths import RunPaths
from batchmill.model.jobs import FileIdentity, PlannedJob
from batchmill.model.states import JobState
from batchmill.plan.keys import digest_file, finish_key
from batchmill.report.query import RunView

_TO_RUN = ("new", "changed", "again")
_CHUNK = 1000
_NAMES = 3  # of changed parameters in a reason


class JobPreview(NamedTuple):
    """What would happen to a job: it is `new`, `changed` or would run `again`; it is `done`, `held` (quarantined or
    cancelled, until `retry`) or `invalid`. `reason` says why."""

    job: PlannedJob
    status: str
    reason: str


class Preview(NamedTuple):
    """What `run` would do. `run` is the run that it would continue, None when it would start the next one.

    `counts` has a number for each status that occurs; `first` are the first jobs of the plan. `forecast` tells
    what the jobs to run may come to, where their task can say.
    """

    name: str
    run: str | None
    total: int
    counts: dict[str, int]
    first: list[JobPreview]
    forecast: Forecast | None = None


def preview(batch: Batch, home: Path, limit: int = 20) -> Preview:
    """Compare the plan of a batch with the runs of a home. Raises PlanError when a source breaks while it is read."""
    infos = Home(home).runs() if (home / "runs").is_dir() else []
    with ExitStack() as stack:
        past = [stack.enter_context(_Past(RunPaths(home, info.id), info)) for info in reversed(infos)]
        judge = _Judge(batch, past)
        total = batch.plan.count()
        sample = Reservoir() if estimates(batch) else None
        if not judge.compares and total is not None and sample is None:
            first = [judge.fresh(job) for job in islice(batch.plan.jobs(), limit)]
            return Preview(batch.name, None, total, _invalid_apart(total, first), first)
        counts: Counter[str] = Counter()
        first = []
        for found in judge.all():
            counts[found.status] += 1
            if len(first) < limit:
                first.append(found)
            if sample is not None and found.status in _TO_RUN:
                sample.add(found.job)
        forecast = expected(batch, sample, _views(past)) if sample is not None else None
    continued = judge.continued.paths.id if judge.continued else None
    return Preview(batch.name, continued, counts.total(), dict(counts), first, forecast)


def _views(past: Sequence[_Past]) -> Iterator[RunView]:
    for run in past:
        with RunView(run.paths.folder) as view:
            yield view


def _invalid_apart(total: int, first: Sequence[JobPreview]) -> dict[str, int]:
    """The counts of a plan that nothing was run of: jobs past the first ones are not looked at."""
    counts = Counter(found.status for found in first)
    counts["new"] += total - len(first)
    return dict(counts)


class _Known(NamedTuple):
    """A job of an earlier run, by name."""

    key: str | None
    state: str
    kind: str | None
    quarantined: bool
    task: str
    version: str
    params: str
    inputs: tuple[FileIdentity, ...]


class _Past:
    """An earlier run, read-only."""

    def __init__(self, paths: RunPaths, info: RunInfo) -> None:
        self.paths = paths
        self.info = info
        with ledger_errors(paths.ledger):
            self._connection = connect_reader(paths.ledger)
            ((self.plan_digest,),) = self._connection.execute("SELECT plan_digest FROM run").fetchall()

    def __enter__(self) -> _Past:
        return self

    def __exit__(self, *exception: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._connection.close()

    def results(self, keys: Sequence[str]) -> set[str]:
        """Which of these keys have a result here."""
        query = (
            "SELECT DISTINCT jobs.key FROM json_each(?) AS wanted JOIN jobs ON jobs.key = wanted.value"
            " AND jobs.key_start = substr(wanted.value, 1, 8) WHERE state = 'succeeded'"
        )
        with ledger_errors(self.paths.ledger):
            return {key for (key,) in self._connection.execute(query, (json.dumps(keys),))}

    def named(self, names: Sequence[str]) -> dict[str, _Known]:
        """The jobs with these names."""
        query = (
            "SELECT name, jobs.key, state, kind, quarantined, task, version, params, inputs FROM json_each(?) AS wanted"
            " JOIN jobs ON name = wanted.value JOIN bindings ON bindings.id = jobs.binding"
        )
        with ledger_errors(self.paths.ledger):
            rows = self._connection.execute(query, (json.dumps(names),)).fetchall()
        return {name: _Known._make([*plain, _inputs(inputs)]) for name, *plain, inputs in rows}


def _inputs(text: str | None) -> tuple[FileIdentity, ...]:
    return tuple(FileIdentity(*identity) for identity in json.loads(text)) if text else ()


class _Judge:
    """Says of each job of a batch what would happen to it. `past` are all runs of the home, newest first."""

    def __init__(self, batch: Batch, past: Sequence[_Past]) -> None:
        self._plan = batch.plan
        self._own = [run for run in past if run.info.name == batch.name]
        self._all = past
        self._last = self._own[0] if self._own else None
        self._digests: dict[FileIdentity, str | None] = {}
        self._reuse = {name: batch.manifest.reuse or task.reuse for name, task in batch.plan.tasks.items()}
        same = self._last is not None and self._last.plan_digest == batch.plan.digest
        self.continued = self._last if same else None

    @property
    def compares(self) -> bool:
        """Whether there is anything to compare with."""
        return self._last is not None or (bool(self._all) and "any" in self._reuse.values())

    def all(self) -> Iterator[JobPreview]:
        """Every job of the plan, judged."""
        jobs = self._plan.jobs()
        while chunk := list(islice(jobs, _CHUNK)):
            yield from self._chunk(chunk)

    def fresh(self, job: PlannedJob) -> JobPreview:
        """A job that nothing is known of."""
        return JobPreview(job, "invalid", job.invalid) if job.invalid else JobPreview(job, "new", "")

    def _chunk(self, jobs: Sequence[PlannedJob]) -> Iterator[JobPreview]:
        known = self._last.named([job.name for job in jobs]) if self._last else {}
        keys = {job.number: self._key(job, known.get(job.name)) for job in jobs}
        done = self._done(jobs, keys)
        for job in jobs:
            yield self._judged(job, known.get(job.name), done.get(job.number))

    def _judged(self, job: PlannedJob, known: _Known | None, done_in: str | None) -> JobPreview:
        if job.invalid:
            return JobPreview(job, "invalid", job.invalid)
        if done_in is not None:
            return JobPreview(job, "done", f"done in {done_in}")
        if known is None or self._last is None:
            return JobPreview(job, "new", "")
        if self.continued is None:
            return JobPreview(job, *_difference(job, known, self._last.paths.id))
        if known.quarantined or known.state == JobState.CANCELLED:
            return JobPreview(job, "held", "quarantined" if known.quarantined else "cancelled")
        if known.state == JobState.FAILED:
            return JobPreview(job, "again", f"failed ({known.kind or 'error'}) in {self._last.paths.id}")
        if known.state == JobState.SKIPPED:
            return JobPreview(job, "done", f"skipped in {self._last.paths.id}")
        return JobPreview(job, "new", "planned, not run yet")

    def _done(self, jobs: Sequence[PlannedJob], keys: dict[int, str | None]) -> dict[int, str]:
        """The newest run with a result that each job may take, by number."""
        found: dict[int, str] = {}
        for run in self._all:
            open_jobs = [job for job in jobs if job.number not in found and self._may_take(job, run)]
            wanted = {job.number: key for job in open_jobs if (key := keys[job.number])}
            there = run.results(list(wanted.values())) if wanted else set()
            found |= {number: run.paths.id for number, key in wanted.items() if key in there}
        return found

    def _may_take(self, job: PlannedJob, run: _Past) -> bool:
        reuse = self._reuse.get(job.task, "name")
        return run is self.continued or reuse == "any" or (reuse == "name" and run in self._own)

    def _key(self, job: PlannedJob, known: _Known | None) -> str | None:
        """The job's key. Where its input files are those of a known job, it is that one's; else they are read."""
        if job.key is not None or job.invalid:
            return job.key
        same = known is not None and (known.task, known.version, known.params) == (job.task, job.version, job.params)
        if known is not None and same and known.inputs == job.inputs and known.key is not None:
            return known.key
        sizes = [each.size for each in known.inputs] if known is not None else []
        if known is not None and same and sizes != [each.size for each in job.inputs]:
            return None  # another content, surely
        digests = [self._digest(each) for each in job.inputs]
        return finish_key(job, [each for each in digests if each]) if all(digests) else None

    def _digest(self, file: FileIdentity) -> str | None:
        if file not in self._digests:
            try:
                self._digests[file] = digest_file(file.path)
            except (OSError, ValueError):  # it is gone, or is being written: the run will say so
                self._digests[file] = None
        return self._digests[file]


def _changed_names(before: str, now: str) -> str:
    """The names of the parameters that differ, a few of them."""
    old, new = json.loads(before), json.loads(now)
    names = [name for name in sorted({*old, *new}) if old.get(name) != new.get(name) or (name in old) != (name in new)]
    return ", ".join(names[:_NAMES]) + (", ..." if len(names) > _NAMES else "")


def _difference(job: PlannedJob, known: _Known, run: str) -> tuple[str, str]:
    """Why a job of the same name would run now, though an earlier run had it."""
    if known.task != job.task:
        return "changed", f"task changed: it was `{known.task}` in {run}"
    if known.params != job.params:
        return "changed", f"parameters changed: {_changed_names(known.params, job.params)}"
    if known.version != job.version:
        return "changed", "code changed"
    if known.inputs != job.inputs:
        return "changed", "input file changed"
    if known.state == JobState.FAILED:
        return "again", f"failed ({known.kind or 'error'}) in {run}"
    return "new", f"not done in {run}"
