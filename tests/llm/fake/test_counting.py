"""What the fake service counts: what was billed, to whom, and what was paid twice."""

from __future__ import annotations

import pytest

from batchmill.errors import UsageError
from batchmill.testing.fake_llm import Asked, Counts
from batchmill.testing.fake_llm.faults import ERRORS
from tests.llm.fake.clients import Asker, chat_body, said


def test_tokens_and_costs_are_counted_for_each_model() -> None:
    asker = Asker(prices={"big": (2.5, 10.0)})
    for model in ("big", "big", "small"):
        asker.ask(f"{asker.counts.requests}", model=model)
    counts = asker.counts
    big, small = counts.models["big"], counts.models["small"]
    assert (big.billed, small.billed, counts.billed) == (2, 1, 3)
    assert big.cost == 250 * big.tokens_in + 1000 * big.tokens_out
    assert small.cost == 100 * small.tokens_in + 400 * small.tokens_out
    assert counts.cost == big.cost + small.cost == sum(entry.cost for entry in asker.service.pipeline.log)


def test_the_usage_that_is_told_is_what_is_counted() -> None:
    asker = Asker()
    usage = asker.ask("How long is this?").body["usage"]
    assert (usage["prompt_tokens"], usage["completion_tokens"]) == (asker.counts.tokens_in, asker.counts.tokens_out)


def test_a_request_that_is_paid_twice_is_a_duplicate_and_one_that_is_tried_twice_is_not() -> None:
    asker = Asker(script=["server", None, None])
    assert [asker.ask("same").status for _ in range(2)] == [500, 200]
    assert asker.counts.duplicates == 0
    asker.ask("same", stream=False, metadata={"try": "3"})
    assert asker.counts.duplicates == 1
    asker.ask("other")
    assert asker.counts.duplicates == 1


def test_an_idempotency_key_that_comes_again_is_counted() -> None:
    asker = Asker()
    for key in ("a", "b", "a"):
        asker.post("/v1/chat/completions", chat_body("openai", key), Idempotency_Key=key)
        asker.post("/v1/chat/completions", chat_body("openai", key), **{"idempotency-key": f"{key}2"})
    assert asker.counts.repeated_keys == 1


def test_a_client_that_has_gone_is_billed_and_not_answered() -> None:
    asker = Asker(latency="1s")
    reply = asker.send("POST", "/v1/chat/completions", b'{"model":"m","messages":[{"role":"user","content":"x"}]}')
    assert asker.counts.in_flight == 1
    assert reply.done is not None
    reply.done(False)
    counts = asker.counts
    assert (counts.billed, counts.answered, counts.abandoned, counts.in_flight) == (1, 0, 1, 0)


@pytest.mark.parametrize("fault", sorted(ERRORS | {"hang", "reset"}))
def test_what_is_not_done_is_not_billed(fault: str) -> None:
    asker = Asker(script=[fault])
    asker.send("POST", "/v1/chat/completions", b'{"model":"m","messages":[{"role":"user","content":"x"}]}')
    assert asker.counts.billed == asker.counts.cost == 0
    assert asker.counts.faults == {fault: 1}


def test_wrong_usage_numbers_do_not_reach_the_counts() -> None:
    asker = Asker(script=["wrong_usage", None])
    wrong, right = (asker.ask("x").body["usage"] for _ in range(2))
    assert wrong["completion_tokens"] != right["completion_tokens"]
    assert asker.counts.tokens_out == 2 * right["completion_tokens"]


def test_counts_and_log_are_served_and_can_be_reset() -> None:
    asker = Asker()
    asker.ask("x")
    asker.ask("x", "anthropic")
    assert Counts.from_json(asker.get("/fake/counts").body) == asker.counts
    log = asker.get("/fake/log").body
    assert [entry["family"] for entry in log] == ["openai", "anthropic"]
    assert asker.post("/fake/reset", None).status == 200
    assert asker.counts == Counts()
    assert asker.get("/fake/log").body == []


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [("nothing", {}, 404), ("script", ["srver"], 400), ("script", {"a": 1}, 400), ("outage", [], 400)],
)
def test_control_that_makes_no_sense_is_told_so(path: str, body: object, status: int) -> None:
    assert Asker().post(f"/fake/{path}", body).status == status


def test_the_log_remembers_the_newest_and_texts_only_when_asked() -> None:
    asker = Asker(log=3, keep_texts=True)
    for n in range(5):
        asker.ask(f"text {n}")
    assert [entry.text for entry in asker.service.pipeline.log] == [f"user: text {n}" for n in (2, 3, 4)]
    asker = Asker()
    asker.ask("secret")
    assert asker.service.pipeline.log[0].text == ""


def test_answers_depend_on_the_question_alone() -> None:
    first, second = Asker(seed=1), Asker(seed=2)
    texts = [said(asker.ask(text)) for text in ("a", "b") for asker in (first, second)]
    assert texts[0] == texts[1] != texts[2] == texts[3]
    assert said(first.ask("a", temperature=0.3)) != texts[0]
    assert said(first.ask("a", model="other")) != texts[0]
    anthropic = first.ask("a", "anthropic").body["content"][0]["text"]
    assert anthropic == texts[0]


def test_echo_and_functions_answer() -> None:
    assert said(Asker(answer="echo").ask("say this")) == "say this"

    def answer(asked: Asked) -> object:
        return {"length": len(asked.prompt)} if asked.model == "m" else "?"

    assert said(Asker(answer=answer).ask("four")) == '{"length": 4}'


def test_a_function_that_raises_becomes_a_reply_that_says_so() -> None:
    def answer(asked: Asked) -> str:
        raise RuntimeError("no such item")

    reply = Asker(answer=answer).ask()
    assert reply.status == 500
    assert "no such item" in reply.body["error"]["message"]


def test_an_answer_ends_at_its_limit_of_tokens() -> None:
    choice = Asker(answer="echo").ask("abcd" * 50, max_tokens=10).body["choices"][0]
    assert (choice["message"]["content"], choice["finish_reason"]) == ("abcd" * 10, "length")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rmp": 5}, "has no option `rmp`"),
        ({"rpm": 0}, "`rpm` must be above zero"),
        ({"faults": {"sever": 0.1}}, "no fault `sever`"),
        ({"faults": {"server": 0.6, "reset": 0.6}}, "shares"),
        ({"latency": "fast"}, "no latency"),
        ({"latency": -1}, "no latency"),
        ({"answer": "loud"}, "no way to answer"),
        ({"by_text": {"x": ["oops"]}}, "no fault `oops`"),
    ],
)
def test_wrong_options_are_told(options: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Asker(**options)
