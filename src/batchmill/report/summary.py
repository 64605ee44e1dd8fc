"""What a run comes to as a whole: `summary.json`, `results.csv` and `report.md` in its folder, and the same as a dict.

Version 1 of `summary.json`: `schema_version`, `run` (its id), `name`, `task`, `state`, `reason`, `started`,
`finished` (ISO 8601, UTC), `total` (jobs planned), `success_count` (with cached ones), `failure_count`,
`skipped_count`, `cancelled_count`, `cached_count`, `retried_count`, `pending_count`, `success_rate` (of the jobs that
ended, 0 to 1), `total_time` (seconds in which a driver was alive), `spent` (US dollars, what is possibly billed
counts in full), `calls` (null, or the sums over metered requests: `report.billing`), `statistics` (wall and CPU
seconds, memory in bytes), `metrics`, `groups`, `successful` (names), `failed` (name, kind, message).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain, islice
from pathlib import Path
from typing import Any, NamedTuple, TextIO

from batchmill.model.limits import MICRO_CENTS_PER_USD
from batchmill.model.tasks import Metric
from batchmill.report import markdown
from batchmill.report.billing import Billing, add_up, record
from batchmill.report.encode import json_text
from batchmill.report.exports import export
from batchmill.report.files import written_whole
from batchmill.report.query import RunView
from batchmill.report.records import RunInfo, iso
from batchmill.report.statistics import Extreme, Statistics, Summary, collect

SCHEMA_VERSION = 1
MOST_NAMES = 1000
FILES = {"json": "summary.json", "csv": "results.csv", "md": "report.md"}


class Facts(NamedTuple):
    """What every summary is made of, as of one tick."""

    info: RunInfo
    counts: Mapping[str, int]
    groups: Mapping[str, Mapping[str, int]]
    statistics: Statistics
    columns: Mapping[str, Metric]  # what the task says of its metrics
    billing: Billing | None = None

    @property
    def spent(self) -> int:
        """Micro-cents that count against the budget."""
        return self.info.spent if self.billing is None else self.billing.total.spent


def gather(view: RunView, columns: Iterable[Metric] = ()) -> Facts:
    """Read what a summary needs: counters at one moment, and the statistics of the jobs as of then."""
    with view.at_once():
        info, counts, groups, calls = view.info, view.counts(), view.groups(), view.call_groups()
    described = {column.name: column for column in columns}
    billing = add_up(calls, info.wall_s or 0.0)
    return Facts(info, counts, groups, collect(view, as_of=info.tick), described, billing)


def summarise(view: RunView, *, columns: Iterable[Metric] = (), names: int = MOST_NAMES) -> dict[str, Any]:
    """The summary as a dict, with at most `names` of `successful` and of `failed`: `summary.json` holds them all.

    `columns` are the task's descriptions of its metrics (`unit`, `label`, `better`).
    """
    facts = gather(view, columns)
    tick = facts.info.tick
    return head(facts) | {
        "successful": list(islice(chain.from_iterable(_successful(view, tick)), names)),
        "failed": list(islice(chain.from_iterable(_failed(view, tick)), names)),
    }


def write_reports(
    view: RunView,
    formats: Iterable[str] = ("json", "csv", "md"),
    *,
    columns: Iterable[Metric] = (),
    facts: Facts | None = None,
) -> list[Path]:
    """Write the files of these formats into the run's folder; their paths. Raises HomeError, LedgerError.

    `facts` are those of `gather`, where the caller has them already.
    """
    wanted = [name for name in FILES if name in set(formats)]
    if facts is None and wanted != ["csv"]:
        facts = gather(view, columns)
    paths = [view.run_folder / FILES[name] for name in wanted]
    for name, path in zip(wanted, paths, strict=True):
        with written_whole(path, view.run_folder) as out:
            if facts is None or name == "csv":
                export(view, "csv", out)
            else:
                _WRITERS[name](view, facts, out)
    return paths


def rewrite_reports(view: RunView) -> list[Path]:
    """Write those of a run's summaries again that it has, after its requests were settled; their paths."""
    formats = [name for name, file in FILES.items() if name != "csv" and (view.run_folder / file).is_file()]
    return write_reports(view, formats, columns=_described(view.run_folder / FILES["json"]))


