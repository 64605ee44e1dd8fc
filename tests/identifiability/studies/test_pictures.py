"""Pictures, and the numbers behind them: jets against finite differences, orbits against their outputs."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest

np = pytest.importorskip("numpy")
pytest.importorskip("matplotlib")

from batchmill import TaskError  # noqa: E402
from batchmill.workloads.identifiability import pictures, task  # noqa: E402
from batchmill.workloads.identifiability.catalogue import find_model  # noqa: E402
from batchmill.workloads.identifiability.jets import output_jacobian  # noqa: E402
from batchmill.workloads.identifiability.model import Model  # noqa: E402
from batchmill.workloads.identifiability.orbits import Field, confounded, trustworthy  # noqa: E402
from batchmill.workloads.identifiability.parser import FUNCTIONS, parse  # noqa: E402


def one_state(ode: str, output: str, parameters=("a",), inputs=()):
    return Model(
        name="one",
        states=("x",),
        parameters=parameters,
        inputs=inputs,
        unknown_inputs=(),
        odes={"x": parse(ode).expression},
        outputs={"y": parse(output).expression},
    )


def test_a_decay_has_the_series_of_the_exponential():
    rows = output_jacobian(one_state("-a*x", "x"), {"x": 2.0, "a": 0.5}, {}, 6)[:, 0]
    assert rows[:, 0] == pytest.approx([2 * (-0.5) ** k / math.factorial(k) for k in range(6)])
    assert rows[:, 1] == pytest.approx([(-0.5) ** k / math.factorial(k) for k in range(6)])


def test_an_input_enters_with_its_coefficients():
    model = one_state("a*u", "x", inputs=("u",))
    rows = output_jacobian(model, {"x": 1.0, "a": 3.0}, {"u": np.array([1.0, 2.0])}, 4)[:, 0, 0]
    assert rows == pytest.approx([1, 3, 3, 0])


@pytest.mark.parametrize("function", FUNCTIONS)
def test_gradients_agree_with_differences(function):
    model = one_state(f"{function}(a*x) - x**a/(1 + x)**2", f"{function}(x + a)")

    def at(x, a):
        return output_jacobian(model, {"x": x, "a": a}, {}, 4)[:, 0]

    step = 1e-6
    differences = (at(0.7, 0.4 + step) - at(0.7, 0.4 - step))[:, 0] / (2 * step)
    assert at(0.7, 0.4)[:, 2] == pytest.approx(differences, rel=1e-6, abs=1e-8)


@pytest.mark.parametrize("name", ["Bolie", "dynamical_compensation", "lotka_volterra"])
def test_orbits_change_no_output(name):
    field = Field(find_model(name), seed=2)
    orbits = field.orbits()
    assert trustworthy(orbits) == orbits
    there = field.coefficients(field.start)[:, :, 0]
    for orbit in orbits:
        for values in orbit.values[:: len(orbit.values) - 1]:
            assert not np.allclose(values, field.start, rtol=0.1)
            assert np.allclose(field.coefficients(values)[:, :, 0], there, rtol=1e-4, atol=1e-6)


def test_a_scaling_keeps_its_invariant_and_is_no_straight_line():
    (orbit,) = Field(find_model("Bolie"), seed=2).orbits()
    p2, p4 = (orbit.values[:, orbit.names.index(name)] for name in ("p2", "p4"))
    assert p2 * p4 == pytest.approx([p2[0] * p4[0]] * len(p2))
    middle = (p2[0] + p2[-1]) / 2
    assert abs(np.interp(middle, sorted(p2), p4[np.argsort(p2)]) - (p4[0] + p4[-1]) / 2) > 0.1


def test_who_is_confounded_with_whom():
    links = confounded(Field(find_model("Bolie")).sample)
    assert links == {
        "q2": frozenset({"p2", "p4"}),
        "p2": frozenset({"q2", "p4"}),
        "p4": frozenset({"q2", "p2"}),
    }


def test_pictures_are_the_same_bytes_each_time_and_hold_no_date():
    first, second = (pictures.draw(find_model("Bolie"), 1) for _ in range(2))
    assert first == second
    assert set(first) == {f"{n}.{k}" for n in ("confounded", "null_space", "orbits") for k in ("png", "svg")}
    assert all(first[name].startswith(b"\x89PNG") for name in first if name.endswith("png"))
    assert b"<dc:date>" not in first["orbits.svg"]


def test_a_model_that_is_identifiable_needs_no_picture():
    assert pictures.draw(find_model("C2M")) == {}


def test_unknown_inputs_leave_the_graph():
    model = one_state("a*w*x", "x")
    model = Model(**{**{f: getattr(model, f) for f in model.__dataclass_fields__}, "unknown_inputs": ("w",)})
    assert set(pictures.draw(model)) == {"confounded.png", "confounded.svg"}


def test_without_matplotlib_the_extra_is_named(monkeypatch):
    monkeypatch.setattr(pictures, "has_matplotlib", lambda: False)
    with pytest.raises(TaskError) as refused:
        pictures.draw(find_model("Bolie"))
    assert "batchmill[plots]" in refused.value.hint


def test_a_job_keeps_its_pictures():
    kept = {}
    ctx = SimpleNamespace(seed=1, artifact=kept.__setitem__)
    task.fn(task.params(model="Bolie", pictures=True), ctx)
    assert len(kept) == 6


def test_a_scaling_study_is_drawn_with_its_law():
    from batchmill.workloads.identifiability.studies.fits import power_law

    points = [{"size": n, "engine_s": n**2 / 1000} for n in (1, 2, 4)]
    law = power_law([p["size"] for p in points], [p["engine_s"] for p in points])
    assert b"size^2.00" in pictures.render(pictures.log_log({"chain": points}, {"chain": law}), "svg")


def test_a_name_of_strangers_is_drawn_as_harmless_text():
    from dataclasses import replace

    model = replace(find_model("Bolie"), name="$x_{\x1b[31m 模型 & <b>")
    drawn = pictures.draw(model)["confounded.svg"].decode()
    assert "\x1b" not in drawn
    assert "&amp; &lt;b&gt;" in drawn
