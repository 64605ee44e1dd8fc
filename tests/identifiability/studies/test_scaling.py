"""Generated families, exponents and the scaling task."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest
from pydantic import ValidationError

from batchmill.workloads.identifiability.analysis import analyse
from batchmill.workloads.identifiability.catalogue import find_model
from batchmill.workloads.identifiability.studies import scaling_report
from batchmill.workloads.identifiability.studies.families import FAMILIES, copies
from batchmill.workloads.identifiability.studies.fits import power_law
from batchmill.workloads.identifiability.studies.scaling import scaling as task


class Ctx(SimpleNamespace):
    seed = 3

    def progress(self, n, total):
        self.told = (n, total)

    def artifact(self, name, content):
        self.__dict__.setdefault("kept", {})[name] = content


def run(**params):
    return task.fn(task.params(**params), Ctx())


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("size", [1, 2, 5])
def test_families_are_models_of_the_size_that_uses_every_parameter(family, size):
    model = FAMILIES[family](size, 7)
    verdict = analyse(model)
    assert len(model.states) == size + (3 if family == "seir_n" else 0)
    assert verdict.n_unknowns == len(model.states) + len(model.parameters)


def test_the_chain_is_identifiable_through_its_last_state():
    assert analyse(FAMILIES["chain"](6, 0)).rank == 13


def test_a_random_network_follows_from_its_seed():
    assert FAMILIES["random_network"](6, 1) == FAMILIES["random_network"](6, 1)
    assert FAMILIES["random_network"](6, 1) != FAMILIES["random_network"](6, 2)


@pytest.mark.parametrize("name", ["Bolie", "C2M", "nfkb", "dynamical_compensation"])
def test_uncoupled_copies_know_as_much_as_each_alone(name):
    base = find_model(name)
    one, three = analyse(base), analyse(copies(base, 3))
    assert (three.rank, three.n_unknowns) == (3 * one.rank, 3 * one.n_unknowns)
    assert three.identifiable == {f"{n}_{i}" for n in one.identifiable for i in (1, 2, 3)}


def test_a_coupling_is_one_parameter_for_each_pair_of_neighbours():
    model = copies(find_model("Bolie"), 3, "chain")
    assert model.parameters[-2:] == ("exchange_1", "exchange_2")
    assert analyse(model).n_unknowns == 23


def test_an_exact_power_law_is_found_exactly():
    law = power_law([1, 2, 4, 8], [3 * n**2.5 for n in (1, 2, 4, 8)])
    assert law.exponent == pytest.approx(2.5)
    assert law.factor == pytest.approx(3)
    assert law.high - law.low < 1e-6


def test_the_interval_of_a_noisy_law_is_students():
    # residuals of +-0.1 in logarithms at x = 0, 1, 2, 3: slope and interval by hand
    law = power_law([math.exp(x) for x in range(4)], [math.exp(x + s) for x, s in enumerate((0.1, -0.1, -0.1, 0.1))])
    assert law.exponent == pytest.approx(1)
    assert law.high - law.exponent == pytest.approx(4.303 * math.sqrt(0.04 / 2 / 5))


@pytest.mark.parametrize("sizes", [[1, 2], [3, 3, 3], [1, 2, 3]])
def test_too_few_points_give_no_law(sizes):
    assert power_law(sizes, [0.0] * len(sizes)) is None


def test_factors_are_gone_through_in_one_job():
    result = run(model={"base": "Bolie", "factors": [1, 2, 4], "coupling": "chain"}, repeats=1)
    assert [(p.size, p.n_unknowns, p.rank) for p in result.points] == [(1, 7, 6), (2, 15, 13), (4, 31, 27)]
    assert task.metrics(result)["size"] == 4


def test_a_name_stands_for_a_family_or_a_model():
    assert task.params(model="ring", size=2).model.label == "ring"
    assert task.params(model="Bolie", size=2).model.label == "Bolie, coupling none"


@pytest.mark.parametrize(
    "params",
    [
        {"model": {}, "size": 1},
        {"model": {"family": "chain", "base": "Bolie"}, "size": 1},
        {"model": {"family": "chain"}},
        {"model": {"family": "chain", "factors": [1]}, "size": 1},
        {"model": {"base": "Bolje"}, "size": 1},
        {"model": {"family": "chain"}, "size": 0},
    ],
)
def test_parameters_that_say_nothing_or_too_much_are_refused(params):
    with pytest.raises(ValidationError):
        task.params(**params)


def test_the_report_joins_jobs_and_fits_exponents():
    records = [
        SimpleNamespace(name=str(n), params={}, state="succeeded", result=run(**_chain(n)).model_dump())
        for n in (8, 2, 4)
    ]
    text = scaling_report.report(records)
    assert text.index("| 2 | 5 | 5 |") < text.index("| 8 | 17 | 17 |")
    assert "- derivative order grows as size^1." in text
    ctx = Ctx()
    fits = scaling_report.summarise(records, ctx)
    assert fits["chain"]["rank"]["exponent"] == pytest.approx(0.88, abs=0.02)


def _chain(n):
    return {"model": {"family": "chain"}, "size": n, "repeats": 1}
