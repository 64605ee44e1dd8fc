"""What faults look like: answers that are not what was asked for, and replies that do not arrive as they should."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from batchmill.testing.fake_llm.asked import Answer, Finish, count_tokens
from batchmill.testing.fake_llm.wire import Ending, Reply

REFUSAL = "I'm sorry, but I can't help with that."
HTML = b"<!doctype html><html><body><h1>502 Bad Gateway</h1></body></html>"
MESSAGES = {
    "rate_limited": "Rate limit reached. Please try again in 1s.",
    "rate_limited_date": "Rate limit reached. Please try again in 1s.",
    "server": "The server had an error while processing your request.",
    "unavailable": "The engine is currently overloaded, please try again later.",
    "auth": "Incorrect API key provided.",
    "no_money": "You exceeded your current quota, please check your plan and billing details.",
    "day_limit": "Rate limit reached on requests per day (RPD): Limit 200, Used 200, Requested 1. "
    "Please try again in 23h12m0s.",
    "invalid_request": "Invalid value for one of the parameters.",
    "too_long": "This model's maximum context length is {context} tokens. However, your messages resulted in "
    "{tokens} tokens. Please reduce the length of the messages.",
    "no_model": "The model does not exist or you do not have access to it.",
    "no_images": "image input is not supported - hint: if this is unexpected, you may need to provide the mmproj",
}
WAITS = {"rate_limited": 1.0, "rate_limited_date": 1.0, "day_limit": 83_520.0}


def _answer(text: str, answer: Answer, finish: Finish = "stop") -> Answer:
    tokens = count_tokens(text)
    return replace(answer, text=text, finish=finish, tokens_out=tokens, usage=(answer.tokens_in, tokens))


def _invalid(answer: Answer) -> Answer:
    return _answer('{"unexpected": ["not", "the", "schema"]}', answer)


def _length(answer: Answer) -> Answer:
    return _answer(answer.text[: max(1, len(answer.text) // 2)], answer, "length")


def _wrong_usage(answer: Answer) -> Answer:
    return replace(answer, usage=(0, 3 * answer.tokens_out + 1000))


ANSWERS: dict[str, Callable[[Answer], Answer]] = {
    "empty": lambda answer: _answer("", answer),
    "refusal": lambda answer: _answer(REFUSAL, answer, "refusal"),
    "invalid": _invalid,
    "length": _length,
    "wrong_usage": _wrong_usage,
}


def _dripping(reply: Reply, pause: float) -> Reply:
    whole = reply.body or b"".join(reply.pieces)
    size = max(1, -(-len(whole) // 8))
    pieces = tuple(whole[start : start + size] for start in range(0, len(whole), size))
    return reply._replace(body=b"", pieces=pieces, pause=pause)


def _cut(reply: Reply) -> Reply:
    whole = reply.body or b"".join(reply.pieces)
    part = (whole[: len(whole) // 2],)
    return reply._replace(body=b"", pieces=part, length=len(whole), ending=Ending.RESET)


def _truncated(reply: Reply) -> Reply:
    if reply.pieces:
        return reply._replace(pieces=reply.pieces[: len(reply.pieces) // 2 or 1])
    return reply._replace(body=reply.body[: 2 * len(reply.body) // 3])


def spoilt(reply: Reply, fault: str, pause: float) -> Reply:
    """The reply as the fault has it; unchanged for a fault that is not about bytes."""
    if fault == "drip":
        return _dripping(reply, pause)
    if fault == "cut":
        return _cut(reply)
    if fault == "truncated":
        return _truncated(reply)
    if fault == "html":
        return Reply(200, HTML, reply.headers, "text/html", reply.delay)
    return reply
