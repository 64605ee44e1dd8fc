"""The fake service in a process of its own, and as a command: it starts, serves, stops, and is never left behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from typing import Any
from urllib.error import HTTPError
from urllib.request import ProxyHandler, Request, build_opener

import pytest

from batchmill.cli import app
from batchmill.errors import UsageError
from batchmill.testing import FakeLLM
from batchmill.testing.fake_llm import Asked

_OPENER = build_opener(ProxyHandler({}))


def _ask(url: str, text: str) -> Any:
    body = json.dumps({"model": "m", "messages": [{"role": "user", "content": text}]}).encode()
    with _OPENER.open(Request(f"{url}/chat/completions", body), timeout=10) as reply:
        return json.load(reply)["choices"][0]["message"]["content"]


def test_it_runs_in_its_own_process_and_tells_what_it_has_seen() -> None:
    with FakeLLM(answer="echo", rpm=60, burst=2) as fake:
        assert fake._process is not None
        process = fake._process
        assert [_ask(fake.openai_url, text) for text in "ab"] == ["a", "b"]
        with pytest.raises(HTTPError, match="429"):
            _ask(fake.openai_url, "c")
        assert (fake.counts.answered, fake.counts.refused) == (2, 1)
        assert [entry.status for entry in fake.log] == [200, 200, 429]
        fake.reset()
        fake.script("unavailable")
        with pytest.raises(HTTPError, match="503"):
            _ask(fake.openai_url, "d")
        fake.outage(60)
        with pytest.raises(HTTPError, match="503"):
            _ask(fake.openai_url, "e")
        assert fake.counts.faults == {"unavailable": 1, "outage": 1}
    assert process.returncode == 0


def test_a_function_of_the_test_answers_in_the_other_process() -> None:
    def answer(asked: Asked) -> str:
        return asked.prompt.upper() + suffix

    suffix = "!"
    with FakeLLM(answer=answer) as fake:
        assert _ask(fake.openai_url, "loud") == "LOUD!"


def test_a_port_that_is_taken_is_told() -> None:
    with FakeLLM() as fake:
        port = int(fake.url.rpartition(":")[2])
        with pytest.raises(UsageError, match=f"port {port}"), FakeLLM(port=port):
            pass


def test_it_ends_with_the_process_that_started_it() -> None:
    code = (
        "import os, signal; from batchmill.testing import FakeLLM; fake = FakeLLM().__enter__();"
        "print(fake.pid, flush=True); os.kill(os.getpid(), signal.SIGKILL)"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert parent.stdout is not None
    with parent.stdout:
        pid = int(parent.stdout.readline())
        descriptor = _pidfd(pid)
        parent.wait(10)
    if descriptor is not None:
        import select

        assert select.select([descriptor], [], [], 10)[0], "the service outlives its parent"
        os.close(descriptor)


def _pidfd(pid: int) -> int | None:
    try:
        return os.pidfd_open(pid)
    except ProcessLookupError:  # it has ended already
        return None


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_command_serves_until_it_is_told_to_stop(number: signal.Signals) -> None:
    flags = ["--latency", "1ms", "--rpm", "600", "--burst", "1", "--fault", "refusal:0.0", "--seed", "1"]
    command = [sys.executable, "-m", "batchmill", "fake-llm", *flags]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    url = process.stdout.readline().split(" ")[0]
    assert _ask(f"{url}/v1", "x")
    process.send_signal(number)
    _, talk = process.communicate(timeout=10)
    assert (process.returncode, talk) == (0, "")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--fault", "servr:0.1"], "did you mean `server`?"),
        (["--fault", "server"], "no share of a fault"),
        (["--fault", "server:2"], "shares of faults"),
        (["--latency", "soon"], "no latency"),
        (["--outage", "often"], "not a duration"),
        (["--rpm", "0"], "above zero"),
        (["--host", "192.0.2.1"], "cannot listen"),
    ],
)
def test_wrong_flags_are_told(flags: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert app.run(["fake-llm", *flags]) == 2
    talk = capsys.readouterr().err
    assert message in talk
    assert "Traceback" not in talk
