"""The protocols of the fake service are those that `batchmill.llm` speaks: each was written without the other."""

from __future__ import annotations

import json
from typing import Any

import pytest

from batchmill import Rate
from batchmill.llm.failures import classify
from batchmill.llm.messages import Image, Message, Reply, Request
from batchmill.llm.providers.anthropic import Anthropic
from batchmill.llm.providers.base import Endpoint, Malformed
from batchmill.llm.providers.gemini import Gemini
from batchmill.llm.providers.ollama import Ollama
from batchmill.llm.providers.openai import OpenAI
from batchmill.llm.transport import HttpReply
from batchmill.testing.fake_llm.wire import Reply as WireReply
from tests.llm.fake.clients import Asker

URL = "http://fake"
PROVIDERS: dict[str, Any] = {
    "openai": (OpenAI(), f"{URL}/v1"),
    "anthropic": (Anthropic(), URL),
    "gemini": (Gemini(), f"{URL}/v1beta"),
    "ollama": (Ollama(), URL),
}
SCHEMA = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "count": {"type": "integer"}},
    "required": ["name", "count"],
    "additionalProperties": False,
}


def _request(family: str, **more: Any) -> Request:
    messages = more.pop("messages", (Message("system", ("Be brief.",)), Message("user", ("Say this.",))))
    return Request(f"{family}/m", messages, **more)


def _sent(asker: Asker, family: str, request: Request, *, stream: bool = False) -> WireReply:
    provider, url = PROVIDERS[family]
    sent = provider.encode(request, Endpoint(url, "sk-key"), stream=stream)
    path = sent.url.removeprefix(URL)
    headers = {name.lower(): value for name, value in sent.headers.items()}
    return asker.deliver(asker.send(sent.method, path, sent.body, **headers))


def _http(reply: WireReply) -> HttpReply:
    lines = [line.split(": ", 1) for line in reply.headers.split("\r\n") if line]
    return HttpReply(reply.status, dict(lines), reply.body)


def _asked(asker: Asker, family: str, request: Request) -> Reply:
    reply = _sent(asker, family, request)
    assert reply.status == 200, reply.body
    decoded: Reply = PROVIDERS[family][0].decode(reply.body)
    return decoded


@pytest.mark.parametrize("family", sorted(PROVIDERS))
def test_an_answer_comes_through_whole(family: str) -> None:
    asker = Asker(answer="echo", keys=["sk-key"])
    reply = _asked(asker, family, _request(family))
    assert (reply.text, reply.finish, reply.model) == ("Say this.", "stop", "m")
    assert reply.usage is not None
    assert (reply.usage.input, reply.usage.output) == (asker.counts.tokens_in, asker.counts.tokens_out)


@pytest.mark.parametrize("family", sorted(PROVIDERS))
def test_a_schema_is_kept(family: str) -> None:
    value = json.loads(_asked(Asker(), family, _request(family, schema=SCHEMA)).text)
    assert set(value) == {"name", "count"}
    assert isinstance(value["count"], int)


@pytest.mark.parametrize("family", sorted(PROVIDERS))
def test_images_are_told_apart(family: str) -> None:
    def ask(data: bytes) -> Reply:
        message = Message("user", ("What is this?", Image(data), Image(b"same")))
        return _asked(asker, family, _request(family, messages=(message,)))

    asker = Asker()
    first, other, again = ask(b"one"), ask(b"two"), ask(b"one")
    assert first.text == again.text != other.text
    assert first.usage is not None
    assert first.usage.input > 2 * 85
    assert asker.counts.duplicates == 1


@pytest.mark.parametrize("family", sorted(PROVIDERS))
def test_an_answer_is_cut_where_the_request_says(family: str) -> None:
    request = _request(family, messages=(Message("user", ("abcd" * 20,)),), max_tokens=3)
    reply = _asked(Asker(answer="echo"), family, request)
    assert (reply.text, reply.finish) == ("abcd" * 3, "length")


@pytest.mark.parametrize("family", sorted(PROVIDERS))
def test_a_stream_says_what_the_whole_reply_says(family: str) -> None:
    asker = Asker()
    request = _request(family)
    reply = _sent(asker, family, request, stream=True)
    provider = PROVIDERS[family][0]
    whole: dict[str, Any] = {}
    new = [provider.absorb(whole, event) for event in _events(b"".join(reply.pieces))]
    streamed = provider.decode(json.dumps(whole).encode())
    assert provider.ended(whole)
    assert "".join(new) == streamed.text == _asked(asker, family, request).text
    assert streamed.usage == _asked(asker, family, request).usage
    assert asker.counts.duplicates == 2  # a stream asks nothing else


def _events(data: bytes) -> list[Any]:
    """The JSON of server-sent events, or of JSON lines."""
    lines = [line.removeprefix("data: ") for line in data.decode().replace("\r", "").split("\n")]
    return [json.loads(line) for line in lines if line.startswith("{")]


@pytest.mark.parametrize("family", sorted(PROVIDERS))
@pytest.mark.parametrize(
    ("fault", "kinds", "retry"),
    [
        ("rate_limited", {"rate_limited"}, True),
        ("rate_limited_date", {"rate_limited"}, True),
        ("server", {"server"}, True),
        ("unavailable", {"server"}, True),
        ("auth", {"auth"}, False),
        ("no_money", {"no_money", "invalid_request"}, False),  # Gemini has no word of its own for it
        ("day_limit", {"exhausted"}, False),
        ("invalid_request", {"invalid_request"}, False),
        ("too_long", {"too_long"}, False),
        ("no_images", {"unsupported"}, False),
    ],
)
def test_an_error_is_understood_as_what_it_is(family: str, fault: str, kinds: set[str], retry: bool) -> None:
    reply = _http(_sent(Asker(script=[fault]), family, _request(family)))
    failure = classify(family, reply, now=1_700_000_000.0)
    assert failure is not None
    assert failure.kind in kinds
    assert failure.retry is retry
    if fault.startswith("rate_limited"):
        assert failure.after == 1.0


