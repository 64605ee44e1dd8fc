"""OpenAI's files and batches: JSON lines in, files of replies and of errors out."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import parse_qs

from pydantic_core import from_json, to_json

from batchmill.testing.fake_llm.asked import BadRequest, Family
from batchmill.testing.fake_llm.batches import FINALIZING, VALIDATING, Batch, BatchStore, Line, Result
from batchmill.testing.fake_llm.families.multipart import form
from batchmill.testing.fake_llm.wire import HttpRequest, Reply

MOST_LINES = 50_000
WINDOW = 86_400


class File(NamedTuple):
    """A file and what is told of it."""

    data: bytes
    about: dict[str, Any]


class Invalid(Exception):
    """A line that makes the whole batch fail."""

    def __init__(self, code: str, message: str, line: int | None = None) -> None:
        super().__init__(message)
        self.error = {"code": code, "message": message, "param": None, "line": line}


class OpenAIBatches:
    """/v1/files and /v1/batches."""

    def __init__(self, store: BatchStore, families: Mapping[str, Family]) -> None:
        self.family = families["/v1/chat/completions"]
        self._families = families
        self._store = store
        self._files: dict[str, File] = {}
        self._failed: dict[str, dict[str, Any]] = {}  # errors of batches that were not valid
        self._outputs: dict[str, dict[str, str]] = {}  # the files of batches that have ended

    def serve(self, prefix: str, rest: tuple[str, ...], request: HttpRequest) -> Reply | None:
        """The reply, or None where there is nothing. Raises BadRequest."""
        serve = self._serve_files if prefix == "/v1/files" else self._serve_batches
        return serve(request.method, rest, request)

    def _serve_files(self, method: str, rest: tuple[str, ...], request: HttpRequest) -> Reply | None:
        if not rest:
            return _json(self._upload(request) if method == "POST" else self._listed_files())
        file = self._files.get(rest[0])
        if file is None:
            return None
        if method == "DELETE":
            del self._files[rest[0]]
            return _json({"id": rest[0], "object": "file", "deleted": True})
        return Reply(200, file.data, content_type="application/octet-stream") if len(rest) > 1 else _json(file.about)

    def _listed_files(self) -> dict[str, Any]:
        return {"object": "list", "data": [file.about for file in self._files.values()][::-1], "has_more": False}

    def _upload(self, request: HttpRequest) -> dict[str, Any]:
        fields = form(request.headers.get("content-type", ""), request.body)
        if "file" not in fields:
            raise BadRequest("'file' is a required property")
        name, data = fields["file"]
        return self._stored(data, name or "file", fields.get("purpose", ("", b""))[1].decode("latin-1"))

    def _stored(self, data: bytes, name: str, purpose: str) -> dict[str, Any]:
        about: dict[str, Any] = {
            "id": self._store.new_id("file"),
            "object": "file",
            "bytes": len(data),
            "created_at": self._store.now(),
            "filename": name,
            "purpose": purpose,
            "status": "processed",
        }
        self._files[about["id"]] = File(data, about)
        return about

    def _serve_batches(self, method: str, rest: tuple[str, ...], request: HttpRequest) -> Reply | None:
        if not rest and method == "POST":
            return self._store.made(self.family, lambda: _json(self._create(request)))
        if not rest:
            return _json(self._listed(parse_qs(request.query)))
        batch = self._ours().get(rest[0])
        if batch is None:
            return None
        if method == "POST" and rest[1:] == ("cancel",):
            self._store.cancel(batch)
            return _json({**self._shown(batch), "status": "cancelling"})
        return _json(self._shown(batch))

    def _ours(self) -> dict[str, Batch]:
        return {batch.id: batch for batch in self._store.batches.values() if batch.family.name == "openai"}

    def _listed(self, query: dict[str, list[str]]) -> dict[str, Any]:
        newest = list(self._ours().values())[::-1]
        after = query.get("after", [""])[0]
        ids = [batch.id for batch in newest]
        start = ids.index(after) + 1 if after in ids else 0
        limit = _number(query.get("limit", ["20"])[0])
        shown = [self._shown(batch) for batch in newest[start : start + limit]]
        first, last = (shown[0]["id"], shown[-1]["id"]) if shown else (None, None)
        more = start + limit < len(newest)
        return {"object": "list", "data": shown, "first_id": first, "last_id": last, "has_more": more}

    def _create(self, request: HttpRequest) -> dict[str, Any]:
        about = _mapping(request.body)
        file = self._files.get(str(about.get("input_file_id")))
        family = self._families.get(str(about.get("endpoint")))
        if file is None:
            raise BadRequest("Invalid value for `input_file_id`: there is no such file")
        if family is None or family.name != "openai":
            raise BadRequest("Invalid value for `endpoint`")
        if about.get("completion_window") != "24h":
            raise BadRequest("Invalid value for `completion_window`: must be '24h'")
        try:
            lines, model = _lines(file.data, about["endpoint"])
            self._check_queue(lines, model)
            invalid = None
        except Invalid as error:
            lines, model, invalid = [], "", error.error
        batch = self._store.create("batch", family, request, lines, {**about, "model": model})
        if invalid is not None:
            self._failed[batch.id], batch.share = invalid, 1.0
        shown = self._shown(batch)
        return {**shown, "status": "validating", "errors": None}

    def _check_queue(self, lines: list[Line], model: str) -> None:
        most = self._store.pipeline.behaviour.batch_tokens
        if most is not None and self._store.waiting_tokens(model) + self._store.tokens(lines) > most:
            raise Invalid("token_limit_exceeded", f"Enqueued token limit reached for {model}. Limit: {most}.")

    def _shown(self, batch: Batch) -> dict[str, Any]:
        status, failed = self._status(batch), self._failed.get(batch.id)
        created, about = batch.created_at, batch.about
        outputs = self._files_of(batch) if batch.has_ended and failed is None else {}
        errors = sum(result.status not in (200, None) for result in batch.results)
        total = len(batch.lines)
        return {
            "id": batch.id,
            "object": "batch",
            "endpoint": about["endpoint"],
            "errors": {"object": "list", "data": [failed]} if failed else None,
            "input_file_id": about["input_file_id"],
            "completion_window": about["completion_window"],
            "status": status,
            "output_file_id": outputs.get("output"),
            "error_file_id": outputs.get("error"),
            "created_at": created,
            "in_progress_at": created if batch.share >= VALIDATING else None,
            "expires_at": created + WINDOW,
            **{f"{s}_at": created if status == s else None for s in ("completed", "failed", "expired", "cancelled")},
            "request_counts": {"total": total, "completed": batch.done - errors, "failed": errors},
            "metadata": about.get("metadata"),
        }

    def _status(self, batch: Batch) -> str:
        if batch.id in self._failed:
            return "failed"
        if batch.has_ended:
            return "cancelled" if batch.is_cancelled else "expired" if batch.is_expired else "completed"
        if batch.share < VALIDATING:
            return "validating"
        return "in_progress" if batch.share < FINALIZING else "finalizing"

    def _files_of(self, batch: Batch) -> dict[str, str]:
        """The ids of the files of a batch that has ended; made once."""
        if batch.id not in self._outputs:
            self._outputs[batch.id] = {}
            for name in ("output", "error"):
                data = self._written(batch, is_output=name == "output")
                if data:
                    file = self._stored(data, f"{batch.id}_{name}.jsonl", "batch_output")
                    self._outputs[batch.id][name] = file["id"]
        return self._outputs[batch.id]

    def _written(self, batch: Batch, *, is_output: bool) -> bytes:
        code = "batch_cancelled" if batch.is_cancelled else "batch_expired"
        results = [self._line(result, code) for result in batch.results if (result.status == 200) is is_output]
        return b"".join(to_json(line) + b"\n" for line in results)

    def _line(self, result: Result, code: str) -> dict[str, Any]:
        head: dict[str, Any] = {"id": self._store.new_id("batch_req"), "custom_id": result.custom_id}
        if result.status is None:
            message = "This request could not be executed before the completion window expired."
            return {**head, "response": None, "error": {"code": code, "message": message}}
        response = {"status_code": result.status, "request_id": self._store.new_id("req"), "body": result.body}
        return {**head, "response": response, "error": None}


def _lines(data: bytes, endpoint: str) -> tuple[list[Line], str]:
    """The lines of an input file and their one model. Raises Invalid."""
    lines: dict[str, Line] = {}
    models: set[str] = set()
    for number, text in enumerate(data.splitlines(), 1):
        if not text.strip():
            continue
        line = _line(text, number, endpoint)
        if line.custom_id in lines:
            raise Invalid("duplicate_custom_id", "The custom_id for this request is a duplicate.", number)
        lines[line.custom_id] = line
        models.add(str(line.body.get("model")))
        if len(models) > 1:
            raise Invalid("mismatched_model", "The model of this request does not match the rest of the batch.", number)
    if not lines:
        raise Invalid("empty_file", "The input file is empty.")
    if len(lines) > MOST_LINES:
        raise Invalid("too_many_tasks", f"The batch exceeds the limit of {MOST_LINES} requests.")
    return list(lines.values()), models.pop()


def _line(text: bytes, number: int, endpoint: str) -> Line:
    try:
        value = json.loads(text)
        custom_id, url, body = value["custom_id"], value["url"], value["body"]
    except (ValueError, KeyError, TypeError):
        raise Invalid("invalid_json_line", "This line is not parseable as a request.", number) from None
    if url != endpoint or value.get("method") != "POST":
        raise Invalid("invalid_url", "The URL or method of this request does not match the batch's.", number)
    if not isinstance(custom_id, str) or not isinstance(body, dict):
        raise Invalid("invalid_json_line", "`custom_id` must be a text and `body` an object.", number)
    return Line(custom_id, body)


def _mapping(body: bytes) -> dict[str, Any]:
    try:
        value = from_json(body)
    except ValueError as error:
        raise BadRequest(str(error)[:200]) from None
    if not isinstance(value, dict):
        raise BadRequest("the body must be a JSON object")
    return value


def _number(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and 1 <= int(text) <= 100):
        raise BadRequest("`limit` must be from 1 to 100")
    return int(text)


def _json(value: Any) -> Reply:
    return Reply(200, to_json(value))
