"""Where attempts run: the contract (`base`), process, async and inline executors, and `Executors` over them all.

Loaded lazily: a zygote that starts must not import the driver's side.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from batchmill.executors.facade import Executors

__all__ = ["Executors"]


def __getattr__(name: str) -> Any:
    if name == "Executors":
        from batchmill.executors.facade import Executors

        return Executors
    raise AttributeError(f"module `{__name__}` has no attribute `{name}`")
