"""Simulate a batch on a fake clock, with faults: the real scheduler, no processes, no disk, no waiting.

A `Simulation` takes jobs, a `Policy` and a `FaultPlan`, and plays the whole run: retries and back-off, rates,
budgets, memory admission, crashes of workers, disks that are full for a while, kills of the driver. A day passes
in milliseconds, and the same seed gives the same event log, byte for byte.

    from batchmill.testing import FaultPlan, Policy, Simulation, rows, workers
    from batchmill.model.limits import Limits, Rate

    policy = Policy(workers(4), Limits(rate=Rate(30, 60.0), timeout=10.0))
    simulation = Simulation(1, rows(100), policy, FaultPlan(1, raises=0.2, hangs=0.05), kills=[60.0])
    print("\\n".join(simulation.run()))
    print(simulation.ledger.counts())

`FakeLLM` is a language-model service on loopback for tests of pipelines (see `batchmill.testing.fake_llm`).

The parts can be used alone: `FakeClock`, `SimulatedLedger`, `SimulatedExecutor`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from batchmill.core.policy import Place, Policy, Traits
    from batchmill.testing.clock import FakeClock
    from batchmill.testing.executor import Began, Left, Sent, SimulatedExecutor
    from batchmill.testing.fake_llm.fake import FakeLLM
    from batchmill.testing.faults import FaultPlan
    from batchmill.testing.ledger import Record, SimulatedFeed, SimulatedJournal, SimulatedLedger, Written
    from batchmill.testing.lender import SimulatedLender
    from batchmill.testing.scripts import (
        SUCCESS,
        Call,
        Crash,
        Hang,
        Offload,
        Script,
        Sleep,
        Step,
        Work,
        failure,
        skipped,
    )
    from batchmill.testing.simulation import Killed, Opened, Simulation, Submitted, rows, workers

_HOMES = {
    "batchmill.core.policy": "Place Policy Traits",
    "batchmill.testing.clock": "FakeClock",
    "batchmill.testing.executor": "Began Left Sent SimulatedExecutor",
    "batchmill.testing.fake_llm.fake": "FakeLLM",
    "batchmill.testing.faults": "FaultPlan",
    "batchmill.testing.ledger": "Record SimulatedFeed SimulatedJournal SimulatedLedger Written",
    "batchmill.testing.lender": "SimulatedLender",
    "batchmill.testing.scripts": "Call Crash Hang Offload SUCCESS Script Sleep Step Work failure skipped",
    "batchmill.testing.simulation": "Killed Opened Simulation Submitted rows workers",
}
_MODULES = {name: module for module, names in _HOMES.items() for name in names.split()}

__all__ = [
    "SUCCESS",
    "Began",
    "Call",
    "Crash",
    "FakeClock",
    "FakeLLM",
    "FaultPlan",
    "Hang",
    "Killed",
    "Left",
    "Offload",
    "Opened",
    "Place",
    "Policy",
    "Record",
    "Script",
    "Sent",
    "SimulatedExecutor",
    "SimulatedFeed",
    "SimulatedJournal",
    "SimulatedLedger",
    "SimulatedLender",
    "Simulation",
    "Sleep",
    "Step",
    "Submitted",
    "Traits",
    "Work",
    "Written",
    "failure",
    "rows",
    "skipped",
    "workers",
]


def __getattr__(name: str) -> Any:
    """Load a public name from the module that holds it (PEP 562): a test that simulates needs no HTTP."""
    if name not in _MODULES:
        raise AttributeError(f"module `{__name__}` has no attribute `{name}`")
    value = getattr(import_module(_MODULES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
