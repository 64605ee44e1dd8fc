"""What runs share, on a fake clock: lends as the user's `quota.db` does, without a file, a thread or a process."""

from __future__ import annotations

from batchmill.core.lending import Day, Others, lend, lend_money
from batchmill.core.quota import Quota
from batchmill.model.commands import Borrow, MoneyAsk, QuotaAsk
from batchmill.model.events import Lent, QuotaLent

ACTIVE = 2.0  # seconds after its last question that a run counts as a user of a quota


class SimulatedLender:
    """Answers the questions of several invocations, told apart by numbers. All of it is one day."""

    def __init__(self) -> None:
        self.quotas: dict[str, Quota] = {}
        self.dead: set[int] = set()
        self._users: dict[tuple[str, int], tuple[int, int, float]] = {}  # lent, wanted, asked at
        self._money: dict[int, tuple[int, int]] = {}  # spent, held

    def answer(self, number: int, question: Borrow, now: float) -> Lent:
        """Take in what an invocation tells, and lend what it asks for."""
        quotas = tuple(self._lend(number, one, now) for one in question.quotas)
        money, most = (None, None) if question.money is None else self._lend_money(number, question.money)
        return Lent(now, quotas, money, most)

    def died(self, number: int, spent: int) -> None:
        """An invocation was killed; its ledger says that it spent so much at most."""
        self.dead.add(number)
        told, held = self._money.get(number, (0, 0))
        self._money[number] = (told, max(0, min(held, spent - told)))

    def _lend(self, number: int, ask: QuotaAsk, now: float) -> QuotaLent:
        others = [
            user for (quota, who), user in self._users.items() if quota == ask.quota and who not in {number, *self.dead}
        ]
        active = [(lent, wanted) for lent, wanted, asked in others if wanted and asked > now - ACTIVE]
        hungry, starving = any(wanted > lent for lent, wanted in active), any(not lent for lent, _ in active)
        around = Others(sum(lent for lent, _, _ in others), len(active), hungry, starving)
        lent = lend(self.quotas.setdefault(ask.quota, Quota()), ask, around, now)
        self._users[ask.quota, number] = (max(lent.slots or 0, ask.open), ask.slots, now)
        return lent

    def _lend_money(self, number: int, ask: MoneyAsk) -> tuple[int, int | None]:
        others = [(who, *row) for who, row in self._money.items() if who != number]
        lost = sum(held for who, _, held in others if who in self.dead)
        day = Day(sum(spent for _, spent, _ in others), sum(held for _, _, held in others), lost)
        limit, most = lend_money(ask, day, ask.spent)
        self._money[number] = (ask.spent, limit - ask.spent)
        return limit, most
