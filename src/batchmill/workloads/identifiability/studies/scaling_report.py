"""What a size-scaling study says as a whole: tables, fitted exponents, and a log-log plot."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from batchmill.workloads.identifiability.studies import markdown
from batchmill.workloads.identifiability.studies.comparison import Record
from batchmill.workloads.identifiability.studies.fits import PowerLaw, power_law

if TYPE_CHECKING:
    from batchmill import Context

Points = dict[str, list[dict[str, Any]]]
QUANTITIES = {"engine_s": "time", "memory_bytes": "memory", "derivative_order": "derivative order", "rank": "rank"}
PICTURES = ("svg", "png")


def summarise(records: Iterable[Record], ctx: Context) -> dict[str, Any]:
    """The fitted exponents; keeps the plot as `scaling.svg` and `scaling.png` where matplotlib is installed."""
    points = collect(records)
    from batchmill.workloads.identifiability.pictures import has_matplotlib, log_log, render

    if has_matplotlib() and points:
        figure = log_log(points, {label: power_law(*_columns(found, "engine_s")) for label, found in points.items()})
        for kind in PICTURES:
            ctx.artifact(f"scaling.{kind}", render(figure, kind))
    return {label: _fits(found) for label, found in points.items()}


def report(records: Iterable[Record]) -> str:
    """The section of `report.md`."""
    lines: list[str] = []
    for label, points in collect(records).items():
        lines += [f"### {markdown.cell(label)}", "", *_table(points), "", *_exponents(points), ""]
    return "\n".join(lines) or "No job ended with a measurement."


def collect(records: Iterable[Record]) -> Points:
    """The points by label, each list by size."""
    found: Points = defaultdict(list)
    for record in records:
        if isinstance(record.result, dict):
            found[record.result["label"]] += record.result["points"]
    return {label: sorted(points, key=lambda point: point["size"]) for label, points in found.items()}


def _columns(points: Sequence[Mapping[str, Any]], quantity: str) -> tuple[list[float], list[float]]:
    return [float(point["size"]) for point in points], [float(point[quantity]) for point in points]


def _fits(points: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    return {name: law._asdict() for name, law in _laws(points)}


def _laws(points: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, PowerLaw]]:
    """The fits of quantities that were seen at every size: memory often does not grow at all."""
    for name in QUANTITIES:
        sizes, values = _columns(points, name)
        law = power_law(sizes, values) if all(value > 0 for value in values) else None
        if law is not None:
            yield name, law


def _table(points: Sequence[Mapping[str, Any]]) -> list[str]:
    header = ("size", "unknowns", "rank", "null space", "derivative order", "ms", "MB more")
    rows = [
        (
            point["size"],
            point["n_unknowns"],
            point["rank"],
            point["nullspace_dimension"],
            point["derivative_order"],
            f"{1e3 * point['engine_s']:.3g}",
            f"{point['memory_bytes'] / 1e6:.1f}",
        )
        for point in points
    ]
    return markdown.table(header, rows)


def _exponents(points: Sequence[Mapping[str, Any]]) -> list[str]:
    told = [f"- {QUANTITIES[name]} grows as size^{spelt(law)}" for name, law in _laws(points)]
    return told or ["Too few sizes to fit an exponent: it takes three measurements."]


def spelt(law: PowerLaw) -> str:
    """An exponent with its interval."""
    return f"{law.exponent:.2f} (95 % confidence: {law.low:.2f} to {law.high:.2f}, {law.points} points)"
