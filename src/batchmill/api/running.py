"""`run`: a batch goes to its end. The same batch again continues its run; an edited one starts the next."""

from __future__ import annotations

import json
import platform
import shlex
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from batchmill import plugins
from batchmill._version import __version__
from batchmill.api.batch import Batch, Target, from_call
from batchmill.api.runs import Run, exit_code, home_path
from batchmill.core.quota import DAY
from batchmill.driver.feed import Choice
from batchmill.driver.loop import Observer
from batchmill.driver.session import Finish, Order, Session
from batchmill.errors import LedgerError, TaskError, UsageError
from batchmill.ledger.home import Home, NewRun
from batchmill.ledger.invocation import copy_steps, prepare_invocation, set_run_state
from batchmill.ledger.lease import Lease, acquire
from batchmill.ledger.paths import RunPaths
from batchmill.ledger.reader import LedgerReader
from batchmill.live.base import Display
from batchmill.live.choice import choose
from batchmill.live.facts import GroupFacts, RunInfoLite
from batchmill.live.tracker import Tracker
from batchmill.live.watch import Watch
from batchmill.model.commands import Act
from batchmill.model.events import Event
from batchmill.model.states import JobState, RunState
from batchmill.report.query import RunView
from batchmill.report.summary import write_reports

LIMITS = (
    "workers",
    "concurrency",
    "timeout",
    "memory",
    "total_memory",
    "budget",
    "max_failures",
    "deadline",
    "rate",
    "quotas",
    "kill_grace",
    "jobs_per_worker",
    "worker_growth",
)


class Invocation(NamedTuple):
    """How a batch is run this time. Nothing here changes its plan."""

    home: Path
    choice: Choice | None = None
    keep_failed: bool = False
    fresh: bool = False  # results of other runs do not count, nor those of this one where it is finished
    inline: bool = False  # in this process, for a debugger
    drain_grace: float = 30.0


class Finished(NamedTuple):
    """How an invocation ended. `nothing_to_do`: every job was done before."""

    run: Run
    exit_code: int
    nothing_to_do: bool = False
    warnings: tuple[str, ...] = ()


class Observers(NamedTuple):
    """Several observers as one."""

    parts: tuple[Observer, ...]

    def see(self, events: Sequence[Event], act: Act) -> None:
        """Show one turn of the loop to each."""
        for part in self.parts:
            part.see(events, act)


def execute(
    batch: Batch,
    invocation: Invocation,
    display: Display,
    *,
    observers: Sequence[Observer] = (),
    opened: Callable[[Run, Session | None], None] = lambda run, session: None,
) -> Finished:
    """Run a batch to its end, or continue its run. `opened` is told the run as soon as it is known.

    Raises TaskError, UsageError (the name is another task's), RunHeld or LedgerError.
    """
    plugins.refuse_inside_import()
    _refuse_missing_tasks(batch)
    home = Home(invocation.home)
    paths, lease = _leased_run(home, batch, invocation.fresh)
    with lease:
        return invoke(paths, lease, batch, invocation, display, observers, opened)


def _refuse_missing_tasks(batch: Batch) -> None:
    missing = batch.plan.missing_tasks
    if missing:
        raise TaskError(
            f"the task `{missing[0]}` is not installed",
            hint=f"installed tasks: {', '.join(f'`{name}`' for name in plugins.task_names())}",
            code="task/unknown",
        )


def _leased_run(home: Home, batch: Batch, fresh: bool) -> tuple[RunPaths, Lease]:
    """The run to drive, and its lease: of drivers that start together one makes it."""
    _ = batch.plan.digest  # may walk many files: not while others wait
    with home.choosing():
        paths = _run_of(home, batch, fresh)
        return paths, acquire(paths)


def _run_of(home: Home, batch: Batch, fresh: bool) -> RunPaths:
    """The newest run of the batch's name, if its plan is this one (and it is not finished, where `fresh` is wanted);
    else a new run."""
    earlier = home.runs_of(batch.name)[-1:]
    for paths in earlier:
        with LedgerReader(paths.ledger) as reader:
            row = reader.run()
        done = fresh and row.state is RunState.FINISHED
        if row.plan_digest == batch.plan.digest and row.task == _task_name(batch) and not done:
            return paths
    with ExitStack() as stack:
        unfinished = [old for old in earlier if not _is_finished(old)]
        for old in unfinished:
            stack.enter_context(acquire(old))
        paths = home.create_run(_new_run(batch))
        for old in () if fresh else earlier:
            copy_steps(paths, old)
        for old in unfinished:  # its manifest was edited: `run` does not continue it any more
            set_run_state(old, RunState.SUPERSEDED, "its manifest was edited")
    return paths


