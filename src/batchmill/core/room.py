"""Memory admission: whether one more attempt fits into what all workers may use."""

from __future__ import annotations


class Room:
    """Adds up what running attempts take (the larger of what they may and what was sampled).

    `total` is the cap in bytes (None: no cap); `reserve` is what the machine must keep available.
    """

    def __init__(self, total: int | None, reserve: int = 0) -> None:
        self.total = total
        self.reserve = reserve
        self.available: int | None = None
        self.sampled: dict[int, int] = {}
        self._expected: dict[int, int] = {}
        self._peaks: dict[str, int] = {}

    def estimate(self, task: str, memory: int | None) -> int:
        """What an attempt is expected to take: its limit, else the highest peak seen of its task."""
        return memory if memory is not None else self._peaks.get(task, 0)

    def admits(self, estimate: int) -> bool:
        """Whether an attempt of that size may start now. One attempt alone always may."""
        if not self._expected:
            return True
        if self.available is not None and self.available < self.reserve:
            return False
        return self.total is None or self.used + estimate <= self.total

    @property
    def used(self) -> int:
        """Bytes taken or promised now."""
        return sum(max(n, self.sampled.get(slot, 0)) for slot, n in self._expected.items())

    def enter(self, slot: int, estimate: int) -> None:
        """An attempt of that size starts in a slot."""
        if estimate >= self._expected.get(slot, 0):
            self._expected[slot] = estimate

    def leave(self, slot: int, task: str, peak: int) -> None:
        """A slot is empty again; its last attempt reached `peak`."""
        self._expected.pop(slot, None)
        self.sampled.pop(slot, None)
        if peak > self._peaks.get(task, 0):
            self._peaks[task] = peak

    def sample(self, rss: tuple[tuple[int, int], ...], available: int) -> None:
        """Take in what was measured."""
        self.sampled = {slot: n for slot, n in rss if slot in self._expected}
        self.available = available
