"""Twenty secrets in all places that a user has, and a service that repeats every one it is sent: nothing that a run
writes or prints holds any of them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

ANSWER = {"choices": [{"message": {"content": "Fine."}, "finish_reason": "stop"}], "usage": {}}
FAILING = {
    "groq": 401,
    "mistral": 500,
    "deepseek": 307,
    "together": 200,
    "openrouter": 429,
    "cerebras": 400,
    "lmstudio": 403,
}
ANSWERING = ("openai", "vllm")


class Echo(BaseHTTPRequestHandler):
    """Repeats path, headers and body of every request in its refusals; the first part of the path says how."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length") or 0)).decode()
        told = f"{self.path} {dict(self.headers)} {self.headers.get('authorization')} {os.environ.get('PLANTED', '')}"
        provider = self.path.split("/")[1]
        status = FAILING.get(provider, 200)
        said = {"error": {"message": f"refused: {told} {body[:50]}", "code": told}}
        data = json.dumps(ANSWER if provider in ANSWERING else said).encode()
        self.send_response(status)
        if status == 307:
            secret = self.headers.get("authorization", "").rpartition(" ")[2]
            self.send_header("location", f"http://user:{secret}@127.0.0.1:9/?key={secret}")
        self.send_header("x-request-id", "request-1")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def address() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Echo)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def planted(folder: Path, address: str) -> tuple[dict[str, str], list[str]]:
    """The environment and the configuration of a user, and the secrets in them."""
    (folder / "key.txt").write_text("planted-00-file\n")
    keyed = ("OPENAI", "MISTRAL", "DEEPSEEK", "TOGETHER", "OPENROUTER", "CEREBRAS")
    others = "\n".join(f'[endpoints.{name.lower()}]\nurl = "http://{address}/{name.lower()}/v1"' for name in keyed)
    (folder / "batchmill.toml").write_text(
        f"""
        retry_attempts = 0
        [[endpoints.vllm]]
        url = "http://user:planted-01-url@{address}/vllm/v1"
        [[endpoints.vllm]]
        url = "http://{address}/vllm/v1"
        key = "file:{folder / "key.txt"}"
        headers = {{ "x-api-key" = "planted-02-header", "Cookie" = "planted-03-cookie" }}
        [endpoints.lmstudio]
        url = "env:WHERE"
        headers = {{ "X-Token" = "env:TOKEN", "x-auth" = "planted-04-auth" }}
        [endpoints.groq]
        url = "http://{address}/groq/v1"
        key = "env:OTHER_KEY"
        headers = {{ "proxy-authorization" = "Basic planted-05-basic" }}
        {others}
        [endpoints.anthropic]
        url = "http://{address}/anthropic"
        headers = {{ "X-Gateway" = "planted-12-gateway" }}
        [endpoints.gemini]
        url = "http://{address}/gemini"
        headers = {{ "Authorization-2" = "planted-13-second" }}
        [endpoints.llamacpp]
        url = "http://127.0.0.1:9/v1"
        proxy = "env:THROUGH"
        """
    )
    variables = {
        "WHERE": f"http://u:planted-06-where@{address}/lmstudio/v1",
        "TOKEN": "planted-07-token",
        "OTHER_KEY": "planted-08-other",
        "THROUGH": "http://me:planted-09-proxy@127.0.0.1:9",
        "ANTHROPIC_API_KEY": "planted-10-anthropic",
        "GEMINI_API_KEY": "planted-11-gemini",
        **{f"{name}_API_KEY": f"planted-{number}-{name.lower()}" for number, name in enumerate(keyed, 14)},
    }
    words = (folder / "key.txt").read_text() + (folder / "batchmill.toml").read_text() + " ".join(variables.values())
    secrets = sorted({f"planted-{part[:2]}" for part in words.split("planted-")[1:]})
    return variables, secrets


def test_twenty_planted_secrets_are_in_no_byte_that_runs_write_or_print(tmp_path: Path, address: str) -> None:
    config, project, state = (tmp_path / name for name in ("config", "project", "state"))
    for folder in (config, project, state):
        folder.mkdir()
    variables, secrets = planted(config, address)
    assert len(secrets) == 20
    environment = {name: value for name, value in os.environ.items() if not name.endswith(("_KEY", "_URL"))}
    environment |= {**variables, "BATCHMILL_CONFIG": str(config / "batchmill.toml"), "XDG_STATE_HOME": str(state)}
    models = [f"{name}/m" for name in (*FAILING, *ANSWERING, "anthropic", "gemini", "llamacpp")]
    (project / "m.yaml").write_text(
        "task: documents\ndefaults: {prompt: Sum up., text: Ship., max_tokens: 20}\n"
        f"matrix: {{axes: {{model: {json.dumps(models)}}}}}\nlimits: {{workers: 1, timeout: 20s}}\n"
    )
    printed = b""

    def command(*words: str) -> int:
        nonlocal printed
        call = [sys.executable, "-m", "batchmill", *words]
        ended = subprocess.run(call, cwd=project, env=environment, capture_output=True, timeout=120, check=False)
        printed += ended.stdout + ended.stderr
        return ended.returncode

    assert command("run", "m.yaml") == 1, printed.decode()[:700]
    for words in (
        ["show", "last"],
        ["show", "last", "--output", "json"],
        ["calls", "last"],
        ["logs", "last"],
        ["ls"],
        ["plan", "m.yaml"],
        ["check", "m.yaml"],
        ["export", "last", "--format", "json", "-o", "all.json"],
        ["export", "last", "--format", "csv", "-o", "all.csv"],
        ["export", "last", "--shape", "files", "--format", "markdown", "-o", "all.md"],
        ["retry", "last"],
    ):
        command(*words)
    assert b"succeeded" in printed
    assert b"failed" in printed
    written = {"what was printed": printed}
    for folder in (project, state):
        written |= {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert any(name.endswith("ledger.db") for name in written)
    assert any(name.endswith("replies.db") for name in written)
    assert {name: secret for name, data in written.items() for secret in secrets if secret.encode() in data} == {}
