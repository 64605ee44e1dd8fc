"""Every verdict as published, under seven seeds: of the bundled models, and of the shared collection where it is."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from batchmill.workloads.identifiability import task
from batchmill.workloads.identifiability.catalogue import bundled_names, find_model, list_models
from batchmill.workloads.identifiability.system import compile_system
from batchmill.workloads.identifiability.taylor import static_values

SHARED = Path(os.environ.get("BATCHMILL_SHARED") or Path(__file__).parents[3] / "shared")
PUBLISHED = SHARED / "data" / "identifiability" / "published-models.yaml"
SEEDS = range(7)

needs_data = pytest.mark.skipif(not PUBLISHED.exists(), reason="the shared data folder is absent")
references = list_models(str(PUBLISHED)) if PUBLISHED.exists() else []


def run(reference: str, seed: int):
    return task.fn(task.params(model=reference, check=True), SimpleNamespace(seed=seed))


@pytest.mark.parametrize("name", bundled_names())
def test_bundled_models_have_their_expected_verdict_whatever_the_seed(name):
    results = [run(name, seed).model_dump(exclude={"engine_s"}) for seed in SEEDS]
    assert all(result == results[0] for result in results)


@needs_data
@pytest.mark.data
@pytest.mark.parametrize("reference", references, ids=lambda reference: reference.partition("#")[2])
def test_published_models_have_their_published_verdict_whatever_the_seed(reference):
    results = [run(reference, seed).model_dump(exclude={"engine_s"}) for seed in SEEDS]
    assert all(result == results[0] for result in results)


SAME = {
    "C2M": "c2m",
    "Bolie": "bolie",
    "biohydrogenation": "biohydrogenation_io",
    "calibration_single": "calibration_single",
    "calibration_double": "calibration_double",
    "cholera_siwr": "siwr_original",
    "goodwin": "goodwin_oscillator",
    "hiv": "hiv",
    "llw1987": "llw1987_io",
    "lotka_volterra": "generalizedloktavolterra_1o",
    "mapk_5_outputs": "mapk_model_5_outputs",
    "nfkb": "nfkb",
    "pharm": "pharm",
    "phosphorylation_network": "chemical_reaction_network",
    "pk1": "pk1",
    "seir_covid": "seir_34",
    "sir_covid": "sir_6",
    "sirs_forced": "sirs_forced",
}


@needs_data
@pytest.mark.data
@pytest.mark.parametrize(("bundled", "published"), SAME.items())
def test_bundled_equations_equal_the_published_ones(bundled, published):
    ours, theirs = find_model(bundled), find_model(f"{PUBLISHED}#{published}")
    assert set(ours.states) == set(theirs.states)
    assert set(ours.parameters) == set(theirs.parameters)
    assert slopes(ours) == slopes(theirs)
    compared = {key: value for key, value in ours.expected.items() if isinstance(value, int)}
    assert compared == {key: theirs.expected[key] for key in compared}


def slopes(model) -> dict[str, int]:
    """The residues of all right-hand sides and outputs at one point that depends on names alone."""
    frozen = SimpleNamespace(
        states=(),
        parameters=(*model.states, *model.parameters),
        inputs=model.inputs,
        unknown_inputs=(),
        constants=model.constants,
    )
    frozen.odes, frozen.outputs = {}, {**{f"d{s}": e for s, e in model.odes.items()}, **model.outputs}
    system = compile_system(frozen, constant_inputs=True)
    prime = 2147483647
    point = {name: hash_of(name) for name in system.leaves}
    values = static_values(system.circuit, system.nodes, point, prime)
    return dict(zip(frozen.outputs, (values[root] for root in system.roots), strict=True))


def hash_of(name: str) -> int:
    return int.from_bytes(name.encode(), "big") * 2654435761 % 2147483647
