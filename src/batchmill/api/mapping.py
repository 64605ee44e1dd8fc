"""`map`: one function over many items, outcomes as they finish, while the batch runs in a thread behind."""

from __future__ import annotations

import queue
import shutil
import tempfile
import threading
from collections.abc import Callable, Generator, Iterable, Sequence
from pathlib import Path
from typing import Any

from batchmill import plugins
from batchmill.api.batch import Batch, from_call
from batchmill.api.running import Invocation, execute
from batchmill.api.runs import JobOutcome, Run, home_path
from batchmill.driver.session import Session
from batchmill.errors import UsageError
from batchmill.live.quiet import Quiet
from batchmill.model.commands import Act
from batchmill.model.events import Event
from batchmill.model.tasks import Task

_END = object()


def map(
    fn: Callable[..., Any] | Task,
    items: Iterable[Any],
    *,
    name: str | None = None,
    ordered: bool = False,
    home: str | Path | None = None,
    **options: Any,
) -> Generator[JobOutcome, None, None]:
    """Call `fn` on every item in worker processes; yields a JobOutcome for each, as they finish.

    An item is the function's one argument, or a dict of its arguments by name; items are JSON values.
    `outcome.value` is the result or raises the job's error. With `ordered` outcomes come in the order of the
    items. With a `name` the results are kept, and the same call again does only what is missing; without one they
    are gone when the iteration ends. `options` are those of `run`: `workers`, `timeout`, `memory`, `retry`, ...
    Ending the iteration early stops the batch.
    """
    plugins.refuse_inside_import()
    task = fn if isinstance(fn, Task) else plugins.make_task(fn)
    items = items if isinstance(items, range) else list(items)
    if not items:
        return _nothing()
    batch = from_call(task, name=name or "map", matrix=_matrix(task, items), **_sections(options))
    return _outcomes(batch, name is not None, ordered, home)


def _nothing() -> Generator[JobOutcome, None, None]:
    yield from ()


def _sections(options: dict[str, Any]) -> dict[str, Any]:
    from batchmill.api.running import sections

    return sections(**options)


def _matrix(task: Task, items: range | list[Any]) -> dict[str, Any]:
    """The items as one axis (of one parameter), or as a combination each (of dicts)."""
    if isinstance(items, range):
        return {"axes": {_only_parameter(task): {"range": [items.start, items.stop, items.step]}}}
    fields = task.params.model_fields
    if all(isinstance(item, dict) and (len(fields) != 1 or item.keys() == fields.keys()) for item in items):
        return {"include": items}
    return {"axes": {_only_parameter(task): items}}


def _only_parameter(task: Task) -> str:
    fields = task.params.model_fields
    required = [name for name, field in fields.items() if field.is_required()] or list(fields)
    if len(required) != 1:
        raise UsageError(
            f"`{task.name}` takes {len(required)} arguments, and `map` gives it one item",
            hint="give dicts of its arguments as items",
        )
    return required[0]


class _Collector:
    """Takes the numbers of the jobs that ended, in the driver's thread; results are read when they are wanted."""

    def __init__(self) -> None:
        self.ended: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self.session: Session | None = None

    def see(self, events: Sequence[Event], act: Act) -> None:
        for published in act.published:
            if published.retry_in is None:
                self.ended.put(published.row.job)


def _outcomes(batch: Batch, keep: bool, ordered: bool, home: str | Path | None) -> Generator[JobOutcome, None, None]:
    folder = home_path(home) if keep else Path(tempfile.mkdtemp(prefix="batchmill-"))
    try:
        yield from _in_order(_finished(batch, folder)) if ordered else (o for _, o in _finished(batch, folder))
    finally:
        if not keep:
            shutil.rmtree(folder, ignore_errors=True)


def _finished(batch: Batch, home: Path) -> Generator[tuple[int, JobOutcome], None, None]:
    collector = _Collector()
    failure: list[BaseException] = []
    known: list[Run] = []

    def work() -> None:
        try:
            execute(batch, Invocation(home), Quiet(), observers=(collector,), opened=opened)
        except BaseException as error:  # noqa: BLE001 - raised again in the thread that iterates
            failure.append(error)
        finally:
            collector.ended.put(_END)

    def opened(run: Run, session: Session | None) -> None:
        known.append(run)
        collector.session = session

    thread = threading.Thread(target=work, name="batchmill-map")
    thread.start()
    seen: set[int] = set()
    try:
        while (job := collector.ended.get()) is not _END:
            seen.add(job)
            yield job, known[0].job(job)
        if failure:
            raise failure[0]
        for job, outcome in _earlier(known[0], seen):
            yield job, outcome
    finally:
        if thread.is_alive() and collector.session is not None:
            collector.session.ask("stop")
        thread.join()


def _earlier(run: Run, seen: set[int]) -> Iterable[tuple[int, JobOutcome]]:
    """What an earlier call of the same name had done already."""
    for number, outcome in enumerate(run.results(), start=1):
        if number not in seen and outcome.state != "pending":
            yield number, outcome


def _in_order(pairs: Iterable[tuple[int, JobOutcome]]) -> Generator[JobOutcome, None, None]:
    waiting: dict[int, JobOutcome] = {}
    expected = 1
    for number, outcome in pairs:
        waiting[number] = outcome
        while expected in waiting:
            yield waiting.pop(expected)
            expected += 1
    for number in sorted(waiting):
        yield waiting[number]
