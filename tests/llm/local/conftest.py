"""The embedded models, as they are on the machine: `batchmill models pull smollm2` fetches what the tests need."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from batchmill.llm.local import server, weights


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A user's state folder of the test's own; servers that the test started end with it."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    yield tmp_path / "state" / "batchmill"
    server.stop()


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A state folder, and so a server, for all tests of a module that leave the server alone."""
    folder = tmp_path_factory.mktemp("state")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(folder))
        yield folder / "batchmill"
        server.stop()


@pytest.fixture(scope="session")
def smollm2() -> Path:
    """The weights of the embedded chat model."""
    pytest.importorskip("xllamacpp")
    path = weights.locate(weights.SMOLLM2)
    if path is None:
        pytest.skip("the weights are not on this machine: `batchmill models pull smollm2` fetches them")
    return path
