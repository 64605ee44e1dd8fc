"""Files of every format give the models that they describe: their verdicts are those of our own files."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import pytest

from batchmill import ManifestError
from batchmill.workloads.identifiability import formats
from batchmill.workloads.identifiability.analysis import analyse
from batchmill.workloads.identifiability.catalogue import find_model, list_models
from batchmill.workloads.identifiability.reduction import mapping_of

SAMPLES = Path(__file__).parent / "samples"


def verdict(reference: str) -> tuple[int, int, set[str]]:
    model = find_model(reference)
    found = analyse(model, 1)
    return found.n_unknowns, found.rank, set(found.identifiable)


def written(tmp_path: Path, path: Path, **options: list[str]) -> str:
    """The model file that an import writes, as a reference."""
    done = formats.import_files([str(path)], str(tmp_path), **options)
    assert not done.refused
    return done.written[0].path


@pytest.mark.parametrize(
    ("sample", "bundled"),
    [("C2M.py", "C2M"), ("goodwin.m", "goodwin"), ("sirs_forced.jl", "sirs_forced")],
)
def test_a_foreign_model_gets_the_verdict_of_our_own_file(sample: str, bundled: str, tmp_path: Path) -> None:
    expected = verdict(bundled)
    assert verdict(str(SAMPLES / sample)) == expected
    assert verdict(written(tmp_path, SAMPLES / sample)) == expected


def test_antimony_reactions_become_the_equations_of_lotka_and_volterra() -> None:
    pytest.importorskip("antimony")
    # only the prey is counted: the rate at which it is eaten and the size of the predator are confounded
    assert verdict(str(SAMPLES / "lotka_volterra.ant")) == (6, 5, {"prey", "a", "c", "d"})


def test_sbml_reactions_become_the_equations_of_sir(tmp_path: Path) -> None:
    pytest.importorskip("libsbml")
    [(name, model)] = formats.read(str(SAMPLES / "sir.xml"))
    assert name == "sir"
    assert model["odes"] == {"S": "-beta*S*I", "I": "beta*S*I - gamma*I", "R": "gamma*I"}
    assert verdict(written(tmp_path, SAMPLES / "sir.xml")) == (5, 5, {"S", "I", "R", "beta", "gamma"})


def test_outputs_of_sbml_can_be_chosen_and_rules_are_inlined(tmp_path: Path) -> None:
    pytest.importorskip("libsbml")
    reference = written(tmp_path, SAMPLES / "sir.xml", outputs=["seen"])
    assert find_model(reference).parameters == ("beta", "gamma", "k")
    # incidence is seen through an unknown factor, and R is not seen at all
    assert verdict(reference) == (6, 4, {"gamma"})


def test_a_petab_problem_tells_unknown_from_fixed_and_what_is_observed() -> None:
    pytest.importorskip("libsbml")
    path = str(SAMPLES / "petab" / "sir.yaml")
    [(_, model)] = formats.read(path)
    assert model["parameters"] == ["beta", "gamma", "scaling"]
    assert model["outputs"] == {"obs_I": "scaling*I"}
    assert model["options"]["known_initial_conditions"] == {"S": "99", "I": "1", "R": "0"}
    assert "sigma" in model["source"]
    assert verdict(path) == (3, 3, {"S", "I", "R", "beta", "gamma", "scaling"})
    assert [Path(name).name for name in formats.files_of(path)] == [
        "sir.yaml",
        "model.xml",
        "parameters.tsv",
        "observables.tsv",
        "conditions.tsv",
        "measurements.tsv",
    ]


def test_variants_that_a_matlab_file_saves_are_models_of_their_own(tmp_path: Path) -> None:
    path = tmp_path / "two.m"
    path.write_text(
        "syms x1 x2 k m\nx = [x1; x2]; p = [k m];\nf = [-k*x1; k*x1 - m*x2];\nics = [1 0]; known_ics = [1 1];\n"
        "h = x1; save('first', 'x', 'p');\nh = [x1 x2]; save('C:\\models\\second', 'x', 'p');\n"
    )
    assert list_models(str(path)) == [f"{path}#first", f"{path}#second"]
    first, second = find_model(f"{path}#first"), find_model(f"{path}#second")
    assert (first.parameters, second.parameters) == (("k", "m"), ("k", "m"))
    assert (set(first.outputs), set(second.outputs)) == ({"y"}, {"y1", "y2"})
    assert second.options.known is not None
    assert dict(second.options.known.values) == {"x1": 1, "x2": 0}


def test_numbers_stay_exact(tmp_path: Path) -> None:
    path = tmp_path / "exact.py"
    path.write_text(
        "from sympy import symbols, Rational\nimport math\nx1, k = symbols('x1, k')\nc = 0.1/(3*1e2)\n"
        "x = [[x1]]\np = [[k]]\nh = [x1]\nf = [[-k*c*x1 + Rational(1, 3)*x1]]\n"
    )
    from batchmill.workloads.identifiability.expressions import Number
    from batchmill.workloads.identifiability.formats.printing import factors_of

    ode = find_model(str(path)).odes["x1"]
    assert [factors_of(term)[0] for term in ode.terms] == [Fraction(-1, 3000), Fraction(1, 3)]  # type: ignore[union-attr]
    assert not isinstance(ode, Number)


def test_symbols_that_are_in_no_list_are_generic_constants(tmp_path: Path) -> None:
    path = tmp_path / "constant.py"
    path.write_text(
        "import sympy as sym\nx1, k, c = sym.symbols('x1 k c')\nx = [[x1]]\np = [[k]]\nh = [x1]\nf = [[-k*x1*c]]\n"
    )
    assert find_model(str(path)).constants == {"c": None}


def test_greek_names_are_spelt_and_clashes_refused(tmp_path: Path) -> None:
    path = tmp_path / "greek.jl"
    path.write_text("m = @ODEmodel(x₁'(t) = -2λ*x₁(t)^2 + 1//3*u(t), y(t) = x₁(t))\n")
    model = find_model(str(path))
    assert (model.states, model.parameters, model.inputs) == (("x1",), ("lambda",), ("u",))
    path.write_text("m = @ODEmodel(x1'(t) = -x1(t)*x₁, y(t) = x1(t))\n")
    with pytest.raises(ManifestError, match="both with and without"):
        find_model(str(path))


def test_an_assessment_with_keywords_may_stand_beside_a_model(tmp_path: Path) -> None:
    path = tmp_path / "assessed.jl"
    path.write_text(
        "m = @ODEmodel(x'(t) = -k*x(t), y(t) = x(t))\n"
        "@time result = assess_identifiability(m; prob_threshold = 0.95)\nprintln(result)\n"
    )
    assert find_model(str(path)).parameters == ("k",)


def test_options_files_are_read_under_our_names(tmp_path: Path) -> None:
    path = tmp_path / "options_C2M.py"
    path.write_text(
        "import sympy as sym\nfrom math import inf\nmodelname = 'C2M'\ncheckObser = 0\nmaxLietime = 100\n"
        "nnzDerU = [0, 0]\nnnzDerW = [inf]\nx5 = sym.Symbol('x5')\nprev_ident_pars = [x5]\n"
        "MANIFOLD_PLOTTING = {'enabled': True, 'resolution': 50}\n"
    )
    assert formats.read_options(str(path)) == {
        "nonzero_input_derivatives": 0,
        "unknown_input_derivatives": "generic",
        "parameters_only": True,
        "known_parameters": ["x5"],
    }
    path.write_text("nnzDerU = [0, 1]\n")
    with pytest.raises(ManifestError, match=r"1:1: `nnzDerU` differs from input to input"):
        formats.read_options(str(path))


def test_an_import_overwrites_nothing_and_tells_what_it_refused(tmp_path: Path) -> None:
    out = tmp_path / "models"
    paths = [str(SAMPLES / "C2M.py"), str(tmp_path / "absent.m"), str(SAMPLES / "C2M.py")]
    done = formats.import_files(paths, str(out))
    assert [Path(item.path).name for item in done.written] == ["C2M.yaml"]
    assert [path for path, _ in done.refused] == paths[1:]
    assert "no such file" in done.refused[0][1].message
    assert "already there" in done.refused[1][1].message
    assert sorted(path.name for path in out.iterdir()) == ["C2M.yaml"]


def test_the_core_of_petab_2_is_read(tmp_path: Path) -> None:
    pytest.importorskip("libsbml")
    (tmp_path / "model.xml").write_bytes((SAMPLES / "petab" / "model.xml").read_bytes())
    (tmp_path / "p.tsv").write_text(
        "parameterId\testimate\tnominalValue\nbeta\ttrue\t1\ngamma\tfalse\t0.1\ns\ttrue\t1\n"
    )
    (tmp_path / "o.tsv").write_text(
        "observableId\tobservableFormula\tobservablePlaceholders\nobs\tscale * seen\tscale\n"
    )
    (tmp_path / "m.tsv").write_text("observableId\texperimentId\tobservableParameters\nobs\te\ts\nobs\te\t2.5\n")
    (tmp_path / "c.tsv").write_text("conditionId\ttargetId\ttargetValue\nc1\tk\t0.5\nc2\tk\t0.7\n")
    (tmp_path / "e.tsv").write_text("experimentId\ttime\tconditionId\ne\t-inf\tc1\ne\t0\tc2\n")
    path = tmp_path / "problem.yaml"
    path.write_text(
        "format_version: 2.0.0\nparameter_files: [p.tsv]\nobservable_files: [o.tsv]\nmeasurement_files: [m.tsv]\n"
        "condition_files: [c.tsv]\nexperiment_files: [e.tsv]\n"
        "model_files:\n  sir: {location: model.xml, language: sbml}\n"
    )
    model = find_model(str(path))
    assert (model.parameters, set(model.constants)) == (("beta", "s"), {"k"})
    assert formats.native_of(str(path))["outputs"] == {"obs_1": "s*k*I", "obs_2": "2.5*k*I"}
    assert formats.native_of(str(path))["odes"]["I"] == "beta*S*I - 0.1*I"
    assert model.options.known is None  # simulations start in a steady state
    assert verdict(str(path))[2] == {"beta", "s", "S", "I"}


@pytest.mark.parametrize(
    ("text", "odes"),
    [
        ("compartment C = 2; C' = g*C; species S in C; J: S -> ; C*k*S; g = 1;", {"C": "g*C", "S": "-k*S - S*g"}),
        ("species S; J: S -> ; k*S*time; S = 1;", {"S": "-k*S*time", "time": "1"}),
        ("species A, $B; J: B -> 2 A; k*B; B = 3; A = 1;", {"A": "2*k*B"}),
        ("species A; J: A -> ; f(A); A = 1; k := 2*d; q = 3*d; K: -> A; q*k;", {"A": "-A**2/(A + 1) + 6*d*d"}),
    ],
)
def test_what_sbml_means_becomes_equations(text: str, odes: dict[str, str], tmp_path: Path) -> None:
    pytest.importorskip("antimony")
    path = tmp_path / "m.ant"
    path.write_text(
        f"function f(x)\n  x^2/(1 + x)\nend\nmodel m\n  {text} k = 1; d = 1;\nend\n".replace(
            " k = 1;" if "k :=" in text else "\0", ""
        )
    )
    [(_, model)] = formats.read(str(path))
    assert model["odes"] == odes
    assert find_model(str(path)).states == tuple(odes)


def test_one_of_several_julia_models_is_named_by_its_variable_wherever_a_model_is_named(tmp_path: Path) -> None:
    path = tmp_path / "two.jl"
    path.write_text("one = @ODEmodel(x'(t) = -a*x(t), y(t) = b*x(t))\ntwo = @ODEmodel(x'(t) = -a*x(t), y(t) = x(t))\n")
    assert list_models(str(path)) == [f"{path}#one", f"{path}#two"]
    assert verdict(f"{path}#two") == (2, 2, {"x", "a"})
    assert mapping_of(f"{path}#two")["odes"] == {"x": "-a*x"}
    done = formats.import_files([f"{path}#two"], str(tmp_path))
    assert [(written.model, Path(written.path).name) for written in done.written] == [("two", "two.yaml")]
    [(_, error)] = formats.import_files([f"{path}#tow"], str(tmp_path)).refused
    assert (error.message, error.hint) == (f"`{path}` holds no model `tow`", "it holds `one`, `two`")
    with pytest.raises(ManifestError, match="none of them `tow`"):
        find_model(f"{path}#tow")


def test_an_only_julia_model_answers_to_its_file_and_to_its_variable(tmp_path: Path) -> None:
    path = tmp_path / "decay.jl"
    path.write_text("ode = @ODEmodel(x'(t) = -a*x(t), y(t) = x(t))\n")
    for name in ("", "#ode", "#decay"):
        assert find_model(f"{path}{name}").name == "decay"
        assert mapping_of(f"{path}{name}")["id"] == "decay"
    assert not formats.import_files([f"{path}#ode"], str(tmp_path)).refused
    with pytest.raises(ManifestError, match="holds the model `decay`, not `other`"):
        find_model(f"{path}#other")


WAYS = {
    "elements.py": (
        "import sympy as sym\nx1, x2 = sym.symbols(['x1', 'x2'])\n(a, b), c = sym.symbols(('a b', 'c'))\n"
        "x = sym.Matrix([x1, x2])\np = [a]\np.append(b)\np.append([c])\nh = [0]*1\nh[0] = c*x[0]\n"
        "f = sym.zeros(2, 1)\nf[0] = -a*x[0] + b*x[1, 0]\nf[1, 0] = a*x1\nf[-1] -= b*x2\n"
    ),
    "rows.py": (
        "import numpy as np\nfrom sympy import symbols\nk = symbols('a:c')\nx1, x2 = symbols('x1 x2', real=True)\n"
        "x = np.array([[x1], [x2]])\np = [*k]\nh = [k[2]*x[0][0]]\nf = np.zeros((2, 1))\n"
        "f[0, 0] = -k[0]*x[0, 0] + k[1]*x2\nf[1] = [k[0]*x1 - k[1]*x2]\n"
    ).replace("symbols('a:c')", "symbols(['a', 'b', 'c'])"),
    "elements.m": (
        "syms x1 x2 a b c\nx(1) = x1; x(2) = x2;\np = [a b c];\nh = c*x(1);\n"
        "f(1,1) = -a*x(1) + b*x(2);\nf(2,1) = a*x1;\nf(2) = f(2) - b*x2;\n"
    ),
}


@pytest.mark.parametrize("name", WAYS)
def test_vectors_are_filled_one_element_after_the_other(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_text(WAYS[name])
    [(_, model)] = formats.read(str(path))
    assert model["odes"] == {"x1": "-a*x1 + b*x2", "x2": "a*x1 - b*x2"}
    assert (model["parameters"], list(model["outputs"].values())) == (["a", "b", "c"], ["c*x1"])


def test_a_copy_of_a_list_is_not_the_list(tmp_path: Path) -> None:
    path = tmp_path / "copies.py"
    path.write_text(
        "import sympy as sym\nimport numpy as np\nx1, a = sym.symbols('x1 a')\nx = [[x1]]\np = [a]\n"
        "h = np.array(x)\nh[0, 0] = a*x1\nf = sym.Matrix(x)\nf[0] = -a*x1\n"
    )
    [(_, model)] = formats.read(str(path))
    assert (model["states"], model["odes"], model["outputs"]) == (["x1"], {"x1": "-a*x1"}, {"y": "a*x1"})