@pytest.mark.parametrize("family", sorted(PROVIDERS))
@pytest.mark.parametrize("fault", ["truncated", "html"])
def test_a_spoilt_reply_is_malformed(family: str, fault: str) -> None:
    reply = _sent(Asker(script=[fault]), family, _request(family))
    with pytest.raises(Malformed):
        PROVIDERS[family][0].decode(reply.body)


@pytest.mark.parametrize("family", ["openai", "anthropic", "gemini"])
def test_a_refusal_is_told(family: str) -> None:
    assert _asked(Asker(script=["refusal"]), family, _request(family)).finish == "refusal"


@pytest.mark.parametrize("family", ["openai", "anthropic"])
def test_limits_are_told_in_headers_that_are_understood(family: str) -> None:
    asker = Asker(rpm=600, burst=10, tpm=60_000)
    seen = PROVIDERS[family][0].seen(_http(_sent(asker, family, _request(family))), 1_700_000_000.0)
    assert seen.limit is not None
    assert seen.limit.rate == Rate(600, 60.0)
    assert seen.limit.tokens == Rate(60_000, 60.0)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/chat/completions", b"not json"),
        ("/v1/chat/completions", b"[1]"),
        ("/v1/chat/completions", b'{"model": "m"}'),
        ("/v1/chat/completions", b'{"model": "m", "messages": []}'),
        ("/v1/chat/completions", b'{"model": "m", "messages": [{"role": "robot", "content": "x"}]}'),
        ("/v1/chat/completions", b'{"model": "m", "messages": [{"role": "user", "content": [{"type": "video"}]}]}'),
        ("/v1/chat/completions", b'{"model": "m", "max_tokens": "9", "messages": [{"role": "user", "content": "x"}]}'),
        ("/v1/messages", b'{"model": "m", "messages": [{"role": "user", "content": "x"}]}'),
        ("/v1beta/models/m:generateContent", b'{"contents": [{"parts": [{"video": 1}]}]}'),
        ("/api/chat", b'{"model": "m", "messages": 5}'),
        ("/v1/embeddings", b'{"model": "m", "input": []}'),
        ("/v1/embeddings", b'{"model": "m", "input": "x", "dimensions": 1000000000}'),
    ],
)
def test_a_request_that_is_wrong_is_a_400(path: str, body: bytes) -> None:
    reply = Asker().send("POST", path, body)
    assert reply.status == 400
    assert json.loads(reply.body)["error"]


def test_embeddings_are_unit_vectors_and_the_same_in_every_protocol() -> None:
    asker = Asker(dimensions=16)
    openai = asker.post("/v1/embeddings", {"model": "m", "input": ["a", "b", "a"]}).body["data"]
    vectors = [item["embedding"] for item in openai]
    assert vectors[0] == vectors[2] != vectors[1]
    assert [sum(x * x for x in vector) for vector in vectors] == pytest.approx([1, 1, 1])
    ollama = asker.post("/api/embed", {"model": "m", "input": ["a", "b"]}).body["embeddings"]
    parts = [{"content": {"parts": [{"text": text}]}} for text in "ab"]
    gemini = asker.post("/v1beta/models/m:batchEmbedContents", {"requests": parts}).body["embeddings"]
    assert vectors[:2] == ollama == [item["values"] for item in gemini]
    one = asker.post("/v1beta/models/m:embedContent", parts[0]).body["embedding"]["values"]
    assert one == vectors[0]
    short = asker.post("/v1/embeddings", {"model": "m", "input": "a", "dimensions": 4}).body["data"][0]["embedding"]
    assert len(short) == 4


def test_models_are_listed_as_each_family_lists_them() -> None:
    asker = Asker(models=["one", "two"])
    assert [model["id"] for model in asker.get("/v1/models").body["data"]] == ["one", "two"]
    assert asker.get("/v1/models", anthropic_version="1").body["data"][0]["display_name"] == "one"
    assert asker.get("/v1/models/two").body["id"] == "two"
    assert asker.get("/v1beta/models").body["models"][0]["name"] == "models/one"
    assert asker.get("/api/tags").body["models"][1]["model"] == "two"
    assert asker.send("GET", "/v1/models/three").status == 404
    assert asker.send("GET", "/v1/chat/completions").status == 405
    assert asker.ask(model="three").status == 404
    assert asker.ask(model="two").status == 200


@pytest.mark.parametrize(
    "place", [{"authorization": "Bearer k"}, {"x-api-key": "k"}, {"x-goog-api-key": "k"}, "?key=k"]
)
def test_a_key_is_found_in_every_place(place: dict[str, str] | str) -> None:
    asker = Asker(keys=["k"])
    query, headers = (place, {}) if isinstance(place, str) else ("", place)
    body = {"model": "m", "messages": [{"role": "user", "content": "x"}]}
    assert asker.post(f"/v1/chat/completions{query}", body, **headers).status == 200
    assert asker.post("/v1/chat/completions", body).status == 401
