"""Model files: everything that is wrong is told at once, each with its line and column."""

from __future__ import annotations

import pytest

from batchmill import ManifestError
from batchmill.workloads.identifiability.catalogue import bundled_names, check_reference, find_model, list_models

GOOD = """\
name: decay
states: [x]
parameters: [k]
odes: {x: -k*x}
outputs: {y: x}
"""


@pytest.fixture
def write(tmp_path):
    def write(text: str, name: str = "m.yaml") -> str:
        (tmp_path / name).write_text(text, encoding="utf-8")
        return str(tmp_path / name)

    return write


def problems(path: str) -> dict[tuple[int, int], str]:
    with pytest.raises(ManifestError) as caught:
        find_model(path)
    return {(p.line, p.column): p.message for p in caught.value.problems}


def test_a_model_is_read_as_it_is_written(write):
    model = find_model(
        write(
            """\
name: all
states: [x, y]
parameters: [k]
inputs: [u]
constants: {c: 1/3, d: 0.1}
odes: {x: -k*x + c*u, y: 0}
outputs: {out: x + d*y}
options: {nonzero_input_derivatives: 1, known_initial_conditions: {y: 0.5}}
expected: {rank: 2, example_identifiable_functions: []}
source: here
"""
        )
    )
    assert (model.name, model.states, model.parameters, model.inputs) == ("all", ("x", "y"), ("k",), ("u",))
    assert [str(v) for v in model.constants.values()] == ["1/3", "1/10"]
    assert model.options.nonzero_input_derivatives == 1
    assert {s: str(v) for s, v in model.options.known.values.items()} == {"y": "1/2"}
    assert not model.options.known.generic
    assert model.expected == {"rank": 2, "example_identifiable_functions": []}


def test_all_problems_are_told_at_once_with_their_places(write):
    found = problems(
        write(
            """\
name: bad
states: [x1, x2, x3]
parameters: [k1, k2, k1, ké]
outputs: {y: "x1 + zz", z: 'foo(x1)'}
odes:
  x1: -k1*x1 + exp(x1
  x2: k1*x1 ^ 2
  x4: 3 x1
options: {known_initial_conditions: {x9: 0, x1: k1}}
"""
        )
    )
    assert {at: message.partition(": ")[2] or message for at, message in found.items()} == {
        (2, 18): "the state `x3` has no equation in `odes`",
        (3, 22): "`k1` is already one of `parameters`",
        (3, 26): r"'k\xe9' cannot be a name",
        (4, 20): "`zz` is not declared",
        (4, 29): "`foo` is not a function",
        (6, 16): "this parenthesis is never closed",
        (7, 13): "unexpected character `^`",
        (8, 3): "`x4` is not a state",
        (8, 9): "an operator is expected before `x1`",
        (9, 38): "`x9` is not a state",
        (9, 49): "`k1` is not a number",
    }


@pytest.mark.parametrize(
    ("change", "place", "reason"),
    [
        (("k*x", "q*x"), (4, 12), "`q` is not declared"),
        (("odes: {x: -k*x}\n", ""), (1, 1), "`odes` is missing"),
        (("[k]", "[k, l]"), (3, 17), "`l` is declared but used nowhere"),
        (("[k]", "[k, x]"), (3, 17), "`x` is already one of `states`"),
        (("[k]", "[k, 1]"), (3, 17), "`parameters`: input should be a valid string"),
        (("[x]", "[]"), (2, 9), "`states`: at least one is needed"),
        (("name: decay", "nmae: decay"), (1, 1), "unknown key `nmae`"),
        (("{y: x}", "{y: true}"), (5, 14), "`outputs`: input should be a valid string"),
        (("{y: x}", "{y: x}\noptions: {nonzero_input_derivatives: -1}"), (6, 38), "`options`: give a whole number"),
    ],
)
def test_each_mistake_has_its_place(write, change, place, reason):
    found = problems(write(GOOD.replace(*change)))
    assert place in found
    assert reason in found[place]


def test_near_names_are_suggested(write):
    with pytest.raises(ManifestError) as caught:
        find_model(write(GOOD.replace("[k]", "[rate]").replace("-k*x", "-rte*x")))
    assert caught.value.problems[0].hint == "did you mean `rate`?"


def test_time_is_said_to_be_a_state(write):
    with pytest.raises(ManifestError) as caught:
        find_model(write("states: [x]\nparameters: [k]\nodes: {x: -k*x*t}\noutputs: {y: x}"))
    assert caught.value.hint == "time is a state: `t: 1` in `odes`, and known_initial_conditions: {t: 0}"


def test_an_empty_file_is_no_mapping(write):
    with pytest.raises(ManifestError, match="the model: a mapping is expected"):
        find_model(write(""))


def test_one_of_several_models_is_found_by_its_id(write):
    second = "\n".join("  " + line for line in GOOD.replace("name: decay", "id: other").splitlines())
    first = "\n".join("  " + line for line in GOOD.replace("name: decay", "id: one").splitlines())
    path = write(f"models:\n- {first.strip()}\n- {second.strip()}\n")
    assert list_models(path) == [f"{path}#one", f"{path}#other"]
    assert find_model(f"{path}#other").name == "other"
    with pytest.raises(ManifestError, match="none of them `othr`") as caught:
        find_model(f"{path}#othr")
    assert "#other" in (caught.value.hint or "")
    with pytest.raises(ManifestError, match="holds 2 models"):
        find_model(path)


def test_a_broken_neighbour_does_not_hurt_a_model(write):
    path = write("models:\n- {id: a, states: 3}\n- {id: b, states: [x], odes: {x: 1}, outputs: {y: x}}\n")
    assert find_model(f"{path}#b").states == ("x",)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("models: 3", "must be a list"),
        ("models: []", "holds no models"),
        ("models: [{states: [x]}]", "needs an `id`"),
        ("models: [{id: a}, {id: a}]", "two models `a`"),
        ("[1, 2]", "model"),
        ("just text", "model"),
        ("", "model"),
    ],
)
def test_files_that_hold_no_models_are_refused(write, text, reason):
    with pytest.raises(ManifestError, match=reason):
        list_models(write(text))


def test_an_edited_file_is_read_again(write, tmp_path):
    path = write(GOOD)
    assert find_model(path).name == "decay"
    write(GOOD.replace("decay", "a longer name"))
    assert find_model(path).name == "a longer name"


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(ManifestError, match="no such file"):
        find_model(str(tmp_path / "missing.yaml"))


def test_unknown_bundled_names_get_the_nearest_one():
    with pytest.raises(ValueError, match="did you mean `C2M`"):
        check_reference("c2m")
    with pytest.raises(ValueError, match="calibration_single"):
        check_reference("zzzzzz")


def test_every_bundled_model_is_read_and_cites_its_source():
    assert len(bundled_names()) >= 12
    assert {"C2M", "Bolie", "calibration_single", "calibration_double"} <= set(bundled_names())
    for name in bundled_names():
        model = find_model(name)
        assert model.name == name
        assert model.source
        assert model.expected


@pytest.mark.parametrize(
    "formula",
    [
        "10**10**10",
        "(" * 10_000 + "x" + ")" * 10_000,
        "x+" * 500_000 + "x",
        "\u0445",
        "x.__class__",
        "__import__('os')",
    ],
)
def test_hostile_equations_in_a_file_are_refused_with_their_line(write, formula):
    found = problems(write(f'name: hostile\nstates: [x]\nodes:\n  x: "{formula}"\noutputs: {{y: x}}\n'))
    assert [line for line, _ in found] == [4]
