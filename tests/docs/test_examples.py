"""Every example runs as it is, with one command, in a folder that holds nothing but the examples."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.pages import ROOT

SUCCEEDED = {
    "documents": 8,
    "documents_extractive": 10,
    "four_models": 4,
    "identifiability": 31,
    "limits": 4,
    "model_files": 8,
    "pi": 12,
    "shell": 3,
    "studies_gate": 4,
    "studies_options": 11,
    "studies_scaling": 18,
    "studies_sensitivity": 2,
    "table": 3,
}
# the embedded model takes minutes on a busy machine; its own tests ask it
INSTEAD = {"documents": ["--set", "defaults.model=extractive/lead"]}


def test_every_example_is_tried() -> None:
    assert {path.stem for path in (ROOT / "examples").glob("*.yaml")} == set(SUCCEEDED)


@pytest.mark.parametrize("name", SUCCEEDED)
def test_an_example_runs_as_it_is(name: str, tmp_path: Path) -> None:
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    command = [sys.executable, "-m", "batchmill", "run", f"examples/{name}.yaml", "--output", "json"]
    done = subprocess.run(
        [*command, *INSTEAD.get(name, []), "--home", str(tmp_path / "home")],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    assert (summary["success_count"], summary["total"]) == (SUCCEEDED[name], SUCCEEDED[name])
