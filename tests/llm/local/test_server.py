"""The embedded chat server: one for all who ask, gone with who started it, replaced when it dies."""

from __future__ import annotations

import asyncio
import json
import os
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from batchmill import UsageError
from batchmill.llm.endpoints import resolve
from batchmill.llm.local import server
from batchmill.llm.local.provider import address, notice, read_address
from batchmill.llm.local.server import Running, ServerOptions
from batchmill.llm.settings import load
from tests.llm.local.asking import MODEL, ask, asked, with_transport

_HOLDER = """
import json, sys
from batchmill.llm.local import server
print(json.dumps(server.start("local/smollm2")), flush=True)
sys.stdin.read()
"""


def _ended(pid: int) -> None:
    """Wait for the end of a process, by the kernel's word."""
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    ready, _, _ = select.select([fd], [], [], 20)
    os.close(fd)
    assert ready, f"process {pid} lives on"


def _holder() -> tuple[subprocess.Popen[str], Running]:
    """A process that started the server or found it, and the server."""
    pipe = subprocess.PIPE
    holder = subprocess.Popen([sys.executable, "-c", _HOLDER], stdin=pipe, stdout=pipe, text=True)
    assert holder.stdout is not None
    return holder, Running(*json.loads(holder.stdout.readline()))


def test_everybody_who_asks_at_once_gets_one_server(state: Path, smollm2: Path) -> None:
    async def ask() -> list[Running]:
        return await asyncio.gather(*(server.running(MODEL) for _ in range(20)))

    found = set(asyncio.run(ask()))
    assert len(found) == 1
    assert server.start(MODEL) in found
    file = next((state / "servers").glob("*.json"))
    assert file.stat().st_mode & 0o077 == 0  # it holds the key


def test_a_server_that_died_is_replaced(state: Path, smollm2: Path) -> None:
    first = server.start(MODEL)
    os.kill(first.pid, signal.SIGKILL)
    _ended(first.pid)
    second = server.start(MODEL)
    assert second.pid != first.pid
    assert with_transport(lambda transport: ask(transport, asked("Say hello."))).text


def test_processes_share_a_server_and_another_takes_over_when_its_parent_is_killed(state: Path, smollm2: Path) -> None:
    one, first = _holder()
    other, same = _holder()
    with one, other:
        assert same == first
        one.kill()
        _ended(first.pid)
        assert server.start(MODEL).pid != first.pid
        other.kill()


def test_no_server_outlives_who_started_it(state: Path, smollm2: Path) -> None:
    holder, found = _holder()
    with holder:
        holder.send_signal(signal.SIGKILL)
    _ended(found.pid)


def test_a_file_that_is_no_model_is_told_with_what_the_server_said(state: Path, tmp_path: Path, smollm2: Path) -> None:
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"GGUF and then nothing")
    with pytest.raises(UsageError, match="the server of `local/smollm2` ended: ") as caught:
        server.start(MODEL, ServerOptions(weights=str(broken)))
    assert ".log" in (caught.value.hint or "")


def test_a_server_that_does_not_come_up_in_time_is_ended(state: Path, smollm2: Path) -> None:
    with pytest.raises(UsageError, match="was not ready within 0 s"):
        server.start(MODEL, ServerOptions(start_timeout=0))
    assert server.start(MODEL).url.startswith("http://127.0.0.1:")


def test_missing_weights_are_told_before_anything_starts(
    state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "nothing"))
    with pytest.raises(UsageError, match="not on this machine") as caught:
        resolve(MODEL, load(Path("/nonexistent")))
    assert "batchmill models pull smollm2" in (caught.value.hint or "")


@pytest.mark.parametrize(
    "options", [ServerOptions(), ServerOptions(context=8192, slots=3), ServerOptions(weights="/a b/c?d&e.gguf")]
)
def test_an_address_says_which_server_is_meant(options: ServerOptions) -> None:
    written = address(MODEL, options)
    assert read_address(f"{written}/chat/completions") == ("smollm2", options, "/chat/completions")


def test_settings_say_how_large_and_how_many(smollm2: Path) -> None:
    route = resolve(MODEL, load(Path("/nonexistent"), {"local": {"context": 2048, "slots": 3}}))
    assert read_address(f"{route.endpoints[0].url}/x")[1] == ServerOptions(context=2048, slots=3)
    assert route.limit is not None
    assert route.limit.concurrency == 3


def test_the_first_use_says_in_one_line_what_to_expect(state: Path) -> None:
    said = notice(MODEL)
    assert "demo-grade" in said
    assert "\n" not in said
    assert notice(MODEL) == notice("openai/gpt") == notice("local/minilm") == ""
