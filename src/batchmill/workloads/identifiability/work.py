"""A budget of work that is counted, not timed: the same input comes to the same end on any machine."""

from __future__ import annotations


class OutOfWork(Exception):
    """The budget is used up."""


class Work:
    """So many operations are left; one takes roughly half a microsecond."""

    def __init__(self, limit: int) -> None:
        self.left = limit

    def spend(self, amount: int) -> None:
        """Count work that is about to be done. Raises OutOfWork instead of exceeding the budget."""
        if amount > self.left:
            self.left = 0
            raise OutOfWork
        self.left -= amount

    def spend_on_elimination(self, rows: int, width: int) -> None:
        """Count the elimination of a matrix modulo a prime. Raises OutOfWork."""
        self.spend(rows * width * (min(rows, width) + 300) // 2000)

    def spend_on_candidates(self, vectors: int, width: int) -> None:
        """Count a lattice reduction of integer vectors and the listing of their small sums. Raises OutOfWork."""
        self.spend(vectors * vectors * width // 20)
