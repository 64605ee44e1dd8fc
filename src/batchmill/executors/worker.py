"""A process worker: reads one job at a time, runs it, streams its end, and becomes clean again."""

from __future__ import annotations

import contextlib
import importlib
import itertools
import os
import pickle
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

from batchmill import _helpers
from batchmill.errors import BatchmillError
from batchmill.executors import linux, logs
from batchmill.executors.attempt import Attempt, Environment
from batchmill.executors.channel import DONT_WAIT, Gone, encode, receive, receive_bytes, send_bytes
from batchmill.executors.messages import Board, Cell, PreparedPaths, Setting, Unusable, Work, pack_end
from batchmill.executors.meter import Meter
from batchmill.executors.ports import Question
from batchmill.executors.restore import Restorer, end_children, open_streams
from batchmill.executors.runner import Runner
from batchmill.model.commands import Ack
from batchmill.model.events import Event, Ready
from batchmill.model.outcomes import LogSlice
from batchmill.model.states import Mode
from batchmill.model.tasks import TaskSource

if TYPE_CHECKING:
    from asyncio import Future


class Place(NamedTuple):
    """Where a worker stands: its slot and its lines to the driver."""

    slot: int
    generation: int
    mode: Mode
    jobs: socket.socket
    talk: socket.socket
    board: Board


class TalkPort:
    """The line of a worker that runs one job at a time. Threads of the job may use it too."""

    may_wait = True
    offloads = False

    def __init__(self, place: Place) -> None:
        self.slot = place.slot
        self.tickets = itertools.count(place.generation << 32)
        self._talk = place.talk
        self._one = threading.Lock()
        self._waiting: dict[int, Future[Ack]] = {}  # coroutines of the job, by ticket

    def tell(self, event: Event) -> None:
        """See Port."""
        send_bytes(self._talk, encode(event))

    def hint(self, event: Event) -> None:
        """See Port."""
        with contextlib.suppress(BlockingIOError):
            send_bytes(self._talk, encode(event), flags=socket.MSG_DONTWAIT)

    def ask(self, question: Question) -> Ack:
        """See Port."""
        with self._one:
            self.tell(question)
            while True:
                answer = receive(self._talk)
                if isinstance(answer, Ack) and answer.ticket == question.ticket:
                    return answer

    async def ask_later(self, question: Question) -> Ack:
        """See Port. Other coroutines of the job go on: one of them may hold what this one waits for."""
        import asyncio  # heavy, and running already wherever this is called

        loop = asyncio.get_running_loop()
        answer = self._waiting[question.ticket] = loop.create_future()
        loop.add_reader(self._talk, self._read)
        try:
            self.tell(question)
            ack: Ack = await answer
            return ack
        finally:
            del self._waiting[question.ticket]
            if not self._waiting:
                loop.remove_reader(self._talk)

    def _read(self) -> None:
        """Take in one answer for a coroutine, if there is one."""
        try:
            message = pickle.loads(receive_bytes(self._talk, DONT_WAIT)[0])
        except BlockingIOError:
            return
        except Gone as gone:
            for waiting in self._waiting.values():
                if not waiting.done():
                    waiting.set_exception(gone)
            return
        if isinstance(message, Ack) and (found := self._waiting.get(message.ticket)) and not found.done():
            found.set_result(message)

    def log(self, job: int, text: str) -> None:
        """See Port."""
        sys.stdout.flush()
        os.write(1, text.encode("utf-8", "backslashreplace"))


class ZygoteKeeper:
    """See `_helpers`: the zygote keeps what a worker's jobs start for the run, and finds it on the board."""

    def __init__(self, place: Place) -> None:
        self.pid = os.getppid()
        self._row = place.board.row(place.slot)

    def adopt(self, start: Callable[[], int]) -> int:
        """See Keeper."""
        with linux.leaving_orphans():
            pid = start()
        self._row[Cell.HELPER] = pid
        return pid


