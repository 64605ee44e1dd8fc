"""Batches of the fake service: files in, results in any order, expiry, cancellation, half the price."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.llm.fake.clients import Asker, Told, chat_body

BOUNDARY = "xYzZY"


def _line(custom_id: str, **more: Any) -> dict[str, Any]:
    body = chat_body("openai", custom_id, max_tokens=50)
    return {"custom_id": custom_id, "method": "POST", "url": "/v1/chat/completions", "body": body, **more}


def _upload(asker: Asker, lines: list[Any]) -> str:
    data = "".join(line if isinstance(line, str) else json.dumps(line) + "\n" for line in lines)
    form = (
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n'
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="in.jsonl"\r\n'
        f"Content-Type: application/jsonl\r\n\r\n{data}\r\n--{BOUNDARY}--\r\n"
    )
    reply = asker.send("POST", "/v1/files", form.encode(), content_type=f"multipart/form-data; boundary={BOUNDARY}")
    file = json.loads(reply.body)
    assert (file["purpose"], file["filename"], file["bytes"]) == ("batch", "in.jsonl", len(data))
    return str(file["id"])


def _create(asker: Asker, lines: list[Any], **more: Any) -> Told:
    body = {"input_file_id": _upload(asker, lines), "endpoint": "/v1/chat/completions", "completion_window": "24h"}
    return asker.post("/v1/batches", {**body, **more})


def _content(asker: Asker, file: str) -> list[dict[str, Any]]:
    data = asker.send("GET", f"/v1/files/{file}/content").body
    return [json.loads(line) for line in data.splitlines()]


def test_a_batch_goes_through_its_states_and_ends_with_its_results() -> None:
    asker = Asker(batch_time=100.0)
    batch = _create(asker, [_line(f"job-{n}") for n in range(10)], metadata={"run": "r1"}).body
    assert (batch["status"], batch["metadata"]) == ("validating", {"run": "r1"})
    states = []
    for _ in range(11):
        shown = asker.get(f"/v1/batches/{batch['id']}").body
        states.append((shown["status"], shown["request_counts"]["completed"]))
        asker.clock.now += 10
    assert states[0] == ("validating", 0)
    assert states[5] == ("in_progress", 5)
    assert states[9] == ("finalizing", 10)
    assert states[10] == ("completed", 10)
    results = _content(asker, shown["output_file_id"])
    assert [r["custom_id"] for r in results] != sorted(r["custom_id"] for r in results)
    assert {r["custom_id"] for r in results} == {f"job-{n}" for n in range(10)}
    assert all(r["response"]["status_code"] == 200 and r["error"] is None for r in results)
    assert shown["error_file_id"] is None


def test_a_line_is_answered_as_it_would_be_alone_for_half_the_price() -> None:
    asker = Asker(batch_time=1.0)
    live = asker.post("/v1/chat/completions", _line("one")["body"]).body
    cost = asker.counts.cost
    batch = _create(asker, [_line("one")]).body
    asker.clock.now += 1
    output = asker.get(f"/v1/batches/{batch['id']}").body["output_file_id"]
    body = _content(asker, output)[0]["response"]["body"]
    assert body["choices"] == live["choices"]
    assert asker.counts.cost == cost + cost // 2
    assert (asker.counts.duplicates, asker.counts.batch_lines, asker.counts.requests) == (1, 1, 1)


def test_failed_lines_are_in_the_file_of_errors() -> None:
    asker = Asker(batch_time=1.0, by_text={"bad": ["server"], "worse": ["hang"]})
    batch = _create(asker, [_line("good"), _line("bad"), _line("worse")]).body
    asker.clock.now += 1
    shown = asker.get(f"/v1/batches/{batch['id']}").body
    assert shown["request_counts"] == {"total": 3, "completed": 2, "failed": 1}
    (error,) = _content(asker, shown["error_file_id"])
    assert (error["custom_id"], error["response"]["status_code"]) == ("bad", 500)
    assert len(_content(asker, shown["output_file_id"])) == 2


def test_a_batch_that_expires_keeps_what_was_done() -> None:
    asker = Asker(batch_time=1.0, batch_done=0.6)
    batch = _create(asker, [_line(f"{n}") for n in range(10)]).body
    asker.clock.now += 1
    shown = asker.get(f"/v1/batches/{batch['id']}").body
    assert shown["status"] == "expired"
    expired = _content(asker, shown["error_file_id"])
    assert [line["error"]["code"] for line in expired] == ["batch_expired"] * 4
    assert len(_content(asker, shown["output_file_id"])) == 6 == asker.counts.billed


def test_a_batch_that_is_cancelled_keeps_what_was_done() -> None:
    asker = Asker(batch_time=100.0)
    batch = _create(asker, [_line(f"{n}") for n in range(10)]).body
    asker.clock.now += 50
    assert asker.post(f"/v1/batches/{batch['id']}/cancel", None).body["status"] == "cancelling"
    shown = asker.get(f"/v1/batches/{batch['id']}").body
    assert shown["status"] == "cancelled"
    assert len(_content(asker, shown["output_file_id"])) == 5 == asker.counts.billed
    assert _content(asker, shown["error_file_id"])[0]["error"]["code"] == "batch_cancelled"


@pytest.mark.parametrize(
    ("lines", "code"),
    [
        ([], "empty_file"),
        ([_line("a"), _line("a")], "duplicate_custom_id"),
        ([_line("a"), "{not json\n"], "invalid_json_line"),
        ([_line("a", url="/v1/embeddings")], "invalid_url"),
        ([_line("a"), _line("b", body={"model": "other"})], "mismatched_model"),
    ],
)
def test_a_batch_that_is_not_valid_fails_and_says_where(lines: list[Any], code: str) -> None:
    asker = Asker()
    batch = asker.get(f"/v1/batches/{_create(asker, lines).body['id']}").body
    assert batch["status"] == "failed"
    assert batch["errors"]["data"][0]["code"] == code
    assert asker.counts.billed == 0


def test_a_queue_that_is_full_refuses_more() -> None:
    asker = Asker(batch_tokens=40, batch_time=10.0)
    ids = [_create(asker, [_line(f"{n}") for n in range(3)]).body["id"] for _ in range(2)]
    shown = [asker.get(f"/v1/batches/{batch}").body for batch in ids]
    assert shown[1]["errors"]["data"][0]["code"] == "token_limit_exceeded"
    assert shown[0]["status"] == "validating"


def test_batches_are_listed_newest_first_and_paged() -> None:
    asker = Asker()
    ids = [_create(asker, [_line("a")], metadata={"n": str(n)}).body["id"] for n in range(3)]
    page = asker.get("/v1/batches?limit=2").body
    assert [batch["id"] for batch in page["data"]] == [ids[2], ids[1]]
    assert page["has_more"]
    rest = asker.get(f"/v1/batches?limit=2&after={ids[1]}").body
    assert [batch["metadata"] for batch in rest["data"]] == [{"n": "0"}]
    assert len(asker.get("/v1/files").body["data"]) == 3


@pytest.mark.parametrize(("fault", "made"), [("server", 0), ("rate_limited", 0), ("reset", 1), ("hang", 1)])
def test_the_making_of_a_batch_can_fail_before_or_after_it_is_made(fault: str, made: int) -> None:
    asker = Asker(batch_script=[fault])
    file = _upload(asker, [_line("a")])
    body = {"input_file_id": file, "endpoint": "/v1/chat/completions", "completion_window": "24h"}
    asker.send("POST", "/v1/batches", json.dumps(body).encode())
    assert asker.counts.batches == made == len(asker.get("/v1/batches").body["data"])
    assert asker.post("/v1/batches", body).status == 200


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "/v1/batches/none", b"", 404),
        ("GET", "/v1/files/none/content", b"", 404),
        ("POST", "/v1/batches", b"{", 400),
        ("POST", "/v1/batches", b'{"input_file_id": "none"}', 400),
        ("POST", "/v1/files", b"no form", 400),
        ("GET", "/v1/batches?limit=many", b"", 400),
        ("POST", "/v1/messages/batches", b'{"requests": []}', 400),
        ("POST", "/v1/messages/batches", b'{"requests": [{"custom_id": "a b", "params": {}}]}', 400),
        ("GET", "/v1/messages/batches/none", b"", 404),
    ],
)
def test_what_is_not_there_or_wrong_is_told(method: str, path: str, body: bytes, status: int) -> None:
    assert Asker().send(method, path, body).status == status


def test_batches_want_the_key_too() -> None:
    asker = Asker(keys=["k"])
    assert asker.send("GET", "/v1/batches").status == 401
    assert asker.send("GET", "/v1/batches", authorization="Bearer k").status == 200


def _anthropic(asker: Asker, count: int) -> Any:
    requests = [{"custom_id": f"job-{n}", "params": chat_body("anthropic", f"job-{n}")} for n in range(count)]
    return asker.post("/v1/messages/batches", {"requests": requests}).body


def _results(asker: Asker, batch: str) -> dict[str, Any]:
    data = asker.send("GET", f"/v1/messages/batches/{batch}/results").body
    return {line["custom_id"]: line["result"] for line in map(json.loads, data.splitlines())}


def test_a_message_batch_ends_with_a_result_for_each_line() -> None:
    asker = Asker(batch_time=10.0, by_text={"job-3": ["invalid_request"]})
    batch = _anthropic(asker, 5)
    assert (batch["processing_status"], batch["request_counts"]["processing"]) == ("in_progress", 5)
    assert asker.send("GET", f"/v1/messages/batches/{batch['id']}/results").status == 400
    asker.clock.now += 10
    shown = asker.get(f"/v1/messages/batches/{batch['id']}").body
    assert shown["processing_status"] == "ended"
    assert shown["results_url"].endswith(f"/v1/messages/batches/{batch['id']}/results")
    assert shown["request_counts"] == {"processing": 0, "succeeded": 4, "errored": 1, "canceled": 0, "expired": 0}
    results = _results(asker, batch["id"])
    assert results["job-3"]["error"]["error"]["type"] == "invalid_request_error"
    assert results["job-1"]["message"]["content"][0]["text"]


def test_a_message_batch_expires_or_is_cancelled_in_part() -> None:
    asker = Asker(batch_time=10.0, batch_done=0.5)
    expired, cancelled = _anthropic(asker, 4)["id"], _anthropic(asker, 4)["id"]
    asker.clock.now += 5
    asker.post(f"/v1/messages/batches/{cancelled}/cancel", None)
    asker.clock.now += 5
    for batch, kind in ((expired, "expired"), (cancelled, "canceled")):
        kinds = sorted(result["type"] for result in _results(asker, batch).values())
        assert kinds == sorted([kind] * 2 + ["succeeded"] * 2)
    page = asker.get("/v1/messages/batches?limit=1").body
    assert (page["data"][0]["id"], page["has_more"]) == (cancelled, True)
    assert asker.get(f"/v1/messages/batches?after_id={cancelled}").body["data"][0]["id"] == expired
    assert json.loads(asker.send("DELETE", f"/v1/messages/batches/{expired}").body)["type"] == "message_batch_deleted"
    assert asker.send("GET", f"/v1/messages/batches/{expired}").status == 404
