"""No secret that was ever read is in what is written or printed, whatever a server sends back."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from batchmill import UsageError
from batchmill.llm import secrets
from batchmill.llm.endpoints import resolve
from batchmill.llm.failures import classify
from batchmill.llm.secrets import STRUCK, conceal, conceal_bytes, remember, reveal
from batchmill.llm.settings import load
from batchmill.llm.transport import HttpReply, TransportError

KEY = 'tricky/key+with"quotes\\and=signs'


@pytest.fixture(autouse=True)
def _forget() -> Iterator[None]:
    known = list(secrets._known)
    yield
    secrets._known[:] = known


@pytest.mark.parametrize(
    "form",
    [KEY, json.dumps(KEY), quote(KEY, safe=""), base64.b64encode(KEY.encode()).decode(), f"Bearer {KEY}"],
)
def test_a_secret_is_struck_out_in_every_form_in_which_it_comes_back(form: str) -> None:
    remember(KEY)
    shown = conceal(f"you sent {form}!")
    assert form not in shown
    assert STRUCK in shown
    assert form.encode() not in conceal_bytes(f"you sent {form}!".encode())


def test_what_is_no_secret_is_not_touched() -> None:
    remember("ollama", "EMPTY", "", "x")
    text = "the model ollama says: EMPTY x https://example.org/a?b=c mail@example.org"
    assert conceal(text) == text
    assert conceal_bytes(text.encode()) == text.encode()


@pytest.mark.parametrize(
    "leak",
    [
        "sk-proj-abcdefghijklmnop1234",
        "gsk_abcdefghijklmnop1234",
        "AIzaSyA1234567890abcdefghijk",
        "https://h/x?key=abc123456",
        "postgres://me:hunter2@host/db",
        "Authorization: Bearer abc.def.ghi-jkl",
    ],
)
def test_what_looks_like_a_secret_is_struck_out_of_messages_too(leak: str) -> None:
    shown = conceal(f"wrong: {leak}")
    for part in ("abcdefghijklmnop", "1234567890", "abc123456", "hunter2", "abc.def"):
        assert part not in shown


def _planted(tmp_path: Path) -> dict[str, str]:
    """Twenty secrets in all places in which a user may have some."""
    (tmp_path / "key.txt").write_text("planted-file-00\n")
    (tmp_path / "batchmill.toml").write_text(
        f"""
        [[endpoints.vllm]]
        url = "http://one:1/v1"
        key = "file:{tmp_path / "key.txt"}"
        headers = {{ "x-api-key" = "planted-header-01", "Cookie" = "planted-cookie-02" }}
        [[endpoints.vllm]]
        url = "http://two:1/v1"
        key = "env:SECOND"
        proxy = "http://me:planted-proxy-03@proxy:3128"
        [[endpoints.vllm]]
        url = "http://user:planted-url-04@three:1/v1"
        [endpoints.lmstudio]
        url = "env:WHERE"
        proxy = "env:PROXY"
        headers = {{ "X-Token" = "env:TOKEN", "x-auth" = "planted-auth-05" }}
        """
    )
    usual = ("OPENAI", "ANTHROPIC", "GEMINI", "GROQ", "MISTRAL", "DEEPSEEK", "TOGETHER", "OPENROUTER", "CEREBRAS")
    return {
        "XDG_CONFIG_HOME": str(tmp_path),
        "SECOND": "planted-env-06",
        "WHERE": "https://u:planted-where-07@host/v1",
        "TOKEN": "planted-token-08",
        "PROXY": "http://u:planted-proxy-09@proxy:3128",
        "OLLAMA_HOST": "http://u:planted-host-10@box:11434",
        **{f"{name}_API_KEY": f"planted-{name.lower()}-1{number}" for number, name in enumerate(usual)},
    }


def test_twenty_planted_secrets_are_in_no_message_and_no_kept_reply(tmp_path: Path) -> None:
    environ = _planted(tmp_path)
    settings = load(tmp_path, environ=environ)
    names = ["openai", "anthropic", "gemini", "groq", "mistral", "deepseek", "together", "openrouter", "cerebras"]
    routes = [resolve(f"{name}/m", settings, environ) for name in [*names, "vllm", "lmstudio", "ollama"]]
    texts = [path.read_text() for path in tmp_path.iterdir()] + list(environ.values())
    planted = sorted({word for text in texts for word in _words(text)})
    assert len(planted) == 20
    echo = json.dumps({"error": {"message": " ".join(planted), "code": planted[0], "type": planted[1]}}).encode()
    written = repr(settings) + repr(routes) + "".join(route.quota for route in routes)
    for status in (200, 400, 401, 429, 500):
        written += repr(classify("openai", HttpReply(status, {}, echo)))
    written += repr(classify("openai", TransportError("connect", f"no way to {planted}", sent=False)))
    written += conceal_bytes(echo).decode()
    assert not [secret for secret in planted if secret in written]


def _words(text: str) -> list[str]:
    return re.findall(r"planted-[a-z]+-\d\d", text)


def test_references_name_a_variable_or_a_file(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("from-a-file\n")
    assert reveal(f"file:{tmp_path / 'key'}", {}) == "from-a-file"
    assert reveal("env:NAME", {"NAME": " from-env "}) == "from-env"
    assert conceal("from-a-file from-env") == f"{STRUCK} {STRUCK}"


@pytest.mark.parametrize(
    "reference", ["env:MISSING", "file:/no/such/file", "sk-a-secret-in-the-open", "file:/dev/null"]
)
def test_a_reference_to_nothing_is_an_error_that_does_not_show_a_secret(reference: str) -> None:
    with pytest.raises(UsageError) as caught:
        reveal(reference, {})
    assert "sk-a" not in str(caught.value)
    assert "sk-a" not in (caught.value.hint or "")
