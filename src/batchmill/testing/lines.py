"""Events, commands and facts as lines of text: short, complete enough to compare two runs, stable."""

from __future__ import annotations

from typing import Any

from batchmill.model.jobs import Row, SavedStep
from batchmill.model.outcomes import Outcome


def line(at: float, item: Any) -> str:
    """One line: the time in seconds, what it is, and its fields."""
    fields = item._asdict() if hasattr(item, "_asdict") else {}
    parts = [f"{name}={_text(value)}" for name, value in fields.items() if name != "at" and _told(value)]
    return " ".join([f"{at:.6f}", type(item).__name__, *parts])


def _told(value: Any) -> bool:
    return value is not None and value != "" and value != ()


def _text(value: Any) -> str:
    if isinstance(value, Row):
        return str(value.job)
    if isinstance(value, Outcome):
        return f"{value.state}:{value.kind}" if value.kind else str(value.state)
    if isinstance(value, SavedStep):
        return value.name
    if isinstance(value, float):
        return f"{value:.6f}"
    if isinstance(value, tuple):
        return "[" + ",".join(map(_text, value)) + "]"
    return str(value)
