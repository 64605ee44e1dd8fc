"""What holds for every test: properties are tried on the same examples each time, so that a check fails for the
change that broke it and never by chance. `make search` looks for new examples, with new seeds."""

from __future__ import annotations

import itertools
import os

import pytest
from hypothesis import HealthCheck, settings

_no_clock = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}
settings.register_profile("check", derandomize=True, **_no_clock)
settings.register_profile("search", max_examples=1_000, print_blob=True, **_no_clock)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "check"))
_users = itertools.count()


@pytest.fixture(autouse=True)
def _own_state(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test is a user of its own, with no quotas, day's money or replies from before."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path_factory.getbasetemp() / f"state-{next(_users)}"))
