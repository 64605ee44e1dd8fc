"""SBML and PEtab: each construct gives the equations that one writes by hand, or is refused by name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from batchmill import ManifestError
from batchmill.workloads.identifiability import formats
from batchmill.workloads.identifiability.catalogue import find_model

libsbml = pytest.importorskip("libsbml")
PETAB = Path(__file__).parent / "samples" / "petab"


class Building:
    """An SBML model put together element by element."""

    def __init__(self) -> None:
        self.document = libsbml.SBMLDocument(3, 1)
        self.model = self.document.createModel()
        self.model.setId("built")

    def compartment(self, name: str, size: float) -> Building:
        return self._set(self.model.createCompartment(), Id=name, Size=size, Constant=True, SpatialDimensions=3)

    def species(self, name: str, compartment: str, *, amount: bool = False, boundary: bool = False) -> Building:
        element = self.model.createSpecies()
        flags = {"HasOnlySubstanceUnits": amount, "BoundaryCondition": boundary, "Constant": False}
        return self._set(element, Id=name, Compartment=compartment, InitialAmount=6.0, **flags)

    def parameter(self, name: str, value: float = 2.0, *, constant: bool = True) -> Building:
        return self._set(self.model.createParameter(), Id=name, Value=value, Constant=constant)

    def rule(self, kind: str, name: str, formula: str) -> Building:
        element = getattr(self.model, f"create{kind}Rule")()
        return self._set(element, Variable=name, Math=libsbml.parseL3Formula(formula))

    def start(self, name: str, formula: str) -> Building:
        return self._set(self.model.createInitialAssignment(), Symbol=name, Math=libsbml.parseL3Formula(formula))

    def function(self, name: str, formula: str) -> Building:
        return self._set(self.model.createFunctionDefinition(), Id=name, Math=libsbml.parseL3Formula(formula))

    def reaction(self, name: str, left: str, right: str, law: str, **local: float) -> Building:
        element = self.model.createReaction()
        self._set(element, Id=name, Reversible="-" in law, Fast=False)
        for words, create in ((left, element.createReactant), (right, element.createProduct)):
            for word in words.split():
                count, _, species = word.rpartition("*")
                self._set(create(), Species=species, Stoichiometry=float(count or 1), Constant=True)
        kinetic = self._set_math(element.createKineticLaw(), law)
        for parameter, value in local.items():
            self._set(kinetic.createLocalParameter(), Id=parameter, Value=value)
        return self

    def text(self) -> str:
        return str(libsbml.writeSBMLToString(self.document))

    def _set(self, element: Any, **values: Any) -> Building:
        for name, value in values.items():
            assert getattr(element, f"set{name}")(value) == libsbml.LIBSBML_OPERATION_SUCCESS
        return self

    @staticmethod
    def _set_math(element: Any, formula: str) -> Any:
        element.setMath(libsbml.parseL3Formula(formula))
        return element


def read(built: Building, folder: Path, **options: Any) -> dict[str, Any]:
    path = folder / "built.xml"
    path.write_text(built.text())
    [(_, model)] = formats.read(str(path), **options)
    return model


def two_volumes() -> Building:
    return Building().compartment("cell", 3.0).compartment("nucleus", 0.5)


def test_amounts_and_concentrations_change_by_what_a_reaction_moves(tmp_path: Path) -> None:
    built = two_volumes().species("a", "cell").species("b", "nucleus").species("n", "cell", amount=True).parameter("k")
    built.reaction("r", "a", "b 2*n", "k*a*cell")
    assert read(built, tmp_path)["odes"] == {"a": "-k*a", "b": "k*a*cell/nucleus", "n": "2*k*a*cell"}


def test_a_reversible_reaction_and_one_species_on_both_sides(tmp_path: Path) -> None:
    built = Building().compartment("c", 1.0).species("a", "c").species("b", "c").parameter("k").parameter("m")
    built.reaction("r", "a b", "2*b", "k*a*b - m*b")
    assert read(built, tmp_path)["odes"] == {"a": "-(k*a*b - m*b)", "b": "k*a*b - m*b"}


def test_a_boundary_species_is_a_known_number_in_the_units_of_formulas(tmp_path: Path) -> None:
    built = two_volumes().species("a", "cell").species("fed", "cell", boundary=True).parameter("k")
    model = read(built.reaction("r", "fed", "a", "k*fed*cell"), tmp_path)
    assert (model["odes"], model["constants"]) == ({"a": "k*fed"}, {"fed": "2"})


def test_an_initial_assignment_sets_the_size_that_a_concentration_is_taken_by(tmp_path: Path) -> None:
    built = two_volumes().species("a", "cell").species("fed", "cell", boundary=True).parameter("k")
    built.start("cell", "4").reaction("r", "fed", "a", "k*fed*cell")
    assert read(built, tmp_path)["constants"] == {"fed": "1.5"}


def test_a_local_parameter_hides_the_global_one_of_its_name(tmp_path: Path) -> None:
    built = Building().compartment("c", 1.0).species("a", "c").parameter("k")
    built.reaction("r", "a", "", "k*a", k=5.0).reaction("s", "a", "", "k*a^2").reaction("t", "a", "", "k*a^3", k=7.0)
    model = read(built, tmp_path)
    assert model["odes"] == {"a": "-r_k*a - k*a**2 - t_k*a**3"}
    assert sorted(model["parameters"]) == ["k", "r_k", "t_k"]


def test_functions_of_functions_see_their_own_arguments_only(tmp_path: Path) -> None:
    built = Building().compartment("c", 1.0).species("a", "c").parameter("k").parameter("x")
    built.function("twice", "lambda(x, 2*x)").function("mm", "lambda(v, k, s, v*twice(s)/(k + twice(s)))")
    assert read(built.reaction("r", "a", "", "mm(x, k, a)"), tmp_path)["odes"] == {"a": "-2*x*a/(k + 2*a)"}


def test_the_id_of_a_reaction_in_a_formula_is_its_rate(tmp_path: Path) -> None:
    built = Building().compartment("c", 1.0).species("a", "c").parameter("k").parameter("seen", constant=False)
    built.reaction("r", "a", "", "k*a", k=5.0).rule("Assignment", "seen", "3*r")
    model = read(built, tmp_path, outputs=["seen"])
    assert (model["outputs"], model["parameters"]) == ({"y_seen": "3*r_k*a"}, ["r_k"])


def test_reactions_whose_rates_call_each_other_are_refused(tmp_path: Path) -> None:
    built = Building().compartment("c", 1.0).species("a", "c")
    built.reaction("r", "a", "", "s").reaction("s", "a", "", "r")
    with pytest.raises(ManifestError, match="nested deeper"):
        read(built, tmp_path)


def test_a_number_with_an_exponent_is_exact(tmp_path: Path) -> None:
    built = Building().compartment("c", 1.0).species("a", "c")
    assert read(built.reaction("r", "a", "", "1.1e-5*a"), tmp_path)["odes"] == {"a": "-0.000011*a"}


def test_rules_and_time(tmp_path: Path) -> None:
    built = Building().compartment("c", 1.0).species("a", "c").parameter("k").parameter("m")
    for name in ("p", "q", "w"):
        built.parameter(name, constant=False)
    built.rule("Rate", "p", "-k*p*time").rule("Assignment", "q", "w + 1").rule("Assignment", "w", "m*p")
    model = read(built.reaction("r", "a", "", "q*a"), tmp_path)
    assert model["odes"] == {"p": "-k*p*time", "a": "-(m*p + 1)*a", "time": "1"}
    assert model["options"] == {"known_initial_conditions": {"time": "0"}}


def test_a_growing_compartment_thins_out_what_is_in_it(tmp_path: Path) -> None:
    built = two_volumes().species("a", "cell").parameter("k").parameter("g")
    built.model.getCompartment("cell").setConstant(False)
    built.rule("Rate", "cell", "g*cell").reaction("r", "a", "", "k*a*cell")
    assert read(built, tmp_path)["odes"] == {"cell": "g*cell", "a": "-k*a - a*g"}


@pytest.fixture
def problem(tmp_path: Path) -> Callable[..., str]:
    """The sample PEtab problem, with some tables written anew."""

    def written(model: Building | None = None, **tables: str) -> str:
        for file in PETAB.iterdir():
            (tmp_path / file.name).write_bytes(file.read_bytes())
        if model is not None:
            (tmp_path / "model.xml").write_text(model.text())
        for name, text in tables.items():
            (tmp_path / f"{name}.tsv").write_text(text.replace(" ", "\t"))
        return str(tmp_path / "sir.yaml")

    return written


PARAMETERS = "parameterId parameterScale nominalValue estimate\n"
OBSERVABLES = "observableId observableFormula noiseFormula\nseen a sigma\n"
MEASURED = "observableId simulationConditionId time measurement\nseen c0 0 1\n"


def reacting(**starts: str) -> Building:
    built = two_volumes().species("a", "cell").parameter("k").parameter("m")
    for name, formula in starts.items():
        built.start(name, formula)
    return built.reaction("r", "a", "", "k*m*a")


def tables(parameters: str, conditions: str) -> dict[str, str]:
    return {
        "parameters": PARAMETERS + parameters,
        "conditions": f"conditionId {conditions}",
        "observables": OBSERVABLES,
        "measurements": MEASURED,
    }


def test_a_fixed_parameter_has_its_nominal_value_whatever_its_scale(problem: Callable[..., str]) -> None:
    given = tables("k log10 0.01 1\nm log10 0.5 0\nsigma lin 1 1\n", "k\nc0 \n")
    model = find_model(problem(reacting(), **given))
    assert model.parameters == ("k",)
    assert {name: str(value) for name, value in model.constants.items()} == {"m": "1/2", "cell": "3"}


def test_a_condition_sets_a_size_also_one_of_one(problem: Callable[..., str]) -> None:
    built = Building().compartment("cell", 1.0).species("a", "cell").parameter("k").reaction("r", "a", "", "k*a")
    model = find_model(problem(built, **tables("k lin 1 1\n", "cell\nc0 4\n")))
    assert formats.model_latex(model).count("cell") == 0
    twice = tables("k lin 1 1\n", "cell\nc0 4\nc1 5\n")
    assert find_model(problem(built, **twice)).constants == {"cell": None}


@pytest.mark.parametrize(
    ("parameters", "conditions", "equation"),
    [("k lin 1 1\nm lin 7 0\n", "k\nc0 \n", "-k*m*a/cell"), ("k lin 1 1\n", "m\nc0 7\n", "-7*k*a/cell")],
    ids=["parameters", "conditions"],
)
def test_tables_take_precedence_over_initial_assignments(
    problem: Callable[..., str], parameters: str, conditions: str, equation: str
) -> None:
    [(_, model)] = formats.read(problem(reacting(m="100"), **tables(parameters, conditions)))
    assert model["odes"] == {"a": equation}
    assert model["constants"] == ({"m": "7", "cell": "3"} if "m" in equation else {"cell": "3"})


@pytest.mark.parametrize(
    ("conditions", "reason"),
    [
        ("q\nc0 1\n", "`q` is set here and by a rule of the model"),
        ("zz\nc0 1\n", "`zz` is neither in the model nor a parameter"),
    ],
)
def test_a_condition_that_would_be_ignored_is_refused(
    problem: Callable[..., str], conditions: str, reason: str
) -> None:
    built = reacting().parameter("q", constant=False).rule("Assignment", "q", "2*k")
    with pytest.raises(ManifestError, match=reason):
        find_model(problem(built, **tables("k lin 1 1\nm lin 1 1\n", conditions)))
