"""What a job finds, and how it is compared with what a model expects. How it is found is in `job`."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field

from batchmill import Permanent
from batchmill.workloads.identifiability.model import Model

_COMPARED = (
    "n_unknowns",
    "rank",
    "nullspace_dimension",
    "locally_identifiable_parameters",
    "nonidentifiable_parameters",
    "observable_states",
    "unobservable_states",
)


class IdentifiabilityResult(BaseModel):
    """The verdict. *Locally* identifiable: finitely many values fit. A state is its initial value here.

    Known parameters stand in no other list; states with a known initial value count as observable. With
    `parameters_only` the lists of states are empty.
    """

    model: str
    configuration: str = Field("default", description="the stem of the options file")
    n_unknowns: int = Field(description="initial values that are not given, and parameters")
    rank: int = Field(description="of the observability-identifiability matrix (unknown inputs eliminated)")
    nullspace_dimension: int
    locally_identifiable_parameters: list[str]
    nonidentifiable_parameters: list[str]
    known_parameters: list[str] = Field(default_factory=list)
    observable_states: list[str]
    unobservable_states: list[str]
    observable_unknown_inputs: list[str] = Field(
        default_factory=list, description="unknown inputs whose value at time 0 can be told"
    )
    derivative_order: int = Field(description="the highest derivative of the outputs that added to the rank")
    error_probability: float = Field(description="a bound on the probability that chance made the verdict wrong")
    identifiable_combinations: list[str] | None = Field(
        None, description="functionally independent identifiable functions of the parameters that are not"
    )
    combinations_found: int | None = None
    combinations_expected: int | None = Field(
        None, description="no more than this many can exist; none where the search ended before it had counted them"
    )
    symmetries: list[dict[str, Any]] | None = Field(
        None,
        description="fields that change no output: `kind`, `generator` (name -> component), `weights` of a scaling",
    )
    proved_nonidentifiable: list[str] | None = Field(
        None, description="the parameters and states that an exact symmetry moves: proved, not only probable"
    )
    advice: dict[str, Any] | None = Field(None, description="what to fix, measure or know")
    global_identifiability: dict[str, Any] | None = Field(None, description="a word for each parameter and state")
    engine_s: float = Field(description="seconds that the analysis took, combinations and advice aside")


def compare(result: IdentifiabilityResult, model: Model) -> None:
    """Raises Permanent when the verdict is not as the model's `expected` block says."""
    if not model.expected:
        raise Permanent(f"`{model.name}` has no `expected` block to check")
    found = result.model_dump()
    differences = []
    for name in _COMPARED:
        expected = model.expected.get(name, found[name])
        same = set(expected) == set(found[name]) if isinstance(expected, list) else expected == found[name]
        if not same:
            differences.append(f"{name} is {_spelt(found[name])}, expected {_spelt(expected)}")
    if differences:
        raise Permanent(f"`{model.name}`: {'; '.join(differences)}")


def _spelt(value: Any) -> str:
    return f"[{', '.join(value)}]" if isinstance(value, list) else str(value)
