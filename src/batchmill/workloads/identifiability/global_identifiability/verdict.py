"""What a global analysis says: the words, and the record that holds them. How they are found is elsewhere."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

Word = Literal["globally", "locally only", "not identifiable", "undecided"]
Certainty = Literal["probable", "one point", "none"]
Method = Literal["transfer function", "Taylor system", "none"]


@dataclass(frozen=True, slots=True)
class GlobalVerdict:
    """One word for each parameter and each state (its initial value), and how far to trust them.

    `globally`: generically one value fits; `locally only`: finitely many, but more than one over the complex numbers;
    `not identifiable`: infinitely many. `certainty` is `probable` where two random points modulo two primes agree,
    `one point` where time allowed one, `none` where nothing was decided. `reason` says why names are undecided.
    """

    parameters: Mapping[str, Word]
    states: Mapping[str, Word]
    method: Method = "none"
    engine: str = ""
    certainty: Certainty = "none"
    reason: str = ""
    seconds: float = 0.0

    def of(self, word: Word) -> list[str]:
        """The parameters, then the states, with this word."""
        return [name for group in (self.parameters, self.states) for name, its in group.items() if its == word]

    def as_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {**asdict(self), "parameters": dict(self.parameters), "states": dict(self.states)}


def nothing_known(parameters: Iterable[str], states: Iterable[str], reason: str = "") -> GlobalVerdict:
    """All undecided."""
    word: Word = "undecided"
    return GlobalVerdict(dict.fromkeys(parameters, word), dict.fromkeys(states, word), reason=reason)
