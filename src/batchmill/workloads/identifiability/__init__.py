"""Local structural identifiability and observability of ODE models, by ranks modulo primes.

From the outside in: `job` (parameters, result, what is done), `catalogue` and `loading` (model files), `parser` and
`expressions`, `system` and `circuit` (a model as shared arithmetic), `taylor` (series modulo a prime), `analysis`.
Importing this package loads neither numpy nor flint; the first analysis does.
"""

from batchmill.workloads.identifiability.job import identifiability as task

__all__ = ["task"]
