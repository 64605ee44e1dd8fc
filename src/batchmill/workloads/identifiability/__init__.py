"""Local structural identifiability and observability of ODE models, by ranks modulo primes.

From the outside in: `job`, `result` and `options` (what is asked and told), `catalogue`, `loading` and `formats` (model
files), `parser` and `expressions`, `analysis` and `sampling` (verdicts from random points), `taylor` and
`transcendental` (series modulo a prime), `system` and `circuit` (a model as shared arithmetic), `linear`.
What is found besides: `combinations`, `symmetries`, `advice`, `global_identifiability`; studies are in `studies`.
Importing the task loads neither numpy nor flint, the first analysis does; importing the package loads nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from batchmill.workloads.identifiability.job import identifiability as task

__all__ = ["task"]


def __getattr__(name: str) -> Any:
    if name != "task":
        raise AttributeError(f"module `{__name__}` has no attribute `{name}`")
    from batchmill.workloads.identifiability.job import identifiability

    return identifiability
