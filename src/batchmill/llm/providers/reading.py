"""What all protocol families share: posting JSON, and reading replies that may be JSON of any shape, or none."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pydantic_core

from batchmill.llm.messages import Usage
from batchmill.llm.providers.base import Endpoint, Malformed
from batchmill.llm.transport import HttpRequest

_MOST_TOKENS = 10**12  # beyond what any model can count: nonsense


def post(url: str, body: Mapping[str, Any], endpoint: Endpoint, sent: dict[str, str]) -> HttpRequest:
    """A POST of JSON with the headers of the protocol, and those of the endpoint over them."""
    sent["content-type"] = "application/json"
    if endpoint.headers:
        sent.update(endpoint.headers)
    return HttpRequest(url, write(body), sent, proxy=endpoint.proxy, ca_file=endpoint.ca_file)


def bearer(endpoint: Endpoint) -> dict[str, str]:
    """The header of the key, where there is one."""
    return {"authorization": f"Bearer {endpoint.key}"} if endpoint.key else {}


def parse(body: bytes) -> dict[str, Any]:
    """The JSON object in a body. Raises Malformed, `cut` where it merely ended too early."""
    try:
        value = pydantic_core.from_json(body)
    except ValueError as error:
        cut = not body.strip() or "EOF while" in str(error)
        raise Malformed("the reply ended too early" if cut else "the reply is not JSON", cut=cut) from None
    if not isinstance(value, dict):
        raise Malformed("the reply is not a JSON object")
    return value


def write(body: Mapping[str, Any]) -> bytes:
    """A request's JSON. Raises ValueError where a text cannot be sent (a lone surrogate)."""
    try:
        return pydantic_core.to_json(body)
    except pydantic_core.PydanticSerializationError:
        return json.dumps(body, ensure_ascii=False).encode("utf-8", "replace")


def mapping(value: Any) -> Mapping[str, Any]:
    """The value if it is an object, else an empty one."""
    return value if isinstance(value, dict) else {}


def objects(value: Any) -> list[dict[str, Any]]:
    """The objects in a value that should be a list of them."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def text(value: Any) -> str:
    """The value if it is a text, else an empty one."""
    return value if isinstance(value, str) else ""


def texts(value: Any) -> str:
    """A content that is a text, or a list of parts of which the ones of type `text` count."""
    if isinstance(value, str):
        return value
    return "".join(text(part.get("text")) for part in objects(value) if part.get("type", "text") == "text")


def usage(input: Any, output: Any, cached: Any = 0) -> Usage | None:
    """Tokens as told; None where the counts are nonsense, so that nobody is billed by them."""
    tokens_in, tokens_out = count(input), count(output)
    if tokens_in is None or tokens_out is None:
        return None
    return Usage(tokens_in, tokens_out, min(count(cached) or 0, tokens_in) if cached else 0)


def count(value: Any) -> int | None:
    """A number of tokens, or None: also for booleans, fractions, negatives and the absurd."""
    if type(value) is float and value.is_integer():
        value = int(value)
    return value if type(value) is int and 0 <= value <= _MOST_TOKENS else None