def _described(summary: Path) -> list[Metric]:
    """What the task said of its metrics, as far as a summary holds it: the task itself may be gone."""
    try:
        metrics = json.loads(summary.read_bytes())["metrics"]
        return [Metric(name, about["unit"], about["label"], about["better"]) for name, about in metrics.items()]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return []


def head(facts: Facts) -> dict[str, Any]:
    """The summary without the lists of names."""
    info, counts, found = facts.info, facts.counts, facts.statistics
    return {
        "schema_version": SCHEMA_VERSION,
        "run": info.id,
        "name": info.name,
        "task": info.task,
        "state": info.state,
        "reason": info.reason,
        "started": iso(info.started),
        "finished": iso(info.finished),
        "total": info.planned,
        **_tally(counts),
        "total_time": info.wall_s,
        "spent": facts.spent / MICRO_CENTS_PER_USD,
        "calls": record(facts.billing),
        "statistics": {
            "wall_s": _column(found.wall),
            "cpu_s": _column(found.cpu),
            "peak_rss_bytes": _column(found.memory),
            "fastest": _extreme(found.fastest),
            "slowest": _extreme(found.slowest),
        },
        "metrics": {name: _metric(name, facts) for name in found.metrics},
        "groups": {name: _group(name, facts) for name in facts.groups if name},
    }


def success_rate(counts: Mapping[str, int]) -> float | None:
    """The share of the jobs that ended which succeeded; None when none ended."""
    ended = sum(counts[state] for state in ("succeeded", "failed", "skipped", "cancelled"))
    return counts["succeeded"] / ended if ended else None


def _tally(counts: Mapping[str, int]) -> dict[str, Any]:
    return {
        "success_count": counts["succeeded"],
        "failure_count": counts["failed"],
        "skipped_count": counts["skipped"],
        "cancelled_count": counts["cancelled"],
        "cached_count": counts["cached"],
        "retried_count": counts["retried"],
        "pending_count": counts["pending"],
        "success_rate": success_rate(counts),
    }


def _group(name: str, facts: Facts) -> dict[str, Any]:
    counts = facts.groups[name]
    ran, seconds = facts.statistics.groups.get(name, (0, 0.0))
    total = sum(counts[state] for state in ("pending", "succeeded", "failed", "skipped", "cancelled"))
    return {"total": total, **_tally(counts), "wall_s_mean": seconds / ran if ran else None}


def _column(summary: Summary | None) -> dict[str, Any] | None:
    return None if summary is None else summary._asdict()


def _metric(name: str, facts: Facts) -> dict[str, Any]:
    described = facts.columns.get(name, Metric(name))
    about = {"unit": described.unit, "label": described.label or name, "better": described.better}
    return about | facts.statistics.metrics[name]._asdict()


def _extreme(extreme: Extreme | None) -> dict[str, Any] | None:
    return None if extreme is None else extreme._asdict()


def _successful(view: RunView, tick: int) -> Iterator[list[str]]:
    """Pages of names."""
    for page in view.pages("number, name", "succeeded", as_of=tick):
        yield [name for _, name in page]


def _failed(view: RunView, tick: int) -> Iterator[list[dict[str, Any]]]:
    """Pages of names, kinds and messages."""
    for page in view.pages("number, name, coalesce(kind, 'error'), coalesce(message, '')", "failed", as_of=tick):
        yield [{"name": name, "kind": kind, "message": message} for _, name, kind, message in page]


def _write_json(view: RunView, facts: Facts, out: TextIO) -> None:
    out.write(json_text(head(facts), indent=2).removesuffix("\n}"))
    tick = facts.info.tick
    lists: dict[str, Iterator[list[Any]]] = {"successful": _successful(view, tick), "failed": _failed(view, tick)}
    for name, pages in lists.items():
        out.write(f',\n  "{name}": [')
        separator = "\n    "
        for page in pages:
            out.write(separator + ",\n    ".join(map(json_text, page)))
            separator = ",\n    "
        out.write("\n  ]")
    out.write("\n}\n")


def _write_markdown(view: RunView, facts: Facts, out: TextIO) -> None:
    sections = [(hook.task, hook.result) for hook in view.hooks() if hook.hook == "report"]
    details = markdown.Details(
        failures=view.failures_by_kind(),
        retried=view.most_retried(20),
        cached_from=view.cached_from(),
        sections=[(task, text) for task, text in sections if isinstance(text, str)],
        billing=facts.billing,
    )
    markdown.write(out, head(facts), details)


_WRITERS = {"json": _write_json, "md": _write_markdown}
