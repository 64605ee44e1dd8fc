"""What a run's metered requests come to: how many left, their tokens and cost, what may be billed without an answer.

Every figure is a sum over the rows of `calls`, so that the report, the exports and the ledger cannot differ.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from batchmill.model.limits import MICRO_CENTS_PER_USD
from batchmill.model.text import money_text, number_text
from batchmill.report.records import CallGroup


@dataclass(slots=True)
class Bill:
    """Sums over requests; money in integer micro-cents.

    `sent` left: `answered`, `open` (in flight) or `unanswered` (possibly billed: their driver, worker or connection
    died). `failures` are answered ones that brought an error. `released` never left; `cached` need not.
    Of the answered, `unpriced` ones came from models whose price is unknown.
    `spent` is the true cost of what was answered and the most that the rest can cost.
    """

    answered: int = 0
    failures: int = 0
    open: int = 0
    unanswered: int = 0
    released: int = 0
    cached: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    cost: int = 0
    possibly_billed: int = 0
    unpriced: int = 0

    @property
    def sent(self) -> int:
        """Requests that left."""
        return self.answered + self.open + self.unanswered

    @property
    def spent(self) -> int:
        """What counts against the budget."""
        return self.cost + self.possibly_billed

    def add(self, group: CallGroup) -> None:
        """Take in requests of one state."""
        match group.state:
            case "settled":
                self.answered += group.requests
                self.failures += group.failures
                self.cost += group.cost
                self.unpriced += group.unpriced
                self.tokens_in += group.tokens_in
                self.tokens_out += group.tokens_out
            case "cached":
                self.cached += group.requests
            case "released":
                self.released += group.requests
            case "reserved":
                self.open += group.requests
                self.possibly_billed += group.cost
            case _:
                self.unanswered += group.requests
                self.possibly_billed += group.cost


@dataclass(frozen=True, slots=True)
class Billing:
    """The bill of a run, and its parts by model, by group of jobs and by stage of a cascade."""

    total: Bill
    models: dict[str, Bill]
    groups: dict[str, Bill]
    stages: dict[str, Bill]
    seconds: float  # in which a driver was alive

    @property
    def tokens_per_second(self) -> float | None:
        """Tokens in and out, over the time in which a driver was alive."""
        tokens = self.total.tokens_in + self.total.tokens_out
        return tokens / self.seconds if self.seconds and tokens else None


def add_up(groups: Iterable[CallGroup], seconds: float) -> Billing | None:
    """The bill of a run that was worked on for so many seconds; None when it had no metered request."""
    rows = list(groups)
    if not rows:
        return None
    total = Bill()
    for row in rows:
        total.add(row)
    told = {row.model for row in rows if row.state in ("settled", "cached")}
    return Billing(
        total,
        _by(rows, lambda row: _model(row.model, told)),
        _by(rows, lambda row: row.group),
        _by(rows, lambda row: row.stage),
        seconds,
    )


def _model(name: str, told: set[str]) -> str:
    """The model of a request. Without an answer only its quota is known, which may go on with a mark of the key."""
    before = name.rpartition("/")[0]
    return before if name not in told and before in told else name


def _by(rows: Sequence[CallGroup], name: Callable[[CallGroup], str]) -> dict[str, Bill]:
    bills: dict[str, Bill] = {}
    for row in rows:
        bills.setdefault(name(row), Bill()).add(row)
    return {name: bills[name] for name in sorted(bills) if name}


def record(billing: Billing | None) -> dict[str, Any] | None:
    """As it stands in `summary.json`: money in US dollars."""
    if billing is None:
        return None
    parts = {"models": billing.models, "groups": billing.groups, "stages": billing.stages}
    total = _record(billing.total) | {"tokens_per_second": billing.tokens_per_second}
    return total | {part: {name: _record(bill) for name, bill in bills.items()} for part, bills in parts.items()}


def _record(bill: Bill) -> dict[str, Any]:
    return {
        "requests": bill.sent,
        "answered": bill.answered,
        "failures": bill.failures,
        "in_flight": bill.open,
        "cache_hits": bill.cached,
        "tokens_in": bill.tokens_in,
        "tokens_out": bill.tokens_out,
        "cost": bill.cost / MICRO_CENTS_PER_USD,
        "unpriced_requests": bill.unpriced,
        "possibly_billed_requests": bill.unanswered,
        "possibly_billed": bill.possibly_billed / MICRO_CENTS_PER_USD,
    }


HEADER = ("", "requests", "errors", "cache hits", "tokens in", "tokens out", "cost", "possibly billed")


def rows(billing: Billing) -> list[tuple[str, ...]]:
    """The bill as rows under `HEADER`: all, then each model, and groups and stages where there are several."""
    lines = [("all", *_cells(billing.total))]
    for bills in (billing.models, billing.groups, billing.stages):
        if len(bills) > 1 or bills is billing.models:
            lines += [(name, *_cells(bill)) for name, bill in bills.items()]
    return lines


def _cells(bill: Bill) -> tuple[str, ...]:
    counts = (bill.sent, bill.failures, bill.cached, bill.tokens_in, bill.tokens_out)
    waiting = bill.unanswered + bill.open
    possibly = f"{money_text(bill.possibly_billed)} ({waiting:,})" if waiting else "-"
    return (*(number_text(count) for count in counts), cost_text(bill), possibly)


def cost_text(bill: Bill) -> str:
    """What answers cost, such as `0.07 USD`, and how many of them have no known price."""
    if not bill.unpriced:
        return money_text(bill.cost)
    unknown = f"{bill.unpriced:,} at an unknown price"
    return f"{money_text(bill.cost)}, {unknown}" if bill.cost else unknown
