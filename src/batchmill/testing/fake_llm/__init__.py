"""A fake language-model service for tests of pipelines: real HTTP on loopback, seeded latency, limits and faults.

    from batchmill.testing import FakeLLM

    with FakeLLM(latency="50ms", rpm=600, faults={"server": 0.05}, seed=1) as fake:
        ...  # point a client at fake.openai_url
        print(fake.counts.billed, fake.counts.refused)

`fake` has `FakeLLM`, `behaviour` its options, `service` what becomes of a request, `families` the protocols, `wire`
the HTTP. No code of `batchmill.llm` is used here: the two must not agree by sharing a mistake.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from batchmill.testing.fake_llm.asked import Asked
    from batchmill.testing.fake_llm.behaviour import Behaviour
    from batchmill.testing.fake_llm.counts import Counts, Entry, ModelCounts
    from batchmill.testing.fake_llm.fake import FakeLLM

_MODULES = {
    "Asked": "asked",
    "Behaviour": "behaviour",
    "Counts": "counts",
    "Entry": "counts",
    "FakeLLM": "fake",
    "ModelCounts": "counts",
}

__all__ = ["Asked", "Behaviour", "Counts", "Entry", "FakeLLM", "ModelCounts"]


def __getattr__(name: str) -> Any:
    """Load a public name from the module that holds it (PEP 562): `batchmill --help` lists the command without it."""
    if name not in _MODULES:
        raise AttributeError(f"module `{__name__}` has no attribute `{name}`")
    value = getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    globals()[name] = value
    return value
