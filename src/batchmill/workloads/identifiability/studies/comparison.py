"""The report of a run of `identifiability` jobs: models against configurations, and what changed a verdict and why."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from batchmill.workloads.identifiability.studies import markdown

OPTIONS = (
    "nonzero_input_derivatives",
    "unknown_input_derivatives",
    "known_initial_conditions",
    "known_parameters",
    "parameters_only",
    "options_file",
)
_SHORT = {
    "nonzero_input_derivatives": "input derivatives",
    "unknown_input_derivatives": "unknown-input derivatives",
    "known_initial_conditions": "known x(0)",
    "known_parameters": "known parameters",
    "parameters_only": "parameters only",
    "options_file": "options",
}

_ABSENT = "as in the model"


class Record(Protocol):
    """What is read of a job that ended."""

    @property
    def name(self) -> str:
        """The job's name."""

    @property
    def params(self) -> Mapping[str, Any]:
        """Its parameters."""

    @property
    def state(self) -> str:
        """How it ended."""

    @property
    def result(self) -> Any:
        """What it found; None unless it succeeded."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What one job found, as far as comparisons need it."""

    model: str
    options: Mapping[str, str]  # by option, as text; options at their default are absent
    unknowns: int
    rank: int
    identifiable: frozenset[str]
    nonidentifiable: frozenset[str]
    observable: frozenset[str]
    unobservable: frozenset[str]

    @property
    def dimension(self) -> int:
        """Of the null space."""
        return self.unknowns - self.rank

    @property
    def configuration(self) -> str:
        """The label of the options; of an options file its stem."""
        parts = (v if name == "options_file" else f"{_SHORT[name]}: {v}" for name, v in self.options.items())
        return "; ".join(parts) or "default"

    @property
    def verdict(self) -> str:
        """Rank of unknowns, and the parameters that are not identifiable."""
        return f"{self.rank} of {self.unknowns}"


def report(records: Iterable[Record]) -> str:
    """The section of `report.md`: categories, the table of models and configurations, changes, unusable models."""
    findings, failed = _sort(records)
    lines = [*_categories(findings), *_comparison(findings), *_changes(findings), *_unusable(failed)]
    return "\n".join(lines) or "No job ended with a verdict."


def _sort(records: Iterable[Record]) -> tuple[list[Finding], list[Record]]:
    """One finding for each model and configuration (repetitions agree), and the jobs without one."""
    findings: dict[tuple[str, str], Finding] = {}
    failed = []
    for record in records:
        if isinstance(record.result, dict):
            found = finding(record.params, record.result)
            findings.setdefault((found.model, found.configuration), found)
        else:
            failed.append(record)
    return _labelled(list(findings.values())), failed


def _labelled(findings: list[Finding]) -> list[Finding]:
    """With the stems of options files in place of their paths, where no other file has the same stem."""
    paths = {found.options["options_file"] for found in findings if "options_file" in found.options}
    shared = Counter(Path(path).stem for path in paths)
    labels = {path: Path(path).stem for path in paths if shared[Path(path).stem] == 1}
    return [
        replace(
            found,
            options={name: labels.get(v, v) if name == "options_file" else v for name, v in found.options.items()},
        )
        for found in findings
    ]


def finding(params: Mapping[str, Any], result: Mapping[str, Any]) -> Finding:
    """A result as comparisons see it."""
    return Finding(
        model=str(params["model"]),
        options={name: text for name in OPTIONS if (text := _spelt(name, params.get(name)))},
        unknowns=result["n_unknowns"],
        rank=result["rank"],
        identifiable=frozenset(result["locally_identifiable_parameters"]),
        nonidentifiable=frozenset(result["nonidentifiable_parameters"]),
        observable=frozenset(result["observable_states"]),
        unobservable=frozenset(result["unobservable_states"]),
    )


def _spelt(option: str, value: Any) -> str:
    if value is None or value is False or value == "default":
        return ""
    if isinstance(value, dict):
        return ", ".join(f"{name} = {given}" for name, given in value.items()) or "none"
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    return value if isinstance(value, str) else json.dumps(value)


def _by_model(findings: Iterable[Finding]) -> dict[str, list[Finding]]:
    grouped: dict[str, list[Finding]] = defaultdict(list)
    for found in findings:
        grouped[found.model].append(found)
    return grouped


def _categories(findings: list[Finding]) -> list[str]:
    if not findings:
        return []
    by_dimension: dict[int, list[Finding]] = defaultdict(list)
    for found in findings:
        by_dimension[found.dimension].append(found)
    rows = [
        (dimension, _meaning(dimension), len(group), markdown.names(_first(dict.fromkeys(f.model for f in group))))
        for dimension, group in sorted(by_dimension.items())
    ]
    header = ("null-space dimension", "meaning", "analyses", "models")
    return ["### By null-space dimension", "", *markdown.table(header, rows), ""]


