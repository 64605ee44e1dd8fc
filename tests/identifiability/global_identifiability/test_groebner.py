"""Constants of small polynomial systems, whichever engine finds them."""

from __future__ import annotations

import pytest

from batchmill.workloads.identifiability.global_identifiability import groebner
from batchmill.workloads.identifiability.global_identifiability.fibre import single_valued

PRIME = 2147483647


def test_a_variable_with_two_values_is_not_constant(engine):
    ring = groebner.ring(["x", "y", "z"], PRIME)
    x, y, z = ring.gens()
    assert single_valued([x * x - 4, y + z - 3 * x * x, y - z - 2], ["x", "y", "z"], PRIME) == {"y", "z"}


def test_elementary_symmetric_functions_leave_their_arguments_exchangeable(engine):
    ring = groebner.ring(["a", "b", "c"], PRIME)
    a, b, c = ring.gens()
    system = [a + b - 5, a * b - 6, c * (a + b) - 10]
    assert groebner.constants(system, ["a", "b", "c"], PRIME) == {"c"}


def test_values_that_equations_fix_outright_need_no_engine(monkeypatch):
    monkeypatch.setattr(groebner, "constants", lambda *_: pytest.fail("an engine was asked"))
    ring = groebner.ring(["x", "y"], PRIME)
    x, y = ring.gens()
    assert single_valued([2 * x - 6, x * y - 3], ["x", "y"], PRIME) == {"x", "y"}


def test_cyclic_roots_of_order_four_form_a_curve(engine):
    names = ["a", "b", "c", "d"]
    ring = groebner.ring(names, PRIME)
    a, b, c, d = ring.gens()
    system = [a + b + c + d, a * b + b * c + c * d + d * a, a * b * c + b * c * d + c * d * a + d * a * b]
    assert groebner.constants([*system, a * b * c * d - 1], names, PRIME) == set()


def test_a_basis_that_msolve_prints_is_read():
    header = "#Reduced Groebner basis data\n#length of basis: 3\n#---\n"
    assert groebner._read_constants(f"{header}[1*y^1+5,\n1*x^1+2*z^1+7,\n1*z^2+3,\n1*w^1]:\n") == {"y", "w"}


@pytest.mark.parametrize("body", ["[1]:", "", "[]:"])
def test_an_empty_answer_of_msolve_is_a_failure(body):
    with pytest.raises(groebner.EngineFailed):
        groebner._read_constants(f"#header\n{body}")
