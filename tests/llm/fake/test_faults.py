"""Faults of the fake service: seeded, in their shares, and each as services really have it."""

from __future__ import annotations

import json
from collections import Counter

import pytest

from batchmill.testing.fake_llm import Asked
from batchmill.testing.fake_llm.faults import KINDS, LASTING, PASSING
from batchmill.testing.fake_llm.latency import Latency, latency
from batchmill.testing.fake_llm.wire import Ending
from tests.llm.fake.clients import CHATS, Asker, chat_body, said

SHARES = {"server": 0.1, "reset": 0.05, "refusal": 0.05, "too_long": 0.02}


def _faults(asker: Asker, texts: list[str]) -> dict[str, list[str]]:
    """The faults of each text, in the order of its arrivals."""
    found: dict[str, list[str]] = {}
    for text in texts:
        asker.send("POST", CHATS["openai"], json.dumps(chat_body("openai", text)).encode())
        found.setdefault(text, []).append(asker.service.pipeline.log[-1].fault)
    return found


def test_the_order_of_arrival_changes_no_fault() -> None:
    texts = [f"{n}" for n in range(300)] * 2
    assert _faults(Asker(faults=SHARES, seed=7), texts) == _faults(Asker(faults=SHARES, seed=7), texts[::-1])
    assert _faults(Asker(faults=SHARES, seed=7), texts) != _faults(Asker(faults=SHARES, seed=8), texts)


def test_faults_come_in_their_shares() -> None:
    found = _faults(Asker(faults=SHARES), [f"{n}" for n in range(4000)])
    counted = Counter(kinds[0] for kinds in found.values())
    for kind, share in SHARES.items():
        assert counted[kind] == pytest.approx(4000 * share, rel=0.25)


def test_lasting_faults_come_again_and_passing_ones_pass() -> None:
    texts = [f"{n}" for n in range(500)]
    found = _faults(Asker(faults=SHARES), texts * 3)
    for kinds in found.values():
        if set(kinds) & set(LASTING):
            assert len(set(kinds)) == 1
    passing = [kinds for kinds in found.values() if kinds[0] in PASSING]
    assert any(kinds[1] == "" for kinds in passing)


def test_a_script_comes_first_then_what_a_text_asks_for() -> None:
    asker = Asker(script=["server", None], by_text={"doc 3": ["empty", "reset"]})
    assert [asker.ask("doc 3").status for _ in range(2)] == [500, 200]
    assert [asker.ask(f"doc {n}").status for n in range(3)] == [200] * 3
    found = _faults(Asker(by_text={"doc 3": ["empty", "reset"]}), ["doc 3", "doc 2", "doc 3", "doc 3"])
    assert found == {"doc 3": ["empty", "reset", ""], "doc 2": [""]}


def test_a_function_can_tell_the_faults() -> None:
    def script(asked: Asked) -> str | None:
        return "server" if asked.nth == 0 else None

    asker = Asker(script=script)
    assert [asker.ask("x").status for _ in range(2)] == [500, 200]


def test_more_of_a_script_can_come_later() -> None:
    asker = Asker()
    asker.post("/fake/script", ["unavailable", "auth"])
    assert [asker.ask().status for _ in range(3)] == [503, 401, 200]


@pytest.mark.parametrize(
    ("fault", "status", "code"),
    [
        ("rate_limited", 429, "rate_limit_exceeded"),
        ("server", 500, None),
        ("unavailable", 503, "service_unavailable"),
        ("auth", 401, "invalid_api_key"),
        ("no_money", 429, "insufficient_quota"),
        ("invalid_request", 400, None),
        ("too_long", 400, "context_length_exceeded"),
    ],
)
def test_errors_have_the_status_and_the_code_of_the_service(fault: str, status: int, code: str | None) -> None:
    reply = Asker(script=[fault]).ask()
    assert (reply.status, reply.body["error"]["code"]) == (status, code)


def test_a_429_comes_with_either_form_of_retry_after() -> None:
    asker = Asker(script=["rate_limited", "rate_limited_date"])
    assert asker.ask().headers["retry-after"] == "1"
    assert asker.ask().headers["retry-after"] == "Tue, 14 Nov 2023 22:13:21 GMT"


def test_a_429_for_the_day_says_so() -> None:
    reply = Asker(script=["day_limit"]).ask()
    assert "per day" in reply.body["error"]["message"]
    assert int(reply.headers["retry-after"]) > 3600


def test_an_image_that_is_not_wanted_is_a_500_as_of_llama_cpp() -> None:
    content = [
        {"type": "text", "text": "what?"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}},
    ]
    body = {"model": "m", "messages": [{"role": "user", "content": content}]}
    reply = Asker(vision=False).post(CHATS["openai"], body)
    assert reply.status == 500
    assert reply.body["error"]["message"].startswith("image input is not supported")
    assert Asker().post(CHATS["openai"], body).status == 200


