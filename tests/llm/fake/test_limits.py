"""Limits of the fake service: exact buckets, violations that are counted, headers that tell the truth."""

from __future__ import annotations

from email.utils import parsedate_to_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchmill.testing.fake_llm.headers import go_duration
from batchmill.testing.fake_llm.limits import Bucket
from tests.llm.fake.clients import Asker


def test_a_burst_passes_and_the_next_request_is_refused_and_counted() -> None:
    asker = Asker(rpm=600, burst=10)
    assert [asker.ask(f"{n}").status for n in range(12)] == [200] * 10 + [429] * 2
    assert (asker.counts.answered, asker.counts.refused) == (10, 2)
    assert asker.counts.violations == {"requests": 2}


def test_by_default_the_burst_is_what_a_second_allows() -> None:
    asker = Asker(rpm=300)
    assert sum(asker.ask(f"{n}").status == 200 for n in range(20)) == 5


def test_who_waits_as_long_as_told_is_admitted_and_not_before() -> None:
    asker = Asker(rpm=600, burst=1)
    asker.ask("0")
    asker.clock.now += 0.03125
    refused = asker.ask("1")
    assert refused.headers["retry-after-ms"] == "69"
    asker.clock.now += 0.068
    assert asker.ask("1").status == 429
    asker.clock.now += 0.001
    assert asker.ask("1").status == 200


@pytest.mark.parametrize(
    ("form", "names"),
    [
        ("both", {"retry-after", "retry-after-ms"}),
        ("seconds", {"retry-after"}),
        ("ms", {"retry-after-ms"}),
        ("date", {"retry-after"}),
        ("none", set()),
    ],
)
def test_a_refusal_tells_the_wait_in_the_form_that_was_asked_for(form: str, names: set[str]) -> None:
    asker = Asker(rpm=6, burst=1, retry_after=form, tell_limits=False)
    asker.ask("0")
    headers = asker.ask("1").headers
    assert set(headers) - {"x-request-id"} == names
    if form == "date":
        assert parsedate_to_datetime(headers["retry-after"]).timestamp() == 1_700_000_010
    elif "retry-after" in names:
        assert headers["retry-after"] == "10"


def test_headers_tell_what_is_left() -> None:
    asker = Asker(rpm=600, burst=10, tpm=6000)
    headers = asker.ask("word" * 10, max_tokens=100).headers
    assert headers["x-ratelimit-limit-requests"] == "600"
    assert headers["x-ratelimit-remaining-requests"] == "9"
    assert headers["x-ratelimit-reset-requests"] == "100ms"
    used = asker.counts.tokens_in + asker.counts.tokens_out
    assert headers["x-ratelimit-remaining-tokens"] == str(6000 - used)  # what was reserved and not used came back


def test_anthropic_tells_its_limits_in_headers_of_its_own() -> None:
    headers = Asker(rpm=60, burst=5, tpm=6000).ask(family="anthropic").headers
    assert headers["anthropic-ratelimit-requests-limit"] == "60"
    assert headers["anthropic-ratelimit-requests-remaining"] == "4"
    assert headers["anthropic-ratelimit-requests-reset"] == "2023-11-14T22:13:21Z"
    assert headers["anthropic-ratelimit-input-tokens-limit"] == "6000"


def test_gemini_tells_a_violated_limit_in_the_body() -> None:
    asker = Asker(rpm=15, burst=1)
    asker.ask("0", "gemini")
    refused = asker.ask("1", "gemini")
    failure, info = refused.body["error"]["details"]
    assert failure["violations"][0] == {"quotaId": "GenerateRequestsPerMinutePerProjectPerModel", "quotaValue": "15"}
    assert info["retryDelay"] == "4.000s"


def test_tokens_are_reserved_at_their_most_and_settled_at_their_true_number() -> None:
    asker = Asker(tpm=1000)
    assert asker.ask("a", max_tokens=900).status == 200
    assert asker.ask("b", max_tokens=900).status == 200  # the first used less than 100
    assert asker.ask("c", max_tokens=980).status == 429
    assert asker.counts.violations == {"tokens": 1}


def test_failed_requests_give_their_tokens_back() -> None:
    asker = Asker(tpm=1000, script=["server"])
    assert asker.ask("a", max_tokens=980).status == 500
    assert asker.ask("b", max_tokens=980).status == 200


def test_each_key_and_model_has_its_own_limit() -> None:
    asker = Asker(rpm=60, burst=1)
    statuses = [
        asker.post(
            "/v1/chat/completions", {"model": model, "messages": [{"role": "user", "content": "x"}]}, **key
        ).status
        for model in ("a", "b")
        for key in ({"authorization": "Bearer one"}, {"authorization": "Bearer two"}, {"authorization": "Bearer one"})
    ]
    assert statuses == [200, 200, 429] * 2


def test_a_day_has_its_limit_and_ends_at_midnight() -> None:
    asker = Asker(rpd=2)
    assert [asker.ask(f"{n}").status for n in range(3)] == [200, 200, 429]
    refused = asker.ask("3")
    assert "per day" in refused.body["error"]["message"]
    asker.clock.now += float(refused.headers["retry-after"])
    assert asker.ask("3").status == 200


def test_more_at_once_than_allowed_are_refused() -> None:
    asker = Asker(concurrency=2)
    body = b'{"model": "m", "messages": [{"role": "user", "content": "x"}]}'
    first, _second = (asker.send("POST", "/v1/chat/completions", body) for _ in range(2))
    assert asker.ask().status == 429
    asker.deliver(first)
    assert asker.ask().status == 200
    assert asker.counts.violations == {"concurrency": 1}
    assert asker.counts.max_in_flight == 2


def test_slots_make_requests_wait_for_each_other() -> None:
    asker = Asker(slots=2, latency="100ms")
    body = b'{"model": "m", "messages": [{"role": "user", "content": "x"}]}'
    delays = [asker.send("POST", "/v1/chat/completions", body).delay for _ in range(5)]
    assert delays == pytest.approx([0.1, 0.1, 0.2, 0.2, 0.3])


@given(
    st.floats(1, 6000),
    st.floats(1, 100),
    st.lists(st.tuples(st.floats(0, 5), st.floats(0.1, 20)), min_size=1, max_size=30),
)
def test_a_bucket_never_admits_more_than_its_rate_and_its_burst(
    per_minute: float, capacity: float, arrivals: list[tuple[float, float]]
) -> None:
    bucket, now, taken = Bucket(per_minute, capacity, 0.0), 0.0, 0.0
    for gap, amount in arrivals:
        now += gap
        amount = min(amount, capacity)
        wait = bucket.wait(amount, now)
        assert 0 <= wait <= capacity / (per_minute / 60) + 1e-6
        if wait == 0:
            bucket.take(amount)
            taken += amount
        assert taken <= capacity + now * per_minute / 60 + 1e-6
        assert 0 <= bucket.level().remaining <= capacity + 1e-6


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.0, "0ms"), (0.1201, "121ms"), (1.0, "1s"), (7.66, "7.66s"), (360.0, "6m0s"), (83_520.0, "23h12m0s")],
)
def test_spans_are_written_as_openai_writes_them(seconds: float, text: str) -> None:
    assert go_duration(seconds) == text
