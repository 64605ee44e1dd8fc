"""From the name of a model to its provider, addresses, keys and limits."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from batchmill import QuotaLimit, Rate, UsageError
from batchmill.llm import endpoints
from batchmill.llm.endpoints import Known, Route, register, resolve
from batchmill.llm.providers.anthropic import Anthropic
from batchmill.llm.providers.base import Endpoint
from batchmill.llm.providers.openai import OpenAI
from batchmill.llm.settings import Settings, load


def _settings(**flags: Any) -> Settings:
    return load(Path("/nonexistent"), flags, {"HOME": "/nonexistent"})


def _resolve(model: str, environ: Mapping[str, str] | None = None, **flags: Any) -> Route:
    return resolve(model, _settings(**flags), environ or {})


@pytest.mark.parametrize(
    ("model", "environ", "url"),
    [
        ("openai/gpt", {"OPENAI_API_KEY": "k"}, "https://api.openai.com/v1"),
        ("openai/gpt", {"OPENAI_BASE_URL": "http://gate/v1/"}, "http://gate/v1"),
        ("anthropic/claude", {"ANTHROPIC_API_KEY": "k"}, "https://api.anthropic.com"),
        ("gemini/g", {"GOOGLE_API_KEY": "k"}, "https://generativelanguage.googleapis.com"),
        ("groq/llama", {"GROQ_API_KEY": "k"}, "https://api.groq.com/openai/v1"),
        ("ollama/llama3.2", {}, "http://127.0.0.1:11434"),
        ("ollama/llama3.2", {"OLLAMA_HOST": "box:11434"}, "http://box:11434"),
        ("vllm/org/model", {}, "http://127.0.0.1:8000/v1"),
        ("lmstudio/m", {}, "http://127.0.0.1:1234/v1"),
        ("llamacpp/m", {}, "http://127.0.0.1:8080/v1"),
        ("python/module:function", {}, "python:module:function"),
    ],
)
def test_a_provider_is_found_where_it_usually_is(model: str, environ: dict[str, str], url: str) -> None:
    assert [endpoint.url for endpoint in _resolve(model, environ).endpoints] == [url]


def test_every_provider_in_the_cloud_needs_its_key_and_says_which() -> None:
    for name, known in endpoints._KNOWN.items():
        if known.paid:
            with pytest.raises(UsageError, match=f"no key for `{name}`") as caught:
                _resolve(f"{name}/m")
            assert known.keys[0] in (caught.value.hint or "")


def test_an_address_of_ones_own_needs_no_key_and_gets_the_usual_one() -> None:
    own = {"openai": {"url": "http://gate/v1"}}
    assert _resolve("openai/m", endpoints=own).endpoints[0].key == ""
    assert _resolve("openai/m", {"OPENAI_API_KEY": "usual-key"}, endpoints=own).endpoints[0].key == "usual-key"


def test_the_settings_of_a_model_come_before_those_of_its_provider() -> None:
    given = {"vllm": "http://one/v1", "vllm/big": ["http://two/v1", "http://three/v1"]}
    assert [e.url for e in _resolve("vllm/small", endpoints=given).endpoints] == ["http://one/v1"]
    assert [e.url for e in _resolve("vllm/big", endpoints=given).endpoints] == ["http://two/v1", "http://three/v1"]


def test_a_provider_of_ones_own_speaks_openai_unless_it_says_otherwise() -> None:
    given = {"mine": "http://one/v1", "other": {"url": "http://two", "family": "anthropic"}}
    assert isinstance(_resolve("mine/m", endpoints=given).provider, OpenAI)
    assert isinstance(_resolve("other/m", endpoints=given).provider, Anthropic)


@pytest.mark.parametrize(
    ("model", "flags", "message", "hint"),
    [
        ("llama3.2", {}, "names no provider", "ollama/llama3.2"),
        ("opnai/gpt", {}, "there is no provider `opnai`", "did you mean `openai`?"),
        ("zzz/m", {}, "there is no provider `zzz`", "the providers are"),
        ("mine/m", {"endpoints": {"mine": {"weight": 2}}}, "no address for `mine`", "[endpoints.mine]"),
        ("vllm/m", {"endpoints": {"vllm": "ftp://h"}}, "is not an http URL", ""),
        ("vllm/m", {"endpoints": {"vllm": "http://h/v1?key=pass"}}, "more than a path", "`headers`"),
        ("vllm/m", {"endpoints": {"vllm": "http://[broken"}}, "is not an http URL", ""),
        ("vllm/m", {"endpoints": {"vllm": "http://h:99999"}}, "is not an http URL", ""),
        ("vllm/m", {"endpoints": {"vllm": {"url": "http://h", "key": "env:NONE"}}}, "`NONE` is not set", "export NONE"),
        ("vllm/m", {"endpoints": {"vllm": {"url": "http://h", "headers": {"a": "b\r\nc: d"}}}}, "a character", ""),
        (
            "vllm/m",
            {"endpoints": {"vllm": {"url": "http://u:pass@h", "key": "file:/etc/hostname"}}},
            "a key and a login",
            "leave the other out",
        ),
        (
            "x/m",
            {"endpoints": {"x": [{"url": "http://a", "family": "openai"}, {"url": "http://b", "family": "ollama"}]}},
            "different families",
            "",
        ),
    ],
)
def test_what_cannot_be_resolved_says_what_to_do(model: str, flags: dict[str, Any], message: str, hint: str) -> None:
    with pytest.raises(UsageError) as caught:
        _resolve(model, **flags)
    assert message in caught.value.message
    assert hint in (caught.value.hint or "")
    assert "pass" not in caught.value.message


def test_a_login_in_an_address_becomes_a_header() -> None:
    endpoint = _resolve("vllm/m", endpoints={"vllm": "http://me:s%40crets@h:1/v1/"}).endpoints[0]
    assert endpoint.url == "http://h:1/v1"
    assert endpoint.headers == {"authorization": "Basic bWU6c0BjcmV0cw=="}


def test_a_quota_belongs_to_a_key_and_does_not_show_it() -> None:
    first, second = (_resolve("openai/m", {"OPENAI_API_KEY": key}).quota for key in ("key-number-1", "key-number-2"))
    assert first != second
    assert first == _resolve("openai/m", {"OPENAI_API_KEY": "key-number-1"}).quota
    assert first.startswith("openai/m/")
    assert "key-number" not in first


def test_each_of_several_servers_has_its_own_quota() -> None:
    found = _resolve("vllm/m", endpoints={"vllm": ["http://one/v1", "http://two/v1"]})
    assert len({endpoint.quota for endpoint in found.endpoints}) == 2
    assert found.quota == found.endpoints[0].quota


def test_the_narrowest_name_of_a_limit_holds() -> None:
    limits = {"openai": {"requests": 1}, "openai/gpt-*": {"requests": 2}, "openai/gpt-5": {"requests": 3}}
    environ = {"OPENAI_API_KEY": "k"}
    for model, amount in (("openai/o3", 1), ("openai/gpt-4", 2), ("openai/gpt-5", 3)):
        assert _resolve(model, environ, limits=limits).limit == QuotaLimit(Rate(amount, 60))
    assert _resolve("ollama/m", limits=limits).limit is None


@pytest.fixture
def _added() -> Iterator[None]:
    yield
    endpoints._KNOWN.pop("made", None)


def made(model: str, settings: Settings) -> list[Endpoint]:
    return [Endpoint(f"http://made/{model}", limit=QuotaLimit(concurrency=2))]


@pytest.mark.usefixtures("_added")
def test_a_provider_can_be_registered_with_addresses_that_are_made_when_asked() -> None:
    register("made", Known(OpenAI(), opener=f"{__name__}:made"))
    found = _resolve("made/x")
    assert (found.endpoints[0].url, found.limit) == ("http://made/x", QuotaLimit(concurrency=2))
    assert _resolve("made/x", endpoints={"made": "http://given"}).endpoints[0].url == "http://given"


def test_a_route_can_be_shown_and_its_secrets_are_not_there() -> None:
    found = _resolve("openai/m", {"OPENAI_API_KEY": "key-number-1"})
    assert "key-number" not in repr(found)
    assert "key-number" not in json.dumps(found.quota)
