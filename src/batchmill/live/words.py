"""The facts of a live run in words: the same sentences for the terminal, plain lines and notebooks.

All text that comes from names, results and messages is clean and on one line when it leaves here.
"""

from __future__ import annotations

from batchmill.live.facts import Failed, Finished, GroupFacts, LiveFacts, RunInfoLite, Running
from batchmill.model.text import counted, duration_text, money_text, number_text, one_line, percent_text, size_text

_NAME = 48  # characters of a job's name


def title(info: RunInfoLite, facts: LiveFacts) -> str:
    """Which run this is, and for how long this invocation has worked on it."""
    return f"{one_line(info.id, _NAME)} · {one_line(info.task, _NAME)} · {duration_text(facts.elapsed)}"


def share(facts: LiveFacts) -> float:
    """The part of the jobs planned so far that ended, from 0 to 1."""
    return min(facts.done / facts.total, 1.0) if facts.total else 0.0


def progress(facts: LiveFacts) -> str:
    """Such as `450/1,000 (45%)`; with a `+` while more jobs are being planned."""
    more = "" if facts.planning_done else "+"
    return f"{facts.done:,}/{facts.total:,}{more} ({percent_text(share(facts))})"


def counts(facts: LiveFacts) -> str:
    """Such as `440 succeeded (12 cached), 3 failed, 2 skipped, 5 retried`; what is zero is left out."""
    have = facts.counts
    cached = f" ({have['cached']:,} cached)" if have.get("cached") else ""
    parts = [f"{have.get('succeeded', 0):,} succeeded{cached}", f"{have.get('failed', 0):,} failed"]
    parts += [f"{have[state]:,} {state}" for state in ("skipped", "cancelled", "retried") if have.get(state)]
    return ", ".join(parts)


def pace(facts: LiveFacts) -> str:
    """Such as `1,200 jobs/h, 3 min left, typically 1.2 s, memory 1.2 GB, spent 0.42 USD`."""
    parts = []
    if facts.jobs_per_hour is not None:
        parts.append(f"{number_text(float(f'{facts.jobs_per_hour:.3g}'))} jobs/h")
    if facts.eta:
        parts.append(f"{duration_text(facts.eta) if facts.eta >= 1 else 'under 1 s'} left")
    if facts.typical is not None:
        parts.append(f"typically {duration_text(facts.typical)}")
    if facts.memory:
        parts.append(f"memory {size_text(facts.memory)}")
    if facts.requests.answered or facts.requests.cached:
        parts.append(requests(facts))
    if facts.spent:
        parts.append(f"spent {money_text(facts.spent)}")
    return ", ".join(parts)


def requests(facts: LiveFacts) -> str:
    """Such as `1,200 requests (12 more from the cache), 340 tokens/s`."""
    cached = f" ({facts.requests.cached:,} more from the cache)" if facts.requests.cached else ""
    pace = f", {number_text(float(f'{facts.tokens_per_second:.3g}'))} tokens/s" if facts.tokens_per_second else ""
    return f"{counted(facts.requests.answered, 'request')}{cached}{pace}"


def holding(facts: LiveFacts) -> str:
    """Why nothing more starts, or why the run ends early; empty when it just runs."""
    reasons = ", ".join(one_line(reason, 80) for reason in facts.waiting)
    waiting = f"waiting: {reasons}" if reasons else ""
    return "; ".join(part for part in (one_line(facts.stopping, 120), waiting) if part)


def running(attempt: Running) -> str:
    """Such as `bolie_d1 12.0 s, 30/100 fitting, 120 MB, attempt 2`."""
    parts = [f"{one_line(attempt.job, _NAME)} {duration_text(attempt.seconds)}"]
    if attempt.done is not None:
        of = "" if attempt.total is None else f"/{number_text(attempt.total)}"
        parts.append(f"{number_text(attempt.done)}{of} {one_line(attempt.stage, 40)}".rstrip())
    if attempt.rss:
        parts.append(size_text(attempt.rss))
    if attempt.attempt > 1:
        parts.append(f"attempt {attempt.attempt}")
    return ", ".join(parts)


def last(finished: Finished | None) -> str:
    """The job that ended last, with the first words of its result."""
    if finished is None:
        return ""
    return f"{one_line(finished.job, _NAME)} {finished.state}: {one_line(finished.words, 100)}".rstrip(": ")


def failure(failed: Failed) -> str:
    """A failed job with its kind and the first words of its message."""
    return f"{one_line(failed.job, _NAME)} ({failed.kind}): {one_line(failed.message, 120)}".rstrip(": ")


def queued(facts: LiveFacts) -> str:
    """The next jobs."""
    return ", ".join(one_line(name, _NAME) for name in facts.queued)


def group(name: str, facts: GroupFacts) -> str:
    """Such as `simple 12/40, 2 failed, 83% succeeded`."""
    of = f"/{facts.total:,}" if facts.total else ""
    failed = f", {facts.failed:,} failed" if facts.failed else ""
    rate = f", {percent_text(1 - facts.failed / facts.done)} good" if facts.done else ""
    return f"{one_line(name, _NAME)} {facts.done:,}{of}{failed}{rate}"


def groups(facts: LiveFacts, most: int) -> list[str]:
    """At most `most` lines: the groups that are not done first, the last line counting the ones left out."""
    names = sorted(facts.groups, key=lambda name: (_is_done(facts.groups[name]), -facts.groups[name].done))
    return capped([group(name, facts.groups[name]) for name in names[: most + 1]], most, len(names))


def _is_done(facts: GroupFacts) -> bool:
    return 0 < facts.total <= facts.done


def capped(rows: list[str], most: int, count: int) -> list[str]:
    """At most `most` of `count` rows; when some are left out, the last row says how many."""
    if count <= most or most <= 0:
        return rows[: max(most, 0)]
    return [*rows[: most - 1], f"+ {count - most + 1:,} more"]
