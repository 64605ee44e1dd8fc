"""Money and tokens before a request leaves: never too little, and exact after it."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchmill import UsageError
from batchmill.llm import Image, Message, Request, Usage
from batchmill.llm.prices import Price, PriceList, Tier
from batchmill.llm.tokens import TokenCounter, image_size, image_tokens

COUNTS = st.integers(0, 2_000_000)
TIERED = Price(
    (Tier(0, 3 * 10**8, 15 * 10**8, 3 * 10**7, 4 * 10**8), Tier(200_000, 6 * 10**8, 2 * 10**9, 6 * 10**7, 8 * 10**8))
)


def test_a_users_own_price_comes_first() -> None:
    prices = PriceList({"openai/gpt-4o-mini": {"input": 2, "output": "8", "cached_input": 1, "request": 0.001}})
    price = prices.price_of("openai/gpt-4o-mini")
    assert price is not None
    assert price.cost(Usage(1000, 100, cached=400)) == 100_000 + 600 * 200 + 400 * 100 + 100 * 800
    assert price.version.startswith("own ")


def test_the_longest_name_that_fits_is_taken() -> None:
    prices = PriceList(
        {"*": {"input": 1, "output": 1}, "acme/*": {"input": 2, "output": 2}, "acme/x": {"input": 3, "output": 3}}
    )
    found = [prices.price_of(name) for name in ("other/m", "acme/m", "acme/x")]
    assert [price.tiers[0].input // 10**8 for price in found if price] == [1, 2, 3]


def test_prices_of_the_list_are_known_with_their_version() -> None:
    price = PriceList().price_of("openai/gpt-4o-mini")
    assert price is not None
    assert price.version.startswith("genai-prices ")
    assert price.cost(Usage(1_000_000, 1_000_000)) == 75_000_000  # 0.15 and 0.60 US dollars
    assert price.cost(Usage(1_000_000, 0, cached=1_000_000)) == 7_500_000


@pytest.mark.parametrize("model", ["ollama/llama3.2", "local/smollm2", "python/m:f", "vllm/anything"])
def test_models_of_ones_own_machine_are_free(model: str) -> None:
    price = PriceList().price_of(model)
    assert price is not None
    assert price.cost(Usage(10**9, 10**9)) == 0


@pytest.mark.parametrize("model", ["openai/no-such-model", "nobody/m"])
def test_an_unknown_price_is_none_and_not_zero(model: str) -> None:
    assert PriceList().price_of(model) is None


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"input": 1},
        {"input": 1, "output": "much"},
        {"input": -1, "output": 1},
        {"input": 1, "output": 1, "x": 2},
        5,
    ],
)
def test_a_wrong_price_is_an_error(fields: Any) -> None:
    with pytest.raises(UsageError, match=r"openai/m"):
        PriceList({"openai/m": fields})


@given(COUNTS, COUNTS, COUNTS, COUNTS, COUNTS, COUNTS)
def test_no_request_costs_more_than_its_most(
    most_in: int, most_out: int, input: int, output: int, cached: int, written: int
) -> None:
    usage = Usage(min(input, most_in), min(output, most_out), cached, written)
    assert 0 <= TIERED.cost(usage) <= TIERED.most(most_in, most_out)


def test_the_tier_of_a_request_holds_for_all_its_tokens() -> None:
    assert TIERED.cost(Usage(200_000, 0)) == 200_000 * 300
    assert TIERED.cost(Usage(200_001, 0)) == 200_001 * 600


def request(text: str, *images: Image) -> Request:
    """A question."""
    return Request("openai/m", (Message("user", (text, *images)),))


@given(st.text(max_size=2000))
def test_a_byte_level_tokenizer_never_makes_more_tokens_than_the_bound(text: str) -> None:
    counter = TokenCounter("openai", "m")
    assert counter.size(request(text)).most >= len(text.encode("utf-8", "surrogatepass")) + 16


def test_the_estimate_follows_what_replies_report() -> None:
    counter = TokenCounter("openai", "m")
    asked = request("x" * 4000)
    size = counter.size(asked)
    for _ in range(200):
        assert counter.learn(size, 800)
    assert 800 <= counter.size(asked).expected < size.expected
    counter.learn(size, 3000)
    assert counter.size(asked).expected >= 3000


def test_the_bound_is_only_ever_raised() -> None:
    counter = TokenCounter("openai", "m")
    asked = request("x" * 100)
    size = counter.size(asked)
    counter.learn(size, 1)
    assert counter.size(asked).most == size.most
    assert counter.learn(size, 2 * size.most)
    assert counter.size(asked).most >= 2 * size.most
    assert not any(counter.learn(size, reported) for reported in (0, -1, 10**9))


def picture(kind: str, width: int, height: int) -> bytes:
    """The head of a file of this kind."""
    if kind == "png":
        return b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + struct.pack(">II", width, height)
    if kind == "gif":
        return b"GIF89a" + struct.pack("<HH", width, height)
    if kind == "jpeg":
        comment = b"\xff\xfe" + struct.pack(">H", 6) + b"hey!"
        return b"\xff\xd8" + comment + b"\xff\xc2" + struct.pack(">HBHH", 17, 8, height, width)
    if kind == "vp8x":
        size = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
        return b"RIFF\0\0\0\0WEBPVP8X" + bytes(8) + size
    if kind == "vp8l":
        return b"RIFF\0\0\0\0WEBPVP8L" + bytes(5) + struct.pack("<I", (width - 1) | (height - 1) << 14)
    return b"RIFF\0\0\0\0WEBPVP8 " + bytes(10) + struct.pack("<HH", width, height)


@pytest.mark.parametrize("kind", ["png", "gif", "jpeg", "vp8x", "vp8l", "vp8"])
def test_the_size_of_a_picture_is_read_from_its_head(kind: str) -> None:
    assert image_size(picture(kind, 1234, 567)) == (1234, 567)


@given(
    st.binary(max_size=64), st.sampled_from([b"", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"\xff\xd8", b"RIFF\0\0\0\0WEBP"])
)
def test_any_bytes_have_a_size_or_none(data: bytes, head: bytes) -> None:
    size = image_size(head + data)
    assert size is None or len(size) == 2


@pytest.mark.parametrize(
    ("model", "most"),
    [("openai/gpt-4o-mini", 2833 + 8 * 5667), ("anthropic/m", 1398), ("gemini/m", 4 * 258), ("ollama/m", 1)],
)
def test_images_count_by_the_rules_of_their_provider(model: str, most: int) -> None:
    provider, name = model.split("/")
    assert image_tokens(provider, name, Image(picture("png", 1024, 1024))) >= most
    counter = TokenCounter(provider, name)
    plain, seen = counter.size(request("x")), counter.size(request("x", Image(b"not a picture")))
    assert seen.most - plain.most >= 1000
