"""Functions that are not rational: their series are exact, and what depends on each other is never held independent."""

from __future__ import annotations

from fractions import Fraction

import pytest
from flint import fmpq, fmpq_series
from hypothesis import given, settings
from hypothesis import strategies as st

from batchmill.workloads.identifiability.advice import advise
from batchmill.workloads.identifiability.analysis import analyse
from batchmill.workloads.identifiability.circuit import Circuit
from batchmill.workloads.identifiability.combinations import find as find_combinations
from batchmill.workloads.identifiability.model import Model, Options, Unsupported
from batchmill.workloads.identifiability.options import assuming
from batchmill.workloads.identifiability.orbits import Field
from batchmill.workloads.identifiability.parser import parse
from batchmill.workloads.identifiability.sampling import PRIMES
from batchmill.workloads.identifiability.symmetries import find as find_symmetries
from batchmill.workloads.identifiability.taylor import SeriesProgram, static_values
from batchmill.workloads.identifiability.transcendental import NoRoot, Start, find_rules, root

PRIME = PRIMES[0]
ORDERS = 7


def model(output: str, equation: str = "1", parameters: str = "a b") -> Model:
    return Model(
        name="m",
        states=("x",),
        parameters=tuple(parameters.split()),
        inputs=(),
        unknown_inputs=(),
        odes={"x": parse(equation).expression},
        outputs={"y": parse(output).expression},
    )


IDENTITIES = [
    "exp(x)*exp(-x) - 1",
    "exp(2*x) - exp(x)**2",
    "exp(x*(b + 1)) - exp(x*b)*exp(x)",
    "exp(x + 1) - exp(1)*exp(x)",
    "exp(0.123*x)**781 - exp(0.781*x)**123",
    "exp(x/3)**3 - exp(x/2)**2",
    "exp(exp(x) + x) - exp(exp(x))*exp(x)",
    "log(x**2) - 2*log(x)",
    "log(6*x) - log(2) - log(3*x)",
    "log(x**2 + x) - log(x) - log(x + 1)",
    "log(x/b) + log(b) - log(x)",
    "log(exp(x)) - x",
    "exp(log(x)) - x",
    "log(8)/log(2) - 3",
    "sqrt(x)**2 - x",
    "sqrt(x*b) - sqrt(x)*sqrt(b)",
    "sqrt(1 - x)**2 - 1 + x",
    "sqrt(8) - 2*sqrt(2)",
    "sqrt(4) - 2",
    "exp(log(x)/2) - sqrt(x)",
    "x**(b + 1) - x*x**b",
    "x**(2*b) - (x**b)**2",
    "(x/b)**b - x**b/b**b",
    "(x*b)**0.3 - x**0.3*b**0.3",
    "10**(b + 1) - 10*10**b",
    "sin(x)**2 + cos(x)**2 - 1",
    "sin(2*x) - 2*sin(x)*cos(x)",
    "sin(x + b) - sin(x)*cos(b) - cos(x)*sin(b)",
    "sin(x + 1) - sin(x)*cos(1) - cos(x)*sin(1)",
    "sin(x/3) + 4*sin(x/9)**3 - 3*sin(x/9)",
    "log(sin(2*x)) - log(2) - log(sin(x)) - log(cos(x))",
    "tan(x)*cos(x) - sin(x)",
    "tanh(x)*cosh(x) - sinh(x)",
    "cosh(x)**2 - sinh(x)**2 - 1",
]


@pytest.mark.parametrize("identity", IDENTITIES)
def test_what_is_zero_however_it_is_written_reveals_nothing(identity):
    verdict = analyse(model(f"x + a*({identity}) + b*({identity})"))
    assert (verdict.rank, verdict.identifiable) == (1, {"x"})


NEARLY = ["exp(x)*exp(-2*x) - 1", "log(x**2) - 3*log(x)", "sqrt(x)**3 - x", "sin(x)**2 + cos(x)**3", "x**b - x*x**b"]


@pytest.mark.parametrize("function", NEARLY)
def test_what_is_not_zero_reveals_its_factor(function):
    assert "a" in analyse(model(f"x + a*({function})")).identifiable