def _meaning(dimension: int) -> str:
    if dimension == 0:
        return "everything is locally identifiable and observable"
    return f"{dimension} direction{'s' * (dimension > 1)} in which unknowns change together unseen"


def _first(names: Iterable[str], most: int = 12) -> list[str]:
    given = list(names)
    return given if len(given) <= most else [*given[:most], f"{len(given) - most} more"]


def _comparison(findings: list[Finding]) -> list[str]:
    configurations = list(dict.fromkeys(found.configuration for found in findings))
    rows = []
    for model, group in _by_model(findings).items():
        cells = {found.configuration: _cell(found) for found in group}
        rows.append((f"`{model}`", *(cells.get(configuration, "") for configuration in configurations)))
    if not rows:
        return []
    words = "Rank of unknowns; in brackets the parameters and states that are not determined."
    return ["### Models and configurations", "", words, "", *markdown.table(("model", *configurations), rows), ""]


def _cell(found: Finding) -> str:
    lost = [*sorted(found.nonidentifiable), *sorted(found.unobservable)]
    everything = "all parameters" if found.dimension else "all"
    return f"{found.verdict} ({', '.join(_first(lost, 8))})" if lost else f"{found.verdict}, {everything}"


def _changes(findings: list[Finding]) -> list[str]:
    told = []
    for model, group in _by_model(findings).items():
        reference = min(group, key=_distance)
        told += [f"- `{model}`: {text}" for other in group if (text := change(reference, other))]
    if len({found.configuration for found in findings}) < 2:
        return []
    more = [f"- ... and {len(told) - markdown.MOST_ROWS:,} more changes"] if len(told) > markdown.MOST_ROWS else []
    same = ["No option changed a verdict."] if not told else []
    return ["### What changed its verdict, and why", "", *same, *told[: markdown.MOST_ROWS], *more, ""]


def _distance(found: Finding) -> int:
    """How far a configuration is from assuming nothing."""
    return sum(value not in ("generic", "free") for value in found.options.values())


def change(before: Finding, after: Finding) -> str:
    """What differs between two verdicts on a model, in words; empty when nothing does."""
    moved = list(_moved(before, after))
    if not moved and before.rank - before.unknowns == after.rank - after.unknowns:
        return ""
    options = ", ".join(_differing(before.options, after.options))
    return f"{options or 'under other conditions'}: {'; '.join([_why(before, after), *moved])}"


def _differing(before: Mapping[str, str], after: Mapping[str, str]) -> Iterator[str]:
    for name in OPTIONS:
        old, new = before.get(name, _ABSENT), after.get(name, _ABSENT)
        if old != new:
            yield f"{_SHORT[name]} {old} → {new}"


def _moved(before: Finding, after: Finding) -> Iterator[str]:
    # names that one of them leaves out, as known or as states, count on neither side
    for words, gained, lost in (
        ("identifiable", before.nonidentifiable & after.identifiable, before.identifiable & after.nonidentifiable),
        ("observable", before.unobservable & after.observable, before.observable & after.unobservable),
    ):
        if gained:
            yield f"now {words} {markdown.names(sorted(gained))}"
        if lost:
            yield f"no longer {words} {markdown.names(sorted(lost))}"


def _why(before: Finding, after: Finding) -> str:
    """The change in unknowns and in what the outputs fix."""
    gained, fewer = after.rank - before.rank, before.unknowns - after.unknowns
    parts = [f"rank {before.rank} → {after.rank}"]
    if fewer:
        parts.append(f"{abs(fewer)} {'fewer' if fewer > 0 else 'more'} unknown{'s' * (abs(fewer) > 1)}")
    if gained or not fewer:
        words = "more" if gained > 0 else "fewer" if gained < 0 else "as many"
        count = f"{abs(gained)} " if gained else ""
        parts.append(f"the outputs fix {count}{words} combination{'s' * (abs(gained) != 1)} of them")
    return f"{', '.join(parts)} (null space {before.dimension} → {after.dimension})"


def _unusable(failed: list[Record]) -> list[str]:
    if not failed:
        return []
    rows = [(f"`{record.params.get('model', record.name)}`", f"`{record.name}`", record.state) for record in failed]
    header = ("model", "job", "state")
    return ["### Without a verdict", "", "Why is told with the failures.", "", *markdown.table(header, rows), ""]
