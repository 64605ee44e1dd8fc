"""Anthropic's message batches: requests inline, results as JSON lines in any order."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs

from pydantic_core import from_json, to_json

from batchmill.testing.fake_llm.asked import BadRequest, Family
from batchmill.testing.fake_llm.batches import Batch, BatchStore, Line, Result
from batchmill.testing.fake_llm.wire import HttpRequest, Reply

MOST_LINES = 100_000
_CUSTOM_ID = re.compile(r"[a-zA-Z0-9_-]{1,64}")


class AnthropicBatches:
    """/v1/messages/batches."""

    def __init__(self, store: BatchStore, family: Family) -> None:
        self.family = family
        self._store = store

    def serve(self, prefix: str, rest: tuple[str, ...], request: HttpRequest) -> Reply | None:
        """The reply, or None where there is nothing. Raises BadRequest."""
        if not rest and request.method == "POST":
            return self._store.made(self.family, lambda: _json(self._create(request)))
        if not rest:
            return _json(self._listed(parse_qs(request.query)))
        batch = self._ours().get(rest[0])
        if batch is None:
            return None
        if rest[1:] == ("results",):
            return self._results(batch)
        if request.method == "DELETE":
            del self._store.batches[batch.id]
            return _json({"id": batch.id, "type": "message_batch_deleted"})
        if request.method == "POST" and rest[1:] == ("cancel",):
            self._store.cancel(batch)
            return _json({**self._shown(batch), "processing_status": "canceling", "results_url": None})
        return _json(self._shown(batch))

    def _ours(self) -> dict[str, Batch]:
        return {batch.id: batch for batch in self._store.batches.values() if batch.family is self.family}

    def _create(self, request: HttpRequest) -> dict[str, Any]:
        try:
            lines = [Line(item["custom_id"], item["params"]) for item in from_json(request.body)["requests"]]
        except (ValueError, KeyError, TypeError):
            raise BadRequest("requests: a list of objects with `custom_id` and `params` is required") from None
        if not 0 < len(lines) <= MOST_LINES:
            raise BadRequest(f"requests: must have from 1 to {MOST_LINES} items")
        for line in lines:
            if not isinstance(line.custom_id, str) or not _CUSTOM_ID.fullmatch(line.custom_id):
                raise BadRequest("custom_id: String should match pattern '^[a-zA-Z0-9_-]{1,64}$'")
            if not isinstance(line.body, dict):
                raise BadRequest("params: must be an object")
        if len({line.custom_id for line in lines}) < len(lines):
            raise BadRequest("requests: custom_ids must be unique")
        return self._shown(self._store.create("msgbatch", self.family, request, lines, {}))

    def _listed(self, query: dict[str, list[str]]) -> dict[str, Any]:
        newest = list(self._ours().values())[::-1]
        ids = [batch.id for batch in newest]
        after = query.get("after_id", [""])[0]
        start = ids.index(after) + 1 if after in ids else 0
        limit = query.get("limit", ["20"])[0]
        if not (limit.isascii() and limit.isdecimal() and 1 <= int(limit) <= 1000):
            raise BadRequest("limit: must be from 1 to 1000")
        shown = [self._shown(batch) for batch in newest[start : start + int(limit)]]
        first, last = (shown[0]["id"], shown[-1]["id"]) if shown else (None, None)
        return {"data": shown, "first_id": first, "last_id": last, "has_more": start + int(limit) < len(newest)}

    def _shown(self, batch: Batch) -> dict[str, Any]:
        kinds = [_kind(batch, result) for result in batch.results]
        counts = {kind: kinds.count(kind) for kind in ("succeeded", "errored", "canceled", "expired")}
        processing = 0 if batch.has_ended else len(batch.lines)
        created = datetime.fromtimestamp(batch.created_at, UTC)
        return {
            "id": batch.id,
            "type": "message_batch",
            "processing_status": "ended" if batch.has_ended else "in_progress",
            "request_counts": {"processing": processing, **counts},
            "created_at": _text(created),
            "expires_at": _text(created + timedelta(hours=24)),
            "ended_at": _text(created) if batch.has_ended else None,
            "cancel_initiated_at": _text(created) if batch.is_cancelled else None,
            "archived_at": None,
            "results_url": self._results_url(batch) if batch.has_ended else None,
        }

    def _results_url(self, batch: Batch) -> str:
        return f"http://{batch.request.headers.get('host', 'localhost')}/v1/messages/batches/{batch.id}/results"

    def _results(self, batch: Batch) -> Reply:
        if not batch.has_ended:
            raise BadRequest("results are not available until the batch has ended")
        lines = [{"custom_id": result.custom_id, "result": _result(batch, result)} for result in batch.results]
        return Reply(200, b"".join(to_json(line) + b"\n" for line in lines), content_type="application/x-jsonl")


def _kind(batch: Batch, result: Result) -> str:
    if result.status is None:
        return "canceled" if batch.is_cancelled else "expired"
    return "succeeded" if result.status == 200 else "errored"


def _result(batch: Batch, result: Result) -> dict[str, Any]:
    kind = _kind(batch, result)
    if kind == "succeeded":
        return {"type": kind, "message": result.body}
    return {"type": kind, "error": result.body} if kind == "errored" else {"type": kind}


def _text(time: datetime) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ")


def _json(value: Any) -> Reply:
    return Reply(200, to_json(value))
