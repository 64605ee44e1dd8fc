"""Samples: what they answer about known values, outputs and unknown inputs agrees with analyses of their own."""

from __future__ import annotations

from dataclasses import replace

import pytest

from batchmill.workloads.identifiability import sensitivities
from batchmill.workloads.identifiability.analysis import analyse, sample
from batchmill.workloads.identifiability.catalogue import find_model
from batchmill.workloads.identifiability.expressions import Symbol
from batchmill.workloads.identifiability.loading import OptionsSection
from batchmill.workloads.identifiability.model import Options
from batchmill.workloads.identifiability.options import assuming
from batchmill.workloads.identifiability.sampling import Sampler


def under(name: str, **options):
    return assuming(find_model(name), OptionsSection.model_validate(options), None)


@pytest.fixture
def write(tmp_path):
    def write(text: str):
        path = tmp_path / "model.yaml"
        path.write_text(f"name: model\n{text}")
        return find_model(str(path))

    return write


@pytest.mark.parametrize("name", ["Bolie", "calibration_single", "seir_covid", "hiv"])
def test_knowing_a_name_is_dropping_its_column(name):
    drawn = sample(find_model(name))
    model = find_model(name)
    for parameter in model.parameters:
        alone = analyse(under(name, known_parameters=[parameter]))
        assert drawn.rank(known=[parameter]) == alone.rank
        assert drawn.identifiable(known=[parameter]) - {parameter} == alone.identifiable
    for state in model.states:
        alone = analyse(under(name, known_initial_conditions=[state]))
        assert drawn.identifiable(known=[state]) == alone.identifiable


def test_a_further_output_adds_rows():
    model = find_model("Bolie")
    drawn = Sampler(model, extra={"also": Symbol("q2")}).draw(0)
    assert drawn.rank(outputs=list(model.outputs)) == 6
    assert drawn.rank() == 7


def test_samples_follow_from_their_seed_and_keep_what_is_held():
    sampler = Sampler(find_model("Bolie"))
    first, again, other = sampler.draw(1), sampler.draw(1), sampler.draw(2, held={"p1": 17})
    assert first.values == again.values
    assert first.null_space() == again.null_space()
    assert other.values["p1"] == 17
    assert other.values["p2"] != first.values["p2"]
    whole = sampler.draw(2, held=first.values, inputs=first.inputs)
    assert whole.null_space() == first.null_space()


def test_null_vectors_annul_every_row():
    drawn = Sampler(find_model("hiv")).draw(5)
    vectors = drawn.null_space()
    assert len(vectors) == len(drawn.unknowns) - drawn.rank()
    for vector in vectors:
        for block in drawn.rows:
            for row in block.tolist():
                assert sum(a * b for a, b in zip(row, vector, strict=True)) % drawn.prime == 0


def test_the_curve_rises_to_the_rank_and_ends_there():
    for name in ("Bolie", "goodwin", "nfkb"):
        curve, verdict = sample(find_model(name)).curve(), analyse(find_model(name))
        assert curve == sorted(curve)
        assert (curve[-1], len(curve) - 1) == (verdict.rank, verdict.order)


def test_more_orders_change_nothing():
    sampler = Sampler(find_model("calibration_single"))
    few = sampler.draw(3)
    many = sampler.draw(3, orders=len(few.rows) + 8, held=few.values, inputs=few.inputs)
    assert many.null_space() == few.null_space()


UNKNOWN = "states: [x]\nparameters: [a]\nunknown_inputs: [w]\nodes: {x: -a*x + w}\n"


def test_a_free_unknown_input_hides_what_it_can_imitate(write):
    verdict = analyse(write(UNKNOWN + "outputs: {y: x}"))
    assert (verdict.n_unknowns, verdict.rank) == (2, 1)
    assert verdict.identifiable == {"x"}
    assert not verdict.reconstructible


def test_an_unknown_input_that_is_measured_hides_nothing(write):
    verdict = analyse(write(UNKNOWN + "outputs: {y: x, z: w}"))
    assert verdict.identifiable == {"x", "a"}
    assert verdict.reconstructible == {"w"}


def test_an_unknown_input_behind_a_chain_is_told_late(write):
    text = "states: [x, y, z]\nparameters: [a]\nunknown_inputs: [w]\nodes: {x: w, y: x - a*y, z: y}\n"
    verdict = analyse(write(text + "outputs: {o: z, p: x}"))
    assert verdict.identifiable == {"x", "y", "z", "a"}
    assert verdict.reconstructible == {"w"}


@pytest.mark.parametrize(("derivatives", "identifiable"), [(0, {"x", "a"}), (1, {"x", "a"}), (3, {"x", "a"})])
def test_an_unknown_input_of_few_derivatives_is_told_with_the_parameters(write, derivatives, identifiable):
    model = write(UNKNOWN + f"outputs: {{y: x}}\noptions: {{unknown_input_derivatives: {derivatives}}}")
    verdict = analyse(model)
    assert (verdict.n_unknowns, verdict.identifiable) == (2, identifiable)
    assert verdict.reconstructible == {"w"}


def test_a_constant_unknown_input_is_one_more_parameter(write):
    text = "states: [x, z]\nparameters: [a, b{p}]\n{u}odes: {{x: -a*x + b*w*z, z: -z}}\noutputs: {{y: x}}\n"
    as_parameter = analyse(write(text.format(p=", w", u="")))
    as_input = analyse(write(text.format(p="", u="unknown_inputs: [w]\n") + "options: {unknown_input_derivatives: 0}"))
    assert as_input.identifiable == as_parameter.identifiable - {"w"}


def test_the_bound_on_errors_is_small_and_grows_with_the_model():
    bounds = [analyse(find_model(name)).error_probability for name in ("Bolie", "hiv")]
    assert 0 < bounds[0] < bounds[1] < 1e-6


def test_a_full_rank_is_proved_by_one_point():
    assert analyse(find_model("C2M")).error_probability == 0


def test_a_full_rank_with_unknown_inputs_eliminated_is_only_probable(write):
    verdict = analyse(write(UNKNOWN + "outputs: {y: x}\noptions: {unknown_input_derivatives: 0}"))
    assert verdict.rank == verdict.n_unknowns
    assert 0 < verdict.error_probability < 1e-9


@pytest.mark.parametrize("name", ["Bolie", "hiv", "nfkb", "goodwin"])
@pytest.mark.parametrize("options", [{}, {"nonzero_input_derivatives": 1}])
def test_integers_and_blas_give_the_same_matrix(name, options, monkeypatch):
    model = replace(find_model(name), options=Options(**options))
    if model.inputs:  # the same as an unknown one
        model = replace(model, inputs=model.inputs[1:], unknown_inputs=model.inputs[:1])
    drawn = []
    for few in (0, 10**9):
        monkeypatch.setattr(sensitivities, "_FEW_PRODUCTS", few)
        drawn.append(Sampler(model).draw(5))
    assert [block.tolist() for block in drawn[0].rows] == [block.tolist() for block in drawn[1].rows]
