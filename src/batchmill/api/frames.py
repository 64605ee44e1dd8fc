"""Results as a pandas DataFrame."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from batchmill.errors import UsageError

if TYPE_CHECKING:
    import pandas as pd

    from batchmill.api.runs import JobOutcome

_SCALARS = (str, int, float, bool, type(None))


def frame(outcomes: Iterable[JobOutcome]) -> pd.DataFrame:
    """One row a job. Raises UsageError when pandas is not installed."""
    try:
        import pandas as pd
    except ImportError as error:
        raise UsageError("a data frame needs pandas", hint="pip install 'batchmill[frames]'") from error
    return pd.DataFrame([_row(outcome) for outcome in outcomes])


def _row(outcome: JobOutcome) -> dict[str, Any]:
    kind, message = outcome.error or (None, None)
    row: dict[str, Any] = {"name": outcome.name, "state": outcome.state, "cached": outcome.cached}
    row |= {name: value for name, value in outcome.params.items() if name not in row}
    result = outcome.result
    scalars = result if isinstance(result, dict) else {"result": result}
    row |= {name: value for name, value in scalars.items() if isinstance(value, _SCALARS) and name not in row}
    row |= {name: value for name, value in outcome.metrics.items() if name not in row}
    return row | {
        "error_kind": kind,
        "error_message": message,
        "attempts": outcome.attempts,
        "wall_s": outcome.wall_s,
        "cpu_s": outcome.cpu_s,
        "peak_rss_bytes": outcome.peak_rss_bytes,
    }
