"""Verdicts on small models that can be checked by hand."""

from __future__ import annotations

import pytest

from batchmill.workloads.identifiability.analysis import PRIMES, analyse
from batchmill.workloads.identifiability.model import Unsupported


@pytest.fixture
def analysed(tmp_path):
    from batchmill.workloads.identifiability.catalogue import find_model

    def analysed(text: str, seed: int = 0):
        path = tmp_path / "model.yaml"
        path.write_text(f"name: model\n{text}")
        return analyse(find_model(str(path)), seed)

    return analysed


def test_the_primes_are_prime():
    from flint import nmod_mat

    assert len(set(PRIMES)) == len(PRIMES)
    for prime in PRIMES:
        assert pow(3, prime - 1, prime) == 1
        assert nmod_mat(1, 1, [5], prime).rank() == 1


def test_a_product_of_parameters_hides_both(analysed):
    verdict = analysed("states: [x]\nparameters: [a, b]\nodes: {x: -a*b*x}\noutputs: {y: x}")
    assert (verdict.n_unknowns, verdict.rank, verdict.order) == (3, 2, 1)
    assert verdict.identifiable == {"x"}


def test_a_state_that_nothing_sees_is_unobservable(analysed):
    verdict = analysed("states: [x, z]\nparameters: [a]\nodes: {x: -a*x, z: x}\noutputs: {y: x}")
    assert verdict.identifiable == {"x", "a"}


def test_a_model_without_unknowns_has_nothing_to_tell(analysed):
    verdict = analysed("states: [x]\nodes: {x: x}\noutputs: {y: x}\noptions: {known_initial_conditions: [x]}")
    assert (verdict.n_unknowns, verdict.rank, verdict.identifiable) == (0, 0, {"x"})
    verdict = analysed("states: [x]\nodes: {x: x}\noutputs: {y: x}\noptions: {known_initial_conditions: {x: 1}}")
    assert (verdict.n_unknowns, verdict.rank, verdict.identifiable) == (0, 0, {"x"})


def test_parameters_may_stand_in_outputs_alone(analysed):
    verdict = analysed("states: [x]\nparameters: [s]\nodes: {x: 1}\noutputs: {y: s*x}")
    assert verdict.identifiable == {"s", "x"}


def test_an_output_without_unknowns_tells_nothing(analysed):
    verdict = analysed("states: [x]\nparameters: [a]\nodes: {x: a}\noutputs: {y: 1}")
    assert (verdict.rank, verdict.order, verdict.identifiable) == (0, 0, frozenset())


def test_a_quiet_derivative_does_not_end_the_search_when_a_generic_state_is_known(analysed):
    # y' = z is known, so the first derivative adds nothing; the second one shows p
    text = "states: [x, z]\nparameters: [p]\nodes: {x: z, z: p}\noutputs: {y: x}\n"
    verdict = analysed(text + "options: {known_initial_conditions: [z]}")
    assert (verdict.n_unknowns, verdict.rank, verdict.order) == (2, 2, 2)
    assert verdict.identifiable == {"x", "z", "p"}


@pytest.mark.parametrize("exponent", [2, 3, 7])
def test_a_specific_zero_may_show_a_parameter_late(analysed, exponent):
    text = f"states: [s]\nparameters: [a]\nodes: {{s: 1 + a*s**{exponent}}}\noutputs: {{y: s}}\n"
    verdict = analysed(text + "options: {known_initial_conditions: {s: 0}}")
    assert (verdict.rank, verdict.order) == (1, exponent + 1)


def test_a_specific_zero_may_hide_a_parameter_for_good(analysed):
    text = "states: [x, z]\nparameters: [a, c]\nodes: {x: -a*x + z, z: -c*z}\noutputs: {y: x}\n"
    assert analysed(text + "options: {known_initial_conditions: [z]}").identifiable == {"x", "z", "a", "c"}
    assert analysed(text + "options: {known_initial_conditions: {z: 0}}").identifiable == {"x", "z", "a"}


def test_inputs_of_more_derivatives_tell_more(analysed):
    text = "states: [x]\nparameters: [a, b]\ninputs: [u]\nodes: {x: a + b*u}\noutputs: {y: x}\n"
    ranks = [analysed(text + f"options: {{nonzero_input_derivatives: {k}}}").rank for k in (0, 1)]
    assert ranks == [2, 3]
    assert analysed(text).rank == 3


def test_constants_are_known(analysed):
    text = "states: [x]\nparameters: [a]\nodes: {x: -a*k*x}\noutputs: {y: x}\n"
    for constants in ("{k: 2}", "{k: 1/3}", "[k]"):
        assert analysed(text + f"constants: {constants}").identifiable == {"x", "a"}


def test_negative_powers_and_shared_denominators(analysed):
    text = "states: [x]\nparameters: [v, k]\nodes: {x: -v*x*(k + x)**-1}\noutputs: {y: x**-2}"
    assert analysed(text).identifiable == {"x", "v", "k"}


def test_numbers_that_are_multiples_of_a_prime_do_no_harm(analysed):
    first, second = PRIMES[:2]
    text = f"states: [x]\nparameters: [a, b]\nodes: {{x: -{first}*a*x + x**2/{second}}}\noutputs: {{y: x + {second}*b}}"
    assert analysed(text).identifiable == {"x", "a", "b"}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("states: [x]\nodes: {x: 1/(x - x)}\noutputs: {y: x}", "a denominator is zero everywhere"),
        (
            "states: [x]\nodes: {x: 1/x}\noutputs: {y: x}\noptions: {known_initial_conditions: {x: 0}}",
            "a denominator is zero at the given initial values",
        ),
    ],
)
def test_what_lies_outside_the_method_is_refused_with_its_reason(analysed, text, reason):
    with pytest.raises(Unsupported, match=reason):
        analysed(text)


def test_verdicts_do_not_depend_on_the_seed(analysed):
    text = "states: [x]\nparameters: [v, k, s]\nodes: {x: -v*x/(k + x)}\noutputs: {y: s*x}"
    assert len({analysed(text, seed) for seed in range(20)}) == 1


def test_a_long_chain_needs_as_many_derivatives_as_unknowns(analysed):
    size = 12
    states, rates = [f"x{i}" for i in range(size)], [f"k{i}" for i in range(size)]
    odes = ["x0: u - k0*x0"] + [f"x{i}: k{i - 1}*x{i - 1} - k{i}*x{i}" for i in range(1, size)]
    text = f"states: [{', '.join(states)}]\nparameters: [{', '.join(rates)}]\ninputs: [u]\n"
    verdict = analysed(f"{text}odes: {{{', '.join(odes)}}}\noutputs: {{y: x{size - 1}}}")
    assert verdict.n_unknowns == 2 * size
    assert verdict.order <= 2 * size
