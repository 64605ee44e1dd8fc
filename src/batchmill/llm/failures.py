"""What went wrong with a request, and whether to try it again. Pure: it reads a status, headers and a body.

Trying again helps against what passes: refusals for a minute, servers in trouble, broken connections. It never helps
against a wrong key, missing money, a request that is wrong or too long, a quota that is used up until tomorrow.
"""

from __future__ import annotations

import json
import re
import time
from dataclasses import dataclass
from typing import Any, Literal

from batchmill.llm import headers
from batchmill.llm.messages import Reply
from batchmill.llm.providers.base import Malformed
from batchmill.llm.secrets import conceal
from batchmill.llm.transport import HttpReply, StatusError, TransportError

Kind = Literal[
    "rate_limited", "exhausted", "server", "timeout", "connect", "reset", "malformed", "truncated", "empty",
    "refusal", "auth", "no_money", "invalid_request", "too_long", "unsupported",
]  # fmt: skip

RETRIED = frozenset({"rate_limited", "server", "timeout", "connect", "reset", "malformed", "truncated", "empty"})
_LONGEST = 300  # characters of a server's message that are kept
_WORTH_WAITING = 3600.0  # seconds; who says longer means: not today
_DAILY = re.compile(r"per[ _-]?day|daily|tomorrow|\b[rt]pd\b|perday|midnight", re.IGNORECASE)
_TRY_IN = re.compile(r"try again in ((?:\d+(?:\.\d+)?\s*(?:ms|[smhd])\s*)+)", re.IGNORECASE)

_TOO_LONG = re.compile(
    r"context_length_exceeded|exceed_context_size|maximum context length|prompt is too long|context window"
    r"|exceeds? (?:the )?(?:available |maximum )?(?:context|number of tokens)|too many input tokens"
    r"|input (?:length|token count|is too long)|request too large|request_too_large|string_above_max_length"
    r"|reduce the length of the|too large to process|tokens must be reduced",
    re.IGNORECASE,
)
_UNSUPPORTED = re.compile(
    r"(?:image|vision|multi-?modal|audio)[^.]{0,40}(?:not supported|unsupported|not enabled)"
    r"|not a multimodal model|at most 0 image"
    r"|(?:does not|doesn't|not) support[^.]{0,40}(?:image|vision|response_format|json_schema|output.?format|schema)"
    r"|(?:image|image_url|vision)[^.]{0,30}only supported|missing data required for image input|mmproj"
    r"|(?:response_format|json_schema|output_config)[^.]{0,40}(?:not supported|unsupported)|unsupported image",
    re.IGNORECASE,
)
_NO_MONEY = re.compile(
    r"insufficient_quota|billing_hard_limit|credit balance is too low|insufficient[ _]balance|billing_error"
    r"|insufficient[ _](?:credits|funds)|payment required|billing_not_active",
    re.IGNORECASE,
)
_AUTH = re.compile(r"api[ _]key[ _](?:not valid|invalid)|invalid[ _]api[ _]key|API_KEY_INVALID", re.IGNORECASE)
_FILTERED = re.compile(r"content_policy_violation|content_filter|content management policy", re.IGNORECASE)
_PERMANENT = (
    (_NO_MONEY, "no_money"),
    (_TOO_LONG, "too_long"),
    (_UNSUPPORTED, "unsupported"),
    (_AUTH, "auth"),
    (_FILTERED, "refusal"),
)
_BY_STATUS: dict[int, Kind] = {
    401: "auth", 402: "no_money", 403: "auth", 407: "auth", 408: "timeout", 409: "server", 413: "too_long",
    425: "server", 429: "rate_limited", 501: "unsupported", 504: "timeout", 524: "timeout",
}  # fmt: skip


