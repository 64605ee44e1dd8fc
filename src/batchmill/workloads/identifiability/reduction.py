"""A model with parameters known or set to 1, as the mapping that its model file holds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from batchmill import ManifestError, read_yaml
from batchmill.workloads.identifiability.catalogue import file_of, find_model, is_file
from batchmill.workloads.identifiability.formats import is_foreign, native_of
from batchmill.workloads.identifiability.model import Model

_BUNDLED = Path(__file__).parent / "models"


def mapping_of(reference: str) -> dict[str, Any]:
    """The mapping of the model that a reference names. Raises ManifestError."""
    find_model(reference)
    path = file_of(reference) if is_file(reference) else str(_BUNDLED / f"{reference}.yaml")
    document: Any = native_of(path) if is_foreign(path) else read_yaml(path).value
    wanted = reference.partition("#")[2]
    several = document.get("models", [document])
    # `find_model` has seen that there is one, and an only model goes by other names as well
    return dict(next(item for item in several if len(several) == 1 or wanted in (item.get("id"), item.get("name"))))


def with_known(model: Mapping[str, Any], known: Mapping[str, Any]) -> dict[str, Any]:
    """The model with parameters as constants: a number, or None for one that is known but generic.

    Its `expected` block no longer holds and is left out. Raises ManifestError where numbers and generic constants
    would have to stand together, which a model file cannot say.
    """
    given = model.get("constants") or {}
    constants = dict(given) if isinstance(given, Mapping) else dict.fromkeys(given)
    constants |= known
    generic = [name for name, value in constants.items() if value is None]
    if generic and len(generic) < len(constants):
        raise ManifestError(
            f"`{generic[0]}` is known without a value, other constants with one", hint="give a value to each"
        )
    changed = {key: value for key, value in model.items() if key not in ("parameters", "constants", "expected")}
    changed["parameters"] = [name for name in model["parameters"] if name not in known]
    return {**changed, "constants": list(constants) if generic else constants} if constants else changed


def units(model: Model, seed: int = 0) -> list[str]:
    """Parameters that can be set to 1 without loss: a minimal set to fix that symmetries bring to any positive value.

    Units chosen like this are a reparametrisation that changes no output (for positive parameters). Scalings and
    translations reach any value; no parameter may be moved by both kinds. Raises ManifestError where they are not
    enough to make the model identifiable.
    """
    from batchmill.workloads.identifiability import symmetries
    from batchmill.workloads.identifiability.advice import advise

    found = symmetries.find(model, seed=seed)
    scalings = [symmetry.weights for symmetry in found if symmetry.kind == "scaling"]
    shifts = [{n: int(c) for n, c in s.generator.items()} for s in found if s.kind == "translation"]
    for members in advise(model, seed=seed).fix_parameters.minimal:
        scaled, shifted = _moved(members, scalings), _moved(members, shifts)
        apart = len(scaled) + len(shifted) == len(members) == len({*scaled, *shifted})
        if apart and _reaches_all(scaled, scalings) and _reaches_all(shifted, shifts):
            return list(members)
    raise ManifestError(
        f"`{model.name}` cannot be made identifiable by setting parameters to 1",
        hint="its symmetries are no scalings or translations, or all its parameters are identifiable",
    )


def _moved(names: Sequence[str], fields: Sequence[Mapping[str, int]]) -> list[str]:
    return [name for name in names if any(name in field for field in fields)]


def _reaches_all(names: Sequence[str], fields: Sequence[Mapping[str, int]]) -> bool:
    """Whether the fields, constant in these coordinates or their logarithms, move the names independently."""
    from batchmill.workloads.identifiability import linear
    from batchmill.workloads.identifiability.analysis import PRIMES

    rows = [[field.get(name, 0) % PRIMES[0] for name in names] for field in fields]
    return linear.rank(rows, len(names), PRIMES[0]) == len(names)
