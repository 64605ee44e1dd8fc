"""Models from text, and decisions on them in the test's own process."""

from __future__ import annotations

import pytest

from batchmill.workloads.identifiability.catalogue import find_model
from batchmill.workloads.identifiability.global_identifiability import groebner
from batchmill.workloads.identifiability.global_identifiability.deciding import decide


@pytest.fixture
def model(tmp_path):
    def model(text: str):
        path = tmp_path / "model.yaml"
        path.write_text(f"name: model\n{text}")
        return find_model(str(path))

    return model


@pytest.fixture(params=["flint", "msolve"])
def engine(request, monkeypatch):
    """Both engines, where both are there."""
    if request.param == "flint":
        monkeypatch.setattr(groebner, "find_msolve", lambda: None)
    elif groebner.find_msolve() is None:
        pytest.skip("msolve is not installed")
    return request.param


@pytest.fixture
def decided(model):
    return lambda text, seed=0: decide(model(text), seed, lambda verdict: None)