def _task_name(batch: Batch) -> str:
    return batch.manifest.task or ",".join(sorted(batch.plan.tasks))


def _new_run(batch: Batch) -> NewRun:
    sources = {name: task.source._asdict() for name, task in batch.plan.tasks.items() if task.source is not None}
    for source in sources.values():
        source.pop("payload")
    provenance = {
        "batchmill": __version__,
        "python": platform.python_version(),
        "host": platform.node(),
        "platform": platform.platform(),
        "command": shlex.join(sys.argv),
        "tasks": sources,
        "manifest": str(batch.document.path or ""),
        "overrides": list(batch.overrides),
        "name": batch.name,
    }
    return NewRun(
        name=batch.name,
        task=_task_name(batch),
        plan_digest=batch.plan.digest,
        folder=str(batch.plan.folder),
        seed=batch.manifest.seed,
        provenance=json.dumps(provenance),
        manifest=batch.document.text,
    )


def _is_finished(paths: RunPaths) -> bool:
    with LedgerReader(paths.ledger) as reader:
        return reader.run().state is RunState.FINISHED


def invoke(
    paths: RunPaths,
    lease: Lease,
    batch: Batch,
    invocation: Invocation,
    display: Display,
    observers: Sequence[Observer],
    opened: Callable[[Run, Session | None], None],
) -> Finished:
    """Drive a run whose lease is held to its end, and write its reports."""
    run = Run(paths.folder)
    _refuse_empty_choice(paths, invocation.choice)
    prepare_invocation(paths, keep_failed=invocation.keep_failed)
    with LedgerReader(paths.ledger) as reader:
        row, counts, past = reader.run(), reader.counts(), reader.past(since=_needed_since(batch))
        if batch.manifest.order == "group" and invocation.choice is None:
            past = past._replace(waiting=reader.waiting())
    if row.plan_done and not counts.get("pending") and row.state is RunState.FINISHED:
        opened(run, None)
        return Finished(run, exit_code(row.state, row.reason, counts), nothing_to_do=True)
    few = _jobs_to_plan(batch, invocation.choice, counts.get(JobState.PENDING, 0))
    order = Order(
        paths,
        lease,
        row.name,
        batch.manifest,
        batch.plan.tasks,
        Path(row.folder),
        past,
        jobs=None if row.plan_done else islice(batch.plan.jobs(row.plan_position), few),
        planned=row.planned,
        partly=few is not None,
        total=batch.plan.count(),
        urgent=batch.plan.urgent,
        choice=invocation.choice,
        fresh=invocation.fresh,
        inline=invocation.inline,
        drain_grace=invocation.drain_grace,
    )
    with _folder_stays(paths):
        finish = _watched(order, run, counts, display, observers, opened)
        _conclude(batch, run)
    if finish.broken:
        raise TaskError(finish.broken, hint=f"`batchmill logs {run.id}` shows more", code="task/broken")
    return Finished(run, _code(run, finish), warnings=finish.warnings)


def _needed_since(batch: Batch) -> float | None:
    """From when on it matters what was spent: today, where a budget is not the run's own."""
    limits, now = batch.manifest.limits, time.time()
    return now - now % DAY if limits.budgets or limits.budget_per_day is not None else None


def _refuse_empty_choice(paths: RunPaths, choice: Choice | None) -> None:
    """Where the plan is not whole yet, the feeder refuses it once it is."""
    if choice is not None:
        with LedgerReader(paths.ledger) as reader:
            if reader.run().plan_done:
                choice.refuse_nothing(reader)


def _jobs_to_plan(batch: Batch, choice: Choice | None, pending: int) -> int | None:
    """How many more jobs this invocation must know; None for all, which whatever looks at the whole plan needs."""
    first = choice.first if choice is not None else None
    whole = batch.manifest.order == "group" or any(
        task.prepare is not None and not task.prepare_early for task in batch.plan.tasks.values()
    )
    return None if first is None or whole else max(0, first - pending)


@contextmanager
def _folder_stays(paths: RunPaths) -> Iterator[None]:
    """Whatever fails once somebody has deleted the run fails for that reason."""
    try:
        yield
    except (OSError, LedgerError) as error:
        if paths.ledger.exists():
            raise
        raise LedgerError(f"run `{paths.id}` was deleted while it ran", code="ledger/gone") from error


