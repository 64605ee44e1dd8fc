"""Results as plain text for the terminal: a table of verdicts, and what is known of each model."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

_MOST_SETS = 6  # of each kind of advice


def verdict_table(results: Sequence[Mapping[str, Any]]) -> str:
    """A line for each result."""
    header = ("model", "rank", "unknowns", "null space", "identifiable", "ms")
    rows = [
        (
            printable(result["model"]),
            str(result["rank"]),
            str(result["n_unknowns"]),
            str(result["nullspace_dimension"]),
            f"{len(result['locally_identifiable_parameters'])}/{_parameters(result)}",
            f"{1e3 * result['engine_s']:.1f}",
        )
        for result in results
    ]
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    lines = []
    for row in (header, *rows):
        numbers = (cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))
        lines.append("  ".join([row[0].ljust(widths[0]), *numbers]))
    return "\n".join(lines)


def _parameters(result: Mapping[str, Any]) -> int:
    return len(result["locally_identifiable_parameters"]) + len(result["nonidentifiable_parameters"])


def details(result: Mapping[str, Any]) -> str:
    """What is known of one model, in lines of a word and its names."""
    pairs = [pair for pair in _pairs(result) if pair[1]]
    width = max((len(word) for word, _ in pairs), default=0)
    return "\n".join([_headline(result), *(f"  {word.ljust(width)}  {text}" for word, text in pairs)])


def _headline(result: Mapping[str, Any]) -> str:
    name, dimension = printable(result["model"]), result["nullspace_dimension"]
    if dimension == 0:
        return f"{name}: everything is locally identifiable and observable (rank {result['rank']})"
    directions = f"{dimension} direction{'s' * (dimension > 1)}"
    return f"{name}: rank {result['rank']} of {result['n_unknowns']}; {directions} in which unknowns change unseen"


def _pairs(result: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    yield "identifiable", ", ".join(result["locally_identifiable_parameters"])
    yield "not identifiable", ", ".join(result["nonidentifiable_parameters"])
    yield "known", ", ".join(result.get("known_parameters") or ())
    yield "observable", ", ".join(result["observable_states"])
    yield "unobservable", ", ".join(result["unobservable_states"])
    yield "observable inputs", ", ".join(result.get("observable_unknown_inputs") or ())
    yield "combinations", _combinations(result)
    yield "symmetries", " | ".join(map(_symmetry, result.get("symmetries") or ()))
    yield "not proved", _unproved(result)
    yield from _advice(result.get("advice") or {})
    yield from _global(result.get("global_identifiability") or {})


def _combinations(result: Mapping[str, Any]) -> str:
    found, expected = result.get("combinations_found"), result.get("combinations_expected")
    if not expected:
        return ""
    names = ", ".join(result.get("identifiable_combinations") or ()) or "none"
    return f"{names}  (found {found} of {expected})"


def _symmetry(symmetry: Mapping[str, Any]) -> str:
    """What can change unseen: `a*c, b/c` for any c; other fields by their components."""
    if symmetry["kind"] == "unseen":
        return f"{', '.join(symmetry['generator'])} unseen"
    if symmetry["weights"]:
        return ", ".join(_scaled(name, weight) for name, weight in symmetry["weights"].items())
    return ", ".join(f"{name}' = {component}" for name, component in symmetry["generator"].items())


def _scaled(name: str, weight: int) -> str:
    return f"{name}{'*' if weight > 0 else '/'}c{f'**{abs(weight)}' if abs(weight) > 1 else ''}"


def _unproved(result: Mapping[str, Any]) -> str:
    """What is not identifiable with high probability only. Nothing where symmetries were not searched."""
    proved = result.get("proved_nonidentifiable")
    hidden = [*result["nonidentifiable_parameters"], *result["unobservable_states"]]
    return "" if proved is None else ", ".join(name for name in hidden if name not in proved)


def _advice(advice: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for key, word, form in (
        ("fix_parameters", "fix", "{}"),
        ("measure_states", "or measure", "{}"),
        ("know_initial_conditions", "or know", "{}(0)"),
    ):
        means = advice.get(key) or {}
        sets = [" and ".join(form.format(name) for name in members) for members in means.get("minimal", ())]
        more = f" | {len(sets) - _MOST_SETS} more" if len(sets) > _MOST_SETS else ""
        yield word, " | ".join(sets[:_MOST_SETS]) + more


def _global(verdict: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    words = {**verdict.get("parameters", {}), **verdict.get("states", {})}
    for word in ("globally", "locally only", "undecided"):
        yield word, ", ".join(name for name, its in words.items() if its == word)
    yield "why undecided", printable(verdict.get("reason", ""))


def printable(text: str) -> str:
    """Text of strangers in one line, without control characters."""
    return "".join(c if c.isprintable() else "?" for c in " ".join(str(text).split()))


def lines_of(parts: Iterable[str]) -> str:
    """Paragraphs with blank lines between."""
    return "\n\n".join(part for part in parts if part)
