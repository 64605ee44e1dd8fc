"""`batchmill identifiability` as users call it, in this process."""

from __future__ import annotations

import json

import pytest

from batchmill.cli import app
from batchmill.workloads.identifiability.catalogue import find_model

DECAY = """\
name: decay
states: [amount]
parameters: [rate, gain]
odes: {amount: -rate*amount}
outputs: {seen: gain*amount}
expected: {locally_identifiable_parameters: [rate]}
"""
JULIA = "ode = @ODEmodel(\n  x'(t) = -a*x(t) + b*u(t),\n  y(t) = x(t)\n)\n"


@pytest.fixture
def run(capsys, monkeypatch, tmp_path):
    """Run the command; returns exit code, stdout and stderr."""
    monkeypatch.chdir(tmp_path)

    def call(*words):
        code = app.run(["identifiability", *words])
        out, err = capsys.readouterr()
        return code, out, err

    return call


def test_one_model_with_all_that_is_known_of_it(run):
    code, out, _ = run("Bolie")
    assert code == 0
    assert "Bolie: rank 6 of 7; 1 direction in which unknowns change unseen" in out
    lines = [line.split(maxsplit=1) for line in out.splitlines()]
    assert ["combinations", "p2*p4  (found 1 of 1)"] in lines
    assert ["fix", "p2 | p4"] in lines
    assert "or measure        q2\n  or know           q2(0)\n" in out


def test_several_models_share_a_table(run):
    _, out, _ = run("C2M", "Bolie")
    assert out.splitlines()[0].split() == ["model", "rank", "unknowns", "null", "space", "identifiable", "ms"]
    assert out.splitlines()[1].split()[:5] == ["C2M", "6", "6", "0", "4/4"]


def test_flags_are_the_options_of_a_job(run):
    assert json.loads(run("Bolie", "--inputs", "0", "--output", "json")[1])["models"][0]["rank"] == 5
    fixed = json.loads(run("Bolie", "--fix", "p2", "--output", "json")[1])["models"][0]
    assert (fixed["known_parameters"], fixed["nullspace_dimension"]) == (["p2"], 0)
    known = json.loads(run("Bolie", "--known-ic", "q2=0", "--output", "json")[1])["models"][0]
    assert known["n_unknowns"] == 6


def test_a_mixture_of_known_with_and_without_value_is_refused(run):
    code, _, err = run("Bolie", "--known-ic", "q1=0,q2")
    assert code == 2
    assert "mixes names with and without a value" in err


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("Bolje",), "did you mean `Bolie`?"),
        (("nowhere.yaml",), "cannot read"),
        (("Bolie", "--inputs", "many"), "nonzero input derivatives"),
        (("Bolie", "--fix", "q1"), "`q1`, which is not a parameter"),
        (("import", "x.jl"), "`import` needs files and a folder"),
        (("export",), "`export` takes one model"),
        (("export", "Bolje"), "did you mean `Bolie`?"),
    ],
)
def test_what_cannot_be_is_told_with_exit_code_2(run, words, told):
    code, out, err = run(*words)
    assert (code, out) == (2, "")
    assert told in err


def test_a_folder_is_searched_and_files_that_are_no_models_are_named(run, tmp_path):
    (tmp_path / "models" / "deep").mkdir(parents=True)
    (tmp_path / "models" / "decay.yaml").write_text(DECAY)
    (tmp_path / "models" / "deep" / "linear.jl").write_text(JULIA)
    (tmp_path / "models" / "other.yaml").write_text("task: python\n")
    code, out, err = run("models")
    assert code == 0
    assert "decay" in out
    assert "linear" in out
    assert "skipped `models/other.yaml`: " in err


def test_check_is_a_gate(run, tmp_path):
    (tmp_path / "decay.yaml").write_text(DECAY)
    assert run("decay.yaml", "--check")[0] == 0
    (tmp_path / "decay.yaml").write_text(DECAY.replace("[rate]}", "[rate, gain]}"))
    code, _, err = run("decay.yaml", "--check")
    assert code == 1
    assert "locally_identifiable_parameters is [rate], expected [rate, gain]" in err


def test_imported_models_are_model_files(run, tmp_path):
    (tmp_path / "linear.jl").write_text(JULIA)
    code, out, _ = run("import", "linear.jl", "-o", "native")
    assert (code, out) == (0, "linear.jl -> native/linear.yaml\n")
    assert find_model(str(tmp_path / "native" / "linear.yaml")).parameters == ("a", "b")


def test_an_import_that_fails_hinders_no_other(run, tmp_path):
    (tmp_path / "linear.jl").write_text(JULIA)
    (tmp_path / "broken.jl").write_text("run(`rm -rf /`)")
    code, out, err = run("import", "broken.jl", "linear.jl", "-o", "native")
    assert code == 1
    assert "linear.yaml" in out
    assert "refused `broken.jl`" in err


def test_an_exported_model_reads_back(run, tmp_path):
    for name in ("Bolie", "goodwin", "sirs_forced"):
        assert run("export", name, "-o", f"{name}.yaml")[0] == 0
        assert find_model(str(tmp_path / f"{name}.yaml")).odes == find_model(name).odes


def test_fixed_parameters_are_exported_as_constants(run, tmp_path):
    run("export", "Bolie", "--fix", "p2=1/3", "-o", "fixed.yaml")
    model = find_model(str(tmp_path / "fixed.yaml"))
    assert model.parameters == ("p1", "p3", "p4", "Vp")
    assert run("fixed.yaml")[1].startswith("Bolie: everything is locally identifiable")


def test_units_make_a_model_identifiable_where_scalings_or_translations_allow(run, tmp_path):
    run("export", "Bolie", "--units", "-o", "units.yaml")
    assert run("units.yaml")[1].startswith("Bolie: everything is locally identifiable")
    (tmp_path / "sum.yaml").write_text(
        DECAY.replace("-rate*amount", "-(rate + gain)*amount").replace("gain*amount}", "amount}")
    )
    run("export", "sum.yaml", "--units", "-o", "units.yaml")
    assert run("units.yaml")[1].startswith("decay: everything is locally identifiable")
    code, _, err = run("export", "C2M", "--units")
    assert code == 2
    assert "cannot be made identifiable by setting parameters to 1" in err


def test_results_as_latex_and_json(run):
    assert "\\begin{tabular}" in run("export", "Bolie", "--format", "latex")[1]
    assert json.loads(run("export", "Bolie", "--format", "json")[1])["rank"] == 6


def test_pictures_are_written_into_a_folder_of_their_own(run, tmp_path):
    pytest.importorskip("matplotlib")
    run("Bolie", "--pictures", "seen")
    assert (tmp_path / "seen" / "Bolie" / "orbits.svg").exists()


def test_a_place_where_nothing_can_be_written_is_refused(run, tmp_path):
    pytest.importorskip("matplotlib")
    (tmp_path / "seen").write_text("a file")
    code, _, err = run("Bolie", "--pictures", "seen")
    assert (code, "cannot write `seen/Bolie`" in err) == (2, True)