@pytest.mark.parametrize(
    ("output", "value"),
    [
        ("(exp(x) - 1)*a", "0"),
        ("(exp(x) - exp(1))*a", "1"),
        ("log(x)*a", "1"),
        ("(log(x) - 2*log(2))*a", "4"),
        ("sin(x)*a", "0"),
        ("(cos(x) - 1)*a", "0"),
        ("(sqrt(x) - 3)*a", "9"),
        ("(x**(1/2) - 3)*a", "9"),
    ],
)
def test_functions_of_a_known_number_are_that_number(output, value):
    resting = model(output, equation="0*x", parameters="a")
    assert analyse(assuming(resting, _given(known_initial_conditions={"x": value}), None)).rank == 0
    assert analyse(assuming(resting, _given(known_initial_conditions=["x"]), None)).rank == 1


def _given(**options):
    from batchmill.workloads.identifiability.loading import OptionsSection

    return OptionsSection.model_validate(options)


@pytest.mark.parametrize(
    ("equation", "parameters", "hidden"),
    [
        ("-v*x**n/(K**n + x**n)", "v K n", set()),
        ("-v/(1 + (K/x)**n)", "v K n", set()),
        ("-v*x**n*K**n", "v K n", {"v", "K"}),
        ("-x*10**p", "p", set()),
        ("-x*exp(p + q)", "p q", {"p", "q"}),
        ("-x*exp(-E/R)", "E R", {"E", "R"}),
        ("r*x*(1 - (x/K)**m)", "r K m", set()),
        ("sqrt(g)*sqrt(x)", "g", set()),
        ("-sqrt(-c*x)", "c", set()),
        ("a*sinh(w*x) + a*cosh(w*x)", "a w", set()),
    ],
)
def test_verdicts_that_are_plain_by_hand(equation, parameters, hidden):
    verdict = analyse(model("x", equation, parameters))
    assert verdict.identifiable == {"x", *parameters.split()} - hidden


def test_a_known_exponent_makes_a_power_rational():
    unknown = model("x", "-k*x**n", "k n")
    known = assuming(unknown, _given(known_parameters={"n": 2}), None)
    assert known.parameters == ("k",)
    assert analyse(known).identifiable == {"x", "k"}


def test_a_huge_known_exponent_is_refused():
    with pytest.raises(Unsupported, match="exponent"):
        analyse(assuming(model("x", "-k*x**n", "k n"), _given(known_parameters={"n": 10**6}), None))


@pytest.mark.parametrize(
    ("output", "reason"),
    [("log(0*x)", "divides by zero"), ("sqrt(-4)*x", "squares"), ("log(x - x)", "divides|denominator")],
)
def test_what_has_no_value_is_refused(output, reason):
    with pytest.raises(Unsupported, match=reason):
        analyse(model(output))


@given(st.integers(1, PRIME - 1), st.fractions(-9, 9, max_denominator=12))
def test_roots_are_powers_that_can_be_undone(value, exponent):
    square = value * value % PRIME
    assert pow(root(square, exponent, PRIME), exponent.denominator, PRIME) == pow(square, exponent.numerator, PRIME)
    assert root(square, exponent, PRIME) * root(square, -exponent, PRIME) % PRIME == 1


@pytest.mark.parametrize("number", ["0.7", "3/10", "53/59", "2*61*67"])
def test_roots_of_numbers_are_known(number):
    assert analyse(model(f"sqrt({number})*a*x", parameters="a")).rank == 2


def test_numbers_that_are_no_squares_have_no_square_root():
    with pytest.raises(NoRoot):
        root(PRIME - 1, Fraction(1, 2), PRIME)


def _series(coefficients) -> fmpq_series:
    return fmpq_series([fmpq(c.numerator, c.denominator) for c in map(Fraction, coefficients)], prec=ORDERS)


_ONE = _series([1])
_FUNCTIONS = {
    "exp({}) - 1": lambda s: s.exp() - _ONE,
    "log(1 + {})": lambda s: (s + _ONE).log(),
    "sqrt(1 + {}) - 1": lambda s: (s + _ONE).sqrt() - _ONE,
    "sin({})": lambda s: s.sin(),
    "cos({}) - 1": lambda s: s.cos() - _ONE,
    "tan({})": lambda s: s.tan(),
    "sinh({})": lambda s: s.sinh(),
    "cosh({}) - 1": lambda s: s.cosh() - _ONE,
    "tanh({})": lambda s: s.tanh(),
    "{}/(3 - {})": lambda s: s / (_series([3]) - s),
}


