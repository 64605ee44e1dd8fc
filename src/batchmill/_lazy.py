"""Public names that are loaded from the modules that hold them when they are first used (PEP 562)."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Any


def lazily(package: str, homes: Mapping[str, str], names: Iterable[str]) -> tuple[Callable[[str], Any], Any]:
    """`__getattr__` and `__dir__` of a package that shows `names`.

    `homes` says where a name is: in `module`, or as `module:name` where it is called otherwise there.
    """

    def load(name: str) -> Any:
        home = homes.get(name)
        if home is None:
            raise AttributeError(f"module `{package}` has no attribute `{name}`")
        from importlib import import_module

        module, _, attribute = home.partition(":")
        value = getattr(import_module(f"{package}.{module}"), attribute or name)
        setattr(sys.modules[package], name, value)
        return value

    return load, lambda: sorted(names)
