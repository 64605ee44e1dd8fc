"""The name that was probably meant, for hints."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


def nearest(name: str, candidates: Iterable[str]) -> str | None:
    """The candidate closest to a mistyped name, or None when none is close."""
    by_folded = {candidate.casefold().replace("_", "-"): candidate for candidate in candidates}
    found = get_close_matches(name.casefold().replace("_", "-"), by_folded, n=1, cutoff=0.6)
    return by_folded[found[0]] if found else None


def did_you_mean(name: str, candidates: Iterable[str]) -> str:
    """`did you mean `x`?`, or an empty text when no candidate is close."""
    found = nearest(name, candidates)
    return f"did you mean `{found}`?" if found else ""
