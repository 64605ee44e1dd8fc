"""Without the extra's packages there is a hint, and `import batchmill.llm` loads nothing."""

from __future__ import annotations

import subprocess
import sys

import pytest

import batchmill.llm

ASK = """
import asyncio, os, sys
sys.modules[{package!r}] = None
from batchmill import UsageError
from batchmill.llm import LLM, load_settings
from tests.llm.client.jobs import RecordedJob
os.environ["XDG_STATE_HOME"] = {state!r}
settings = load_settings(flags={{"endpoints": {{"openai": "http://127.0.0.1:9/v1"}}}}, environ={{}})
try:
    asyncio.run(RecordedJob().llm(settings).ask("openai/gpt-4o-mini", "Hello", schema={{"type": "object"}}))
except UsageError as error:
    print(error, error.hint)
"""


@pytest.mark.parametrize("package", ["httptools", "jsonschema", "genai_prices"])
def test_a_missing_package_is_named_with_what_to_install(package: str, tmp_path: object) -> None:
    code = ASK.format(package=package, state=str(tmp_path))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout == f"language models need the package `{package}` pip install 'batchmill[llm]'\n", done.stderr


@pytest.mark.parametrize(
    "heavy", ["aiohttp", "httptools", "pydantic", "asyncio", "sqlite3", "genai_prices", "jsonschema"]
)
def test_importing_the_package_loads_nothing_heavy(heavy: str) -> None:
    code = f"import batchmill.llm, sys; sys.exit({heavy!r} in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_what_only_some_requests_need_is_named_when_they_are_sent(tmp_path: object) -> None:
    code = "import os; os.environ['http_proxy'] = 'http://127.0.0.1:9'\n" + ASK.replace("127.0.0.1:9/v1", "h.test/v1")
    code = code.format(package="aiohttp", state=str(tmp_path))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout == "language models need the package `aiohttp` pip install 'batchmill[llm]'\n", done.stderr


PUBLIC = [
    "LLM",
    "Answer",
    "Cascade",
    "Image",
    "Message",
    "ModelError",
    "Reply",
    "Request",
    "Settings",
    "Stage",
    "Usage",
    "embed",
    "load_settings",
    "preload",
]


def test_the_public_names_are_the_pinned_ones() -> None:
    assert sorted(batchmill.llm.__all__) == sorted(PUBLIC)


@pytest.mark.parametrize("name", PUBLIC)
def test_every_public_name_can_be_had_and_says_what_it_is(name: str) -> None:
    assert getattr(batchmill.llm, name).__doc__


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute `nothing`"):
        batchmill.llm.nothing  # noqa: B018