def test_a_context_that_is_too_long_is_refused_by_its_tokens() -> None:
    asker = Asker(context=100)
    assert asker.ask("word" * 80).status == 200
    reply = asker.ask("word" * 100)
    assert reply.status == 400
    assert "maximum context length is 100 tokens" in reply.body["error"]["message"]


def test_an_outage_ends() -> None:
    asker = Asker(outage=(5.0, 30.0))
    statuses = []
    for _ in range(9):
        statuses.append(asker.ask().status)
        asker.clock.now += 5
    assert statuses == [200] + [503] * 6 + [200] * 2
    assert asker.counts.faults == {"outage": 6}
    asker.post("/fake/outage", {"seconds": 2})
    assert asker.ask().status == 503
    asker.clock.now += 2
    assert asker.ask().status == 200


@pytest.mark.parametrize(
    ("fault", "text", "finish"),
    [("empty", "", "stop"), ("invalid", '{"unexpected": ["not", "the", "schema"]}', "stop")],
)
def test_answers_are_spoilt(fault: str, text: str, finish: str) -> None:
    choice = Asker(script=[fault]).ask(response_format={"type": "json_object"}).body["choices"][0]
    assert (choice["message"]["content"], choice["finish_reason"]) == (text, finish)


def test_a_refusal_and_a_cut_answer_are_told_as_such() -> None:
    message = Asker(script=["refusal"]).ask().body["choices"][0]["message"]
    assert message["content"] is None
    assert message["refusal"]
    whole, cut = (Asker(script=script).ask().body["choices"][0] for script in ([], ["length"]))
    assert cut["finish_reason"] == "length"
    assert whole["message"]["content"].startswith(cut["message"]["content"])


def test_replies_are_spoilt_on_their_way() -> None:
    replies = {
        fault: Asker(script=[fault]).send("POST", CHATS["openai"], json.dumps(chat_body("openai", "x")).encode())
        for fault in ("truncated", "html", "drip", "cut", "reset", "hang")
    }
    with pytest.raises(ValueError, match=r"Unterminated|Expecting|delimiter"):
        json.loads(replies["truncated"].body)
    assert replies["html"].content_type == "text/html"
    assert json.loads(b"".join(replies["drip"].pieces))
    assert replies["drip"].pause > 0
    assert replies["cut"].length is not None
    assert sum(map(len, replies["cut"].pieces)) < replies["cut"].length
    assert [replies[fault].ending for fault in ("cut", "reset", "hang")] == [Ending.RESET, Ending.RESET, Ending.HANG]


@pytest.mark.parametrize("fault", sorted(KINDS))
@pytest.mark.parametrize("family", sorted(CHATS))
def test_every_fault_can_happen_to_every_family(fault: str, family: str) -> None:
    asker = Asker(script=[fault])
    reply = asker.send("POST", CHATS[family], json.dumps(chat_body(family, "x")).encode(), anthropic_version="1")
    assert asker.counts.faults == {fault: 1}
    assert asker.service.pipeline.log[-1].fault == fault
    asker.deliver(reply)
    assert asker.ask("x", family).status == 200


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("50ms", Latency("fixed", 0.05)),
        (0.2, Latency("fixed", 0.2)),
        ("0", Latency()),
        ("10ms-90ms", Latency("uniform", 0.01, 0.09)),
        ("exponential:50ms", Latency("exponential", 0.05)),
        ("lognormal:200ms:0.7", Latency("lognormal", 0.2, 0.7)),
    ],
)
def test_latencies_are_read(text: str | float, expected: Latency) -> None:
    assert latency(text) == expected


@pytest.mark.parametrize("shape", ["uniform", "exponential", "lognormal"])
def test_latencies_are_spread_as_their_distribution_says(shape: str) -> None:
    text = {"uniform": "10ms-90ms"}.get(shape, f"{shape}:50ms")
    asker = Asker(latency=text)
    bodies = (json.dumps(chat_body("openai", f"{n}")).encode() for n in range(1000))
    delays = sorted(asker.send("POST", CHATS["openai"], body).delay for body in bodies)
    median = {"uniform": 0.05, "exponential": 0.05 * 0.693, "lognormal": 0.05}[shape]
    assert delays[500] == pytest.approx(median, rel=0.15)
    assert len(set(delays)) > 990


def test_tokens_take_their_time() -> None:
    asker = Asker(token_time=0.01, answer="echo")
    body = json.dumps(chat_body("openai", "abcd" * 20)).encode()
    assert asker.send("POST", CHATS["openai"], body).delay == pytest.approx(0.2)


def test_an_error_reply_comes_at_once() -> None:
    assert said(Asker(latency="1h").ask())  # the delay is a number here: nothing waits
    assert Asker(latency="1h", script=["server"]).send("POST", CHATS["openai"], b"{}").delay == 0
