"""One number per job seeds `random` and `numpy.random`, whether they are imported before the job or by it."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType

_LOW = 0xFFFF_FFFF


def seed_of(run_seed: int, key: str) -> int:
    """The 63-bit seed of a job: the same in every attempt, on every worker."""
    digest = hashlib.blake2b(f"{run_seed}:{key}".encode(), digest_size=8).digest()
    return int.from_bytes(digest) >> 1


class Seeder(MetaPathFinder):
    """Seeds the generators that are imported, and those that the running job imports later.

    Seeding costs 4 us a generator, so a worker that never imports one does not pay; without the import hook,
    the job that imports one first would draw other numbers than when it runs second.
    """

    def __init__(self) -> None:
        self._run_seed, self._key = 0, ""
        self._running = False

    def install(self) -> None:
        """Watch imports from now on."""
        sys.meta_path.insert(0, self)

    def remove(self) -> None:
        """Watch them no more."""
        if self in sys.meta_path:
            sys.meta_path.remove(self)

    def seed(self, run_seed: int, key: str) -> None:
        """Seed for the job with this key."""
        self._run_seed, self._key, self._running = run_seed, key, True
        for name in ("random", "numpy.random"):
            if (module := sys.modules.get(name)) is not None:
                self._seed_module(module)

    def _seed_module(self, module: ModuleType) -> None:
        number = seed_of(self._run_seed, self._key)
        if hasattr(module, "seed"):  # a project may have a module `random` of its own
            module.seed(number if module.__name__ == "random" else [number & _LOW, number >> 32])

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The usual spec of a generator's module, which seeds it once it is executed."""
        if fullname not in ("random", "numpy.random") or not self._running:
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is None or spec.loader is None:
            return None
        execute = spec.loader.exec_module

        def execute_and_seed(module: ModuleType) -> None:
            execute(module)
            self._seed_module(module)

        setattr(spec.loader, "exec_module", execute_and_seed)  # noqa: B010 - mypy forbids assigning a method
        return spec
