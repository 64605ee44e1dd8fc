"""The faults there are, by name, and which of them a request gets. What a fault looks like is in `spoiling`."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence

from batchmill.testing.fake_llm import chance
from batchmill.testing.fake_llm.asked import Asked

PASSING = {  # drawn again for each attempt
    "rate_limited": "429 with `Retry-After` in seconds",
    "rate_limited_date": "429 with `Retry-After` as an HTTP date",
    "server": "500",
    "unavailable": "503",
    "hang": "no reply at all",
    "reset": "the connection is reset instead of a reply",
    "cut": "the connection is reset in the middle of the reply",
    "drip": "the reply comes slowly, in small pieces",
    "truncated": "200, and JSON that ends in the middle",
    "html": "200, and a page of HTML",
    "invalid": "200, and an answer that breaks its schema",
    "empty": "200, and an empty answer",
    "length": "200, and an answer that was cut at its limit of tokens",
    "wrong_usage": "200, and numbers of tokens that are not true",
}
LASTING = {  # an equal request gets the same again
    "refusal": "200, and the model refuses",
    "auth": "401: the key is not known",
    "no_money": "429: the quota is used up, or no money is left",
    "day_limit": "429: the limit of the day is reached, try again tomorrow",
    "invalid_request": "400",
    "too_long": "400: more tokens than the model's context",
    "no_images": "500: `image input is not supported`",
}
KINDS = PASSING | LASTING
ERRORS = frozenset(
    {"rate_limited", "rate_limited_date", "server", "unavailable", "auth", "no_money", "day_limit"}
    | {"invalid_request", "too_long", "no_images"}
)
UNBILLED = ERRORS | {"hang", "reset"}


class FaultPlan:
    """Scripts first: the next requests whatever they are, then those that hold a text; then chance."""

    def __init__(
        self,
        shares: Mapping[str, float],
        script: Iterable[str | None] | Callable[[Asked], str | None] = (),
        by_text: Mapping[str, Sequence[str | None]] | None = None,
    ) -> None:
        self._passing = _cumulative({kind: share for kind, share in shares.items() if kind in PASSING})
        self._lasting = _cumulative({kind: share for kind, share in shares.items() if kind in LASTING})
        self._told = script if callable(script) else None
        self._script = deque(() if callable(script) else script)
        self._by_text = dict(by_text or {})

    def add(self, script: Iterable[str | None]) -> None:
        """More faults for the next requests, one each; None is no fault."""
        self._script.extend(script)

    def fault_of(self, asked: Asked) -> str | None:
        """The fault of this arrival of a request, or None."""
        digest, nth, text = asked.digest, asked.nth, asked.text
        if self._script:
            return self._script.popleft()
        if self._told is not None:
            return self._told(asked)
        for needle, faults in self._by_text.items():
            if needle in text:
                return faults[nth] if nth < len(faults) else None
        if self._lasting and (kind := _drawn(self._lasting, chance.uniform(digest, chance.LASTING))):
            return kind
        return _drawn(self._passing, chance.uniform(digest, chance.FAULT, nth)) if self._passing else None


def _cumulative(shares: Mapping[str, float]) -> list[tuple[float, str]]:
    edges, total = [], 0.0
    for kind in sorted(shares):
        total += shares[kind]
        edges.append((total, kind))
    return edges


def _drawn(edges: list[tuple[float, str]], u: float) -> str | None:
    return next((kind for edge, kind in edges if u < edge), None)