def _watched(
    order: Order,
    run: Run,
    counts: Mapping[str, int],
    display: Display,
    observers: Sequence[Observer],
    opened: Callable[[Run, Session | None], None],
) -> Finish:
    """Drive the run with its display."""
    with RunView(run.folder) as view:
        groups = {name: _group_facts(states) for name, states in view.groups().items() if name}
    whole = order.total if order.choice is None else None
    tracker = Tracker(time.monotonic, counts=counts, groups=groups, total=order.total or order.planned, whole=whole)
    holder: list[Session] = []
    watch = Watch(tracker, display, time.monotonic, lambda: holder[0].peek())
    session = Session(order, Observers((watch, *observers)))
    holder.append(session)
    display.begin(RunInfoLite(run.id, ", ".join(order.tasks), len(session.policy.places), bool(counts)))
    opened(run, session)
    try:
        finish = session.run()
        watch.show()
    finally:
        display.end()
    return finish


def _group_facts(states: Mapping[str, int]) -> GroupFacts:
    total = sum(states.get(state, 0) for state in JobState)
    return GroupFacts(total - states.get(JobState.PENDING, 0), total, states.get(JobState.FAILED, 0))


def _conclude(batch: Batch, run: Run) -> None:
    """What is made of a run once it stands still: reports in its folder, exports where the manifest wants them."""
    with RunView(run.folder) as view:
        columns = [column for task in batch.plan.tasks.values() for column in task.metric_columns]
        write_reports(view, batch.manifest.report.formats, columns=columns)
    if batch.manifest.output is not None:
        folder = batch.plan.folder / batch.manifest.output
        for fmt in batch.manifest.report.formats:
            run.export(folder / f"{run.name}.{fmt}", fmt)


def _code(run: Run, finish: Finish) -> int:
    if finish.ledger_error:
        return 5
    if finish.state is RunState.INTERRUPTED and finish.signal:
        return 128 + finish.signal
    return exit_code(finish.state, finish.reason, run.counts)


def run(
    target: Target = None,
    *,
    name: str | None = None,
    task: str | None = None,
    jobs: Sequence[Any] | None = None,
    matrix: Mapping[str, Any] | None = None,
    files: Mapping[str, Any] | None = None,
    table: Mapping[str, Any] | None = None,
    defaults: Mapping[str, Any] | None = None,
    limits: Mapping[str, Any] | None = None,
    retry: Mapping[str, Any] | None = None,
    output: str | None = None,
    home: str | Path | None = None,
    progress: bool = True,
    only: str | None = None,
    group: str | None = None,
    limit: int | None = None,
    sample: int | None = None,
    keep_failed: bool = False,
    fresh: bool = False,
    inline: bool = False,
    **more: Any,
) -> Run:
    """Run a batch to its end and return its Run; the same call again does only what is still missing.

    `target` is a function, a Task or the path of a manifest; without it, `task` names an installed task. All that
    a manifest takes is taken here too (`order`, `seed`, `reuse`, `durability`, `report`; the limits also as
    arguments of their own: `workers=4, timeout=300`). A failed job raises nothing: ask `run.counts`, or an
    outcome's `value`. `inline` runs the jobs in this process, for a debugger. Raises ManifestError, PlanError or
    TaskError before anything ran, RunHeld when another process runs it, LedgerError when the home cannot be used.
    """
    plugins.refuse_inside_import()
    values = {"name": name, "task": task, "jobs": jobs, "matrix": matrix, "files": files, "table": table}
    values |= {"defaults": defaults, "retry": retry, "output": output}
    batch = from_call(target, **values, **sections(limits=limits, **more))
    invocation = Invocation(home_path(home), choice_of(only, group, limit, sample), keep_failed, fresh, inline)
    return execute(batch, invocation, choose("human" if progress else "quiet", sys.stderr)).run


def choice_of(only: str | None, group: str | None, limit: int | None, sample: int | None) -> Choice | None:
    """Which jobs to run this time; None for all. Raises UsageError for a number below one."""
    for word, number in (("limit", limit), ("sample", sample)):
        if number is not None and number < 1:
            raise UsageError(f"`{word}` must be at least 1, not {number}")
    given = (only, group, limit, sample)
    return None if all(value is None for value in given) else Choice(*given)


def sections(limits: Mapping[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    """Keyword arguments as the sections of a manifest: limits that stand alone go into `limits`."""
    alone = {key: more.pop(key) for key in LIMITS if key in more}
    merged = {**(limits or {}), **{key: value for key, value in alone.items() if value is not None}}
    return {**more, **({"limits": merged} if merged else {})}
