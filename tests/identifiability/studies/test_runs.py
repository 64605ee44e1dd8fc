"""Studies as runs: manifests, hooks, reports and exit codes, end to end."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from batchmill.cli import app

EXAMPLES = Path(__file__).parents[3] / "examples"


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
