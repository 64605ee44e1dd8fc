"""What all tests of lanes share: a state folder of its own, and nothing that an earlier test opened."""

from __future__ import annotations

from pathlib import Path

import pytest

from batchmill.llm import service
from batchmill.llm.lanes import lane


@pytest.fixture(autouse=True)
def _own_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setattr(service, "_caches", {})
    monkeypatch.setattr(service, "_last", None)
    monkeypatch.setattr(lane, "_stores", {})
