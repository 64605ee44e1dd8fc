"""What all tests of the client share: a state folder of its own, and no settings but those of the test."""

from __future__ import annotations

from pathlib import Path

import pytest

from batchmill.llm import service


@pytest.fixture(autouse=True)
def _own_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setattr(service, "_caches", {})
    monkeypatch.setattr(service, "_last", None)