class Worker:
    """The loop of a process worker."""

    def __init__(self, place: Place, environment: Environment) -> None:
        self._place, self._environment = place, environment
        self._jobs, self._talk = place.jobs, place.talk
        self._row = place.board.row(place.slot)
        self._port, self._meter = TalkPort(place), Meter()
        self._log_path = environment.run_folder / "logs" / logs.file_name(place.slot)
        self._log = logs.open_log(self._log_path.parent, place.slot)
        self._restorer = Restorer(self._log)
        self._restorer.restore()
        self._log_end = os.lseek(self._log, 0, os.SEEK_END)

    def serve(self) -> None:
        """Run jobs until the driver closes the line or says to leave, or until a job left this process unfit."""
        fit = True
        while fit:
            message = pickle.loads(receive_bytes(self._jobs)[0])
            if type(message) is tuple:
                fit = self._run(Work._make(message))
            elif isinstance(message, PreparedPaths):
                self._environment.prepared = message.paths
            else:
                return

    def _run(self, work: Work) -> bool:
        row = self._row
        row[Cell.LOG], row[Cell.CPU], row[Cell.JOB] = self._log_end, self._meter.cpu, work.job
        runner = self._environment.runners.get(work.task)
        if runner is not None and runner.isolated and not work.hook:
            self._run_apart(work)
        else:
            self._run_here(work)
        row[Cell.JOB] = 0
        return self._restorer.restore()

    def _run_here(self, work: Work) -> None:
        outcome = Attempt(work, self._environment, self._port, self._meter).run()
        end_children()
        self._restorer.flush()
        start, end = self._log_end, os.lseek(self._log, 0, os.SEEK_END)
        if end != start:
            end = logs.compact(self._log_path, start, end)
            self._log_end = end
            outcome = outcome._replace(log=LogSlice(self._log_path.name, start, end))
        send_bytes(self._talk, pickle.dumps(pack_end(work.job, outcome), 5))

    def _run_apart(self, work: Work) -> None:
        """Run the job in a fork of this idle worker. If that dies, so do we, the same way: deaths are told one way."""
        child = os.fork()
        if child == 0:
            _guarded(self._run_as_child, work)
        _, status = os.waitpid(child, 0)
        end_children()
        if status:
            _die_like(status)
        self._log_end = os.lseek(self._log, 0, os.SEEK_END)

    def _run_as_child(self, work: Work) -> None:
        linux.die_with_parent()
        linux.adopt_orphans()
        _helpers.keeper = None  # above us is a worker, which ends all that a job leaves
        self._meter = Meter()
        self._run_here(work)


def start(place: Place, setting: Setting, runners: Mapping[str, Runner]) -> None:
    """Become the worker of a place, until it is told to leave or the driver is gone."""
    environment = Environment(
        setting.run, Path(setting.run_folder), setting.seed, runners, setting.jobs_reader, setting.results_reader
    )
    environment.seeder.install()
    _helpers.keeper = ZygoteKeeper(place)
    with contextlib.suppress(Gone):
        serve = Worker(place, environment).serve if place.mode is Mode.PROCESS else _async_server(place, environment)
        send_bytes(place.talk, encode(Ready(time.monotonic(), place.slot, os.getpid(), linux.resident("self"))))
        serve()


def _async_server(place: Place, environment: Environment) -> Any:
    # asyncio is heavy, and most workers never need it
    from batchmill.executors.coroutines import AsyncWorker

    return AsyncWorker(place, environment).serve


def settle_in(zygote: int) -> None:
    """What every worker does first: lead a session, die with the zygote, keep its own orphans, plain signals."""
    os.setsid()
    linux.die_with_parent(zygote)
    linux.adopt_orphans()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD):
        signal.signal(number, signal.SIG_DFL)
    sys.stdout, sys.stderr = open_streams()


def hide_own_imports() -> None:
    """Forget the modules whose state is costly to restore or to seed: whoever imports them now is a task's code."""
    importlib.import_module("batchmill.plugins")
    for name in ("resource", "random"):
        sys.modules.pop(name, None)


def load_runners(tasks: Mapping[str, TaskSource]) -> dict[str, Runner] | Unusable:
    """Import the tasks of a run and set them up; or what went wrong."""
    from batchmill.plugins import load

    runners = {}
    for name, source in tasks.items():
        try:
            task = load(source)
            if task.setup is not None:
                task.setup()
            runners[name] = Runner(task)
        except BaseException as error:  # noqa: BLE001 - importing a module may raise anything, SystemExit too
            why = error.message if isinstance(error, BatchmillError) else f"{type(error).__name__}: {error}"
            return Unusable(f"task `{name}` cannot be used: {why}", traceback.format_exc())
    return runners


def _guarded(run: Any, *args: Any) -> NoReturn:
    """Run the last thing that a forked process does: nothing of its parent's code may follow."""
    code = 70
    try:
        run(*args)
        code = 0
    except BaseException:  # noqa: BLE001 - it ends in the log, and the exit code tells the parent
        traceback.print_exc()
    finally:
        os._exit(code)


run_and_exit = _guarded


def _die_like(status: int) -> NoReturn:
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        with contextlib.suppress(OSError, ValueError):
            signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
    os._exit(os.waitstatus_to_exitcode(status) & 0xFF)


def main(arguments: list[str]) -> None:
    """An exec'd worker, where forking is not safe: imports the tasks itself."""
    zygote, slot, generation, mode, jobs, talk, board, setting = arguments
    settle_in(int(zygote))
    with open(int(setting), "rb") as file:
        file.seek(0)
        known: Setting = pickle.load(file)
    sockets = socket.socket(fileno=int(jobs)), socket.socket(fileno=int(talk))
    place = Place(int(slot), int(generation), Mode(mode), *sockets, Board(int(board)))
    for fd in (int(jobs), int(talk), int(board)):
        os.set_inheritable(fd, False)
    hide_own_imports()
    sys.path[:] = known.path
    runners = load_runners(known.tasks)
    if isinstance(runners, Unusable):
        send_bytes(place.talk, encode(runners))
        return
    start(place, known, runners)


if __name__ == "__main__":
    main(sys.argv[1:])