_BY_TYPE = {
    "invalid_request_error": 400, "authentication_error": 401, "billing_error": 402, "permission_error": 403,
    "not_found_error": 404, "request_too_large": 413, "rate_limit_error": 429, "rate_limit_exceeded": 429,
    "timeout_error": 504, "overloaded_error": 529,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Failure:
    """Why there is no answer. `message` is for people and holds no secret; `after`: the seconds that the server asks
    to wait; `sent`: the request may have been received; `status` is HTTP's, 0 where none came."""

    kind: Kind
    message: str
    retry: bool
    after: float | None = None
    sent: bool = True
    status: int = 0


def classify(family: str, got: HttpReply | TransportError | Malformed, *, now: float | None = None) -> Failure | None:
    """What went wrong in what a request came to; None for a reply of status 2xx without an error in it.

    `family` is the provider's; `now` is wall time, for a `Retry-After` that is a date.
    """
    if isinstance(got, StatusError):
        got = got.reply
    if isinstance(got, Malformed):
        return _failure("truncated" if got.cut else "malformed", str(got), status=200)
    if isinstance(got, TransportError):
        return _of_transport(got)
    if 200 <= got.status < 300 and not _holds_error(got.body):
        return None
    return _of_reply(family, got, time.time() if now is None else now)


def judge(reply: Reply) -> Failure | None:
    """What is wrong with an answer that was read: empty, or refused. An answer cut by `max_tokens` is an answer."""
    if reply.finish == "refusal":
        return _failure("refusal", _clean(f"the model refused: {reply.text}" if reply.text else "the model refused"))
    if reply.text.strip():
        return None
    if reply.finish == "length":
        return Failure("empty", "the model used all of `max_tokens` before its answer began", retry=False, status=200)
    return _failure("empty", "the model answered nothing", status=200)


def _failure(kind: Kind, message: str, after: float | None = None, *, sent: bool = True, status: int = 200) -> Failure:
    return Failure(kind, message, kind in RETRIED, after, sent, status)


def _of_transport(error: TransportError) -> Failure:
    message = _clean(str(error))
    if error.kind == "tls":  # a certificate does not become right by asking again
        return Failure("connect", message, retry=False, sent=False)
    if error.kind == "too_large":
        return Failure("malformed", message, retry=False, sent=True)
    kind: Kind = error.kind if error.kind in ("connect", "timeout", "reset") else "malformed"  # type: ignore[assignment]
    return _failure(kind, message, sent=error.sent, status=0)


def _of_reply(family: str, reply: HttpReply, now: float) -> Failure:
    error = _error_of(reply.body)
    status = _status_of(reply, error)
    message = _clean(_message_of(error, reply))
    words = f"{_words(error)} {message}"
    after = _after(reply, message, now)
    kind = _kind(family, status, words, reply)
    if kind == "rate_limited" and (_used_up(reply, words, message, after)):
        kind = "exhausted"
    retry = kind in RETRIED and not (kind == "server" and reply.headers.get("x-should-retry") == "false")
    return Failure(kind, f"{_TITLES[kind]} (status {status}): {message}", retry, after, True, status)


_TITLES: dict[Kind, str] = {
    "rate_limited": "the rate limit is reached",
    "exhausted": "the quota is used up for now",
    "server": "the server failed",
    "timeout": "the server gave up waiting",
    "connect": "no connection",
    "reset": "the connection broke",
    "malformed": "the reply makes no sense",
    "truncated": "the reply broke off",
    "empty": "the reply is empty",
    "refusal": "the provider refused the content",
    "auth": "the key was refused",
    "no_money": "the account has no money left",
    "invalid_request": "the request was refused",
    "too_long": "the request is too long",
    "unsupported": "the model cannot do this",
}


def _kind(family: str, status: int, words: str, reply: HttpReply) -> Kind:
    google = family == "gemini"
    for pattern, kind in _PERMANENT:
        if pattern.search(words) and not (google and kind == "no_money"):
            return kind  # type: ignore[return-value]
    if status in _BY_STATUS:
        return _BY_STATUS[status]
    return "server" if status >= 500 else "invalid_request"


def _used_up(reply: HttpReply, words: str, message: str, after: float | None) -> bool:
    """Whether a refusal is for the day. A daily limit that tells when the next request fits is only a long wait."""
    if after is not None and after > _WORTH_WAITING:
        return True
    names = " ".join(name for name, _ in headers.violations(headers.details_of(reply.body)))
    return bool(_DAILY.search(f"{words} {names}")) and not _TRY_IN.search(message)


def _after(reply: HttpReply, message: str, now: float) -> float | None:
    """The wait that is asked for: in a header, in a google.rpc.RetryInfo, or in words."""
    told = headers.retry_after(reply.headers, now)
    if told is None and b"retryDelay" in reply.body:
        told = headers.retry_info(headers.details_of(reply.body))
    if told is None and (match := _TRY_IN.search(message)):
        told = headers.seconds(match[1].replace(" ", ""))
    return told


def _holds_error(body: bytes) -> bool:
    """Whether a reply of status 200 is an error all the same, as of some gateways: an `error` and no answer."""
    start = body[:200]
    return b'"error"' in start and bool(_error_of(body, ("error",)))


def _error_of(body: bytes, names: tuple[str, ...] = ("error", "detail")) -> Any:
    """The `error` in a body of JSON: an object or a text. Some servers put it in `detail`, or at the top."""
    try:
        answer = json.loads(body[:1_000_000])
    except (ValueError, RecursionError):
        return None
    if isinstance(answer, list) and answer:
        answer = answer[0]
    if not isinstance(answer, dict):
        return None
    return next((answer[name] for name in names if answer.get(name)), answer if len(names) > 1 else None)


def _status_of(reply: HttpReply, error: Any) -> int:
    """The status of the reply, or of the error in a reply of status 200, as in a stream."""
    if reply.status >= 300:
        return reply.status
    code, kind = (error.get("code"), str(error.get("type"))) if isinstance(error, dict) else (None, "")
    return code if isinstance(code, int) and 400 <= code < 600 else _BY_TYPE.get(kind, 500)


def _message_of(error: Any, reply: HttpReply) -> str:
    if isinstance(error, dict):
        error = error.get("message") or error.get("type") or error.get("status")
    if isinstance(error, str) and error.strip():
        return error
    if 300 <= reply.status < 400:
        return "the server sends elsewhere; set the `url` of the endpoint to where it really is"
    text = reply.body[:2000].decode("utf-8", "replace").strip()
    return text if text and not text.startswith("<") else "no reason was given"


def _words(error: Any) -> str:
    """The codes of an error, which tell more reliably than its message."""
    if not isinstance(error, dict):
        return ""
    return " ".join(str(error[name]) for name in ("code", "type", "status") if isinstance(error.get(name), str))


def _clean(message: str) -> str:
    """One line without secrets and what cannot be printed, of bounded length."""
    shown = "".join(c if c.isprintable() else " " for c in conceal(message[: 20 * _LONGEST]))
    text = " ".join(shown.split())
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"