def _applied(inner):
    called = st.tuples(st.sampled_from(sorted(_FUNCTIONS)), inner).map(
        lambda pair: (
            f"({pair[0].replace('{}', '(' + pair[1][0] + ')')})",
            lambda s, f=_FUNCTIONS[pair[0]], g=pair[1][1]: f(g(s)),
        )
    )
    scaled = st.tuples(st.sampled_from(["2", "1/3", "-5"]), inner).map(
        lambda pair: (f"({pair[0]}*{pair[1][0]})", lambda s, k=Fraction(pair[0]), g=pair[1][1]: _series([k]) * g(s))
    )
    both = st.tuples(inner, inner).map(
        lambda pair: (f"({pair[0][0]} + {pair[1][0]})", lambda s, f=pair[0][1], g=pair[1][1]: f(s) + g(s))
    )
    return st.one_of(called, scaled, both)


vanishing = st.recursive(st.just(("x", lambda s: s)), _applied, max_leaves=5)
"""Texts of functions of x that are 0 at x = 0, and the exact series of each from that of x."""


def compiled(text: str, values=None):
    circuit = Circuit()
    leaf = circuit.leaf("x", static=False)
    node = circuit.lower(parse(text).expression, {"x": leaf})
    gradient = circuit.gradient(node).get(leaf, circuit.zero)
    nodes = circuit.reachable([leaf, node, gradient])
    rules = find_rules(circuit, nodes, {leaf: Fraction(0)} if values is None else values)
    return circuit, leaf, node, gradient, nodes, rules


def series_of(circuit, leaf, nodes, rules, coefficients):
    start = Start(rules, PRIME)
    constants = static_values(circuit, nodes, {}, PRIME, start)
    program = SeriesProgram(circuit, nodes, constants, PRIME, start)
    for order, value in enumerate(coefficients):
        program.series[leaf].append(value)
        program.step(order)
    return {**{node: [value] + [0] * (ORDERS - 1) for node, value in constants.items()}, **program.series}


def modulo(value) -> int:
    return int(value.numerator) * pow(int(value.denominator), -1, PRIME) % PRIME


@settings(max_examples=60, deadline=None)
@given(vanishing, st.lists(st.integers(-4, 4), min_size=ORDERS - 1, max_size=ORDERS - 1))
def test_series_equal_the_exact_ones(function, rest):
    text, exact = function
    expected = exact(_series([0, *rest]))
    circuit, leaf, node, _, nodes, rules = compiled(text)
    found = series_of(circuit, leaf, nodes, rules, [0, *(c % PRIME for c in rest)])
    assert found[node] == [modulo(expected[k]) for k in range(ORDERS)]


@settings(max_examples=60, deadline=None)
@given(vanishing, st.lists(st.integers(1, PRIME - 1), min_size=ORDERS, max_size=ORDERS))
def test_gradients_obey_the_chain_rule_at_any_point(function, coefficients):
    circuit, leaf, node, gradient, nodes, rules = compiled(function[0], {})
    try:
        series = series_of(circuit, leaf, nodes, rules, coefficients)
    except NoRoot:
        return
    slopes = [k * c for k, c in enumerate(coefficients)][1:]
    for k in range(ORDERS - 1):
        product = sum(series[gradient][j] * slopes[k - j] for j in range(k + 1))
        assert (k + 1) * series[node][k + 1] % PRIME == product % PRIME


def test_options_of_a_model_are_unchanged_by_a_default_file():
    given = model("x", "-k*x**n", "k n")
    assert assuming(given, _given(), "default").options == Options()


def test_a_number_without_a_root_modulo_the_first_prime_stops_no_search():
    number = next(n for n in range(2, 999) if pow(n, PRIME // 2, PRIME) == PRIME - 1)
    given = model("b*x", f"-a*b*sqrt({number})*x")
    assert analyse(given).rank == 2
    assert find_combinations(given).functions == ("a*b",)
    assert [symmetry.kind for symmetry in find_symmetries(given)] == ["scaling"]
    assert advise(given).fix_parameters.minimal == (("a",), ("b",))
    assert Field(given).sample.prime != PRIME
