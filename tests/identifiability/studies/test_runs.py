"""Studies as runs: manifests, hooks, reports and exit codes, end to end."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from batchmill import open_run
from batchmill.cli import app

EXAMPLES = Path(__file__).parents[3] / "examples"
SAMPLES = Path(__file__).parents[1] / "formats" / "samples"


@pytest.fixture
def examples(tmp_path, monkeypatch):
    shutil.copytree(EXAMPLES, tmp_path / "examples", ignore=shutil.ignore_patterns(".batchmill"))
    monkeypatch.chdir(tmp_path / "examples")
    return tmp_path / "examples"


def report_of(name: str) -> str:
    return Path(".batchmill", "runs", f"{name}-1", "report.md").read_text()


def test_an_option_sweep_reports_what_changed(examples):
    assert app.run(["run", "studies_options.yaml", "--output", "quiet"]) == 0
    text = report_of("study-options")
    assert "- `C2M`: input derivatives generic → 0: rank 6 → 5" in text
    assert "known parameters as in the model → p2" in text


def test_a_sensitivity_study_reports_minimal_sets(examples):
    assert app.run(["run", "studies_sensitivity.yaml", "--output", "quiet"]) == 0
    assert "- measure infected and recovered\n- measure infected and know R(0)\n" in report_of("study-sensitivity")


def test_a_scaling_study_fits_and_draws(examples):
    text = (examples / "studies_scaling.yaml").read_text().replace("[2, 4, 8, 16]", "[2, 3, 4]")
    (examples / "studies_scaling.yaml").write_text(text)
    assert app.run(["run", "studies_scaling.yaml", "--output", "quiet"]) == 0
    assert "- derivative order grows as size^1.00 (95 % confidence: 1.00 to 1.00, 3 points)" in report_of(
        "study-scaling"
    )
    pytest.importorskip("matplotlib")
    assert list(Path(".batchmill").rglob("scaling.svg"))


def test_a_changed_verdict_closes_the_gate(examples):
    assert app.run(["run", "studies_gate.yaml", "--output", "quiet"]) == 0
    decay = examples / "models" / "decay.yaml"
    decay.write_text(
        decay.read_text().replace("locally_identifiable_parameters: [", "rank: 1\n  locally_identifiable_parameters: [")
    )
    assert app.run(["run", "studies_gate.yaml", "--output", "quiet"]) == 1


def results_of(name: str) -> list[dict]:
    return [job.result for job in open_run(name, home=".batchmill").results()]


def test_model_files_of_other_tools_run_as_they_are_and_what_holds_no_model_is_named(tmp_path, monkeypatch):
    pytest.importorskip("antimony")
    monkeypatch.chdir(tmp_path)
    shutil.copytree(SAMPLES, "models")
    Path("models/old_one.jl").write_text("not Julia")
    Path("models/broken.m").write_text("system('touch canary')")
    Path("all.yaml").write_text(
        "name: all\ntask: identifiability\n"
        'files: {directory: models, pattern: ["*.py", "*.m", "*.jl", "*.xml", "*.ant"], exclude: ["old_*"], '
        "recursive: false, as: model}\n"
    )
    assert app.run(["run", "all.yaml", "--output", "quiet"]) == 1
    assert sorted(result["model"] for result in results_of("all") if result) == [
        *("C2M", "goodwin", "lotka_volterra", "sir", "sirs_forced")
    ]
    assert "broken.m:1:1: " in report_of("all")
    assert not Path("canary").exists()


def test_options_are_axes_and_an_options_file_names_its_configuration(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("options").mkdir()
    Path("options/still.py").write_text("nnzDerU = [0]\n")
    Path("options/part.yaml").write_text("parameters_only: true\n")
    Path("axes.yaml").write_text(
        "name: axes\ntask: identifiability\ndefaults: {model: Bolie}\nmatrix:\n  axes:\n"
        "    options_file: [default, options/still.py, options/part.yaml]\n    known_parameters: [[], [p2], {p2: 2}]\n"
        "    parameters_only: [null, true]\n"
    )
    assert app.run(["run", "axes.yaml", "--output", "quiet"]) == 0
    found = results_of("axes")
    assert len(found) == 18
    assert {result["configuration"] for result in found} == {"default", "still", "part"}
    names = [job.name for job in open_run("axes", home=".batchmill").results()]
    assert names[0] == "matrix_default_known_parameters[]_parameters_onlynull"
    assert names[6].startswith("matrix_still_")
    assert {(tuple(r["known_parameters"]), r["n_unknowns"]) for r in found} == {((), 7), (("p2",), 6)}
    assert {r["rank"] for r in found if r["configuration"] == "still"} == {5}
    assert all(r["observable_states"] == [] for r in found if r["configuration"] == "part")
    assert "- `Bolie`: options as in the model → still: rank 6 → 5" in report_of("axes")
