"""`batchmill lanes`: batches at providers, listed and cancelled; requests written to files, and results taken in."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from enum import StrEnum
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from batchmill import UsageError

if TYPE_CHECKING:
    from batchmill import Run
    from batchmill.llm.lanes.store import Batch

SCHEMA_VERSION = 1
EXAMPLE = (
    "  batchmill lanes list\n"
    "  batchmill lanes cancel 7664329d\n"
    "  batchmill lanes export manifest.yaml -o requests.jsonl\n"
    "  vllm run-batch -i requests.jsonl -o results.jsonl --model NAME\n"
    "  batchmill lanes import results.jsonl"
)
_MICRO_CENTS = 100_000_000  # in a US dollar


class Action(StrEnum):
    """What is done."""

    LIST = "list"
    CANCEL = "cancel"
    EXPORT = "export"
    IMPORT = "import"


class Output(StrEnum):
    """What stdout is for."""

    HUMAN = "human"
    JSON = "json"
    QUIET = "quiet"


_Action = Annotated[
    Action,
    typer.Argument(
        metavar="list|cancel|export|import",
        help="show the batches, end one, write requests to a file, read results",
        show_default=False,
    ),
]
_Words = Annotated[
    list[str] | None,
    typer.Argument(metavar="[WORD...]", help="ids of batches, a manifest, or files of results", show_default=False),
]
_To = Annotated[
    Path | None,
    typer.Option("-o", "--to", metavar="FILE", help="`export`: where the requests go", show_default=False),
]
_Home = Annotated[
    str | None, typer.Option("--home", metavar="DIR", help="`export`: folder of the runs", show_default=False)
]
_Output = Annotated[Output, typer.Option("--output", help="what to write")]


def lanes_command(
    action: _Action, words: _Words = None, to: _To = None, home: _Home = None, output: _Output = Output.HUMAN
) -> int:
    """Look after batches at providers of language models; run requests elsewhere, and take the results in."""
    if to is not None and action is not Action.EXPORT:
        raise UsageError("`--to` goes with `lanes export`")
    if not words and action is not Action.LIST:
        raise UsageError(f"`lanes {action}` needs a word more", hint=f"for example:\n{EXAMPLE}")
    given = words or []
    if action is Action.LIST:
        record, text = _list(given)
    elif action is Action.CANCEL:
        record, text = _cancel(given)
    elif action is Action.EXPORT:
        record, text = _export(given, to, home)
    else:
        record, text = _import(given)
    if output is Output.JSON:
        sys.stdout.write(json.dumps({"schema_version": SCHEMA_VERSION, **record}, indent=1) + "\n")
    elif output is Output.HUMAN:
        sys.stdout.write(text)
    return 0


lanes_command.example = EXAMPLE  # type: ignore[attr-defined]


# --- batches


def _list(ids: Sequence[str]) -> tuple[dict[str, Any], str]:
    now = time.time()
    batches = [batch for batch in _batches() if not ids or any(batch.id.startswith(id) for id in ids)]
    records = [_record(batch, now) for batch in batches]
    if not records:
        return {"batches": []}, "no batches\n"
    rows: list[tuple[str, ...]] = [
        ("id", "state", "requests", "done", "failed", "age", "cost", "model", "provider's id")
    ]
    rows += [_row(record) for record in records]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows)
    return {"batches": records}, "".join(f"{line}\n" for line in lines)


def _batches() -> list[Batch]:
    from batchmill.llm.cache import state_folder
    from batchmill.llm.lanes.store import read_batches

    return read_batches(state_folder())


def _record(batch: Batch, now: float) -> dict[str, Any]:
    return {
        "id": batch.id,
        "remote_id": batch.remote or None,
        "model": batch.model,
        "state": batch.state,
        "status": batch.status or None,
        "requests": batch.lines,
        "done": batch.done,
        "failed": batch.failed,
        "age_s": round(max(now - batch.at, 0.0), 3),
        "cost_usd": None if batch.cost is None else batch.cost / _MICRO_CENTS,
        "is_final": batch.state == "ended",
    }


def _row(record: dict[str, Any]) -> tuple[str, ...]:
    cost, ended = record["cost_usd"], record["is_final"]
    state = record["state"] if record["status"] in (None, record["state"]) else f"{record['state']}: {record['status']}"
    counts = (f"{record[name]:,}" for name in ("requests", "done", "failed"))
    money = "-" if cost is None else f"{'' if ended else '<= '}{cost:.6g} USD"
    return (record["id"][:8], state, *counts, _age(record["age_s"]), money, record["model"], record["remote_id"] or "-")


def _age(seconds: float) -> str:
    for unit, length in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds:.0f} s"


def _cancel(ids: Sequence[str]) -> tuple[dict[str, Any], str]:
    batches = [_one(id) for id in ids]
    for batch in batches:
        if batch.state == "ended":
            raise UsageError(f"the batch `{batch.id[:8]}` has ended", hint="`batchmill lanes list` shows them all")
        if not batch.remote:
            hint = "run its manifest again: it finds out"
            raise UsageError(f"nobody knows yet whether `{batch.id[:8]}` came to the provider", hint=hint)
    asyncio.run(_cancel_all(batches))
    text = "".join(f"{batch.id[:8]}: the provider was told; what is done by then is used\n" for batch in batches)
    return {"cancelled": [batch.id for batch in batches]}, text


def _one(id: str) -> Batch:
    found = [batch for batch in _batches() if id and (batch.id.startswith(id) or batch.remote == id)]
    if len(found) != 1:
        why = "there is no batch" if not found else "several batches begin with"
        raise UsageError(f"{why} `{id}`", hint="`batchmill lanes list` shows them all")
    return found[0]


async def _cancel_all(batches: Sequence[Batch]) -> None:
    from batchmill.llm.lanes.lane import offer_at
    from batchmill.llm.lanes.offers import Trouble
    from batchmill.llm.settings import load

    settings = load()
    for batch in batches:
        async with offer_at(batch, settings) as offer:
            try:
                await offer.cancel(batch.remote)
            except Trouble as trouble:
                hint = "`batchmill lanes list` shows what is known of it"
                raise UsageError(f"`{batch.id[:8]}` was not cancelled: {trouble}", hint=hint) from None


# --- files


def _export(words: Sequence[str], to: Path | None, home: str | None) -> tuple[dict[str, Any], str]:
    if len(words) != 1 or to is None:
        raise UsageError("`lanes export` takes one manifest and `-o FILE`", hint=f"for example:\n{EXAMPLE}")
    from batchmill.llm.lanes.files import EXPORTED, publish

    with tempfile.TemporaryDirectory(prefix="batchmill-") as folder:
        written = Path(folder) / "requests.jsonl"
        written.touch()
        run = _run_without_asking(words[0], written, folder, home)
        counts, state, reason = run.counts, run.state, run.reason
        failed = [outcome.reason for outcome in islice(run.results("failed"), 3)]
        _remove(run.id, home)
        if state != "finished":
            raise UsageError(f"the export {state}: {reason}", hint="nothing was written")
        exported = publish(written, to)
    record = {
        "file": str(to),
        "requests": exported.requests,
        "models": list(exported.models),
        "answered": counts["succeeded"],
        EXPORTED: counts["skipped"],
        "failed": counts["failed"],
    }
    text = f"{exported.requests:,} requests in `{to}`; {counts['succeeded']:,} jobs need none\n"
    text += "".join(f"failed: {reason}\n" for reason in failed)
    if len(exported.models) > 1:
        text += f"they are for several models, which few services take in one file: {', '.join(exported.models)}\n"
    if exported.requests:
        text += (
            "their results come in with `batchmill lanes import FILE`; what is asked after them, with another export\n"
        )
    return record, text


def _run_without_asking(manifest: str, written: Path, folder: str, home: str | None) -> Run:
    """A run of the manifest that writes requests down. It sees results of earlier runs, and is deleted afterwards."""
    import batchmill
    from batchmill.llm.settings import as_environment, load

    lanes = load().lanes.model_copy(update={"export": str(written)})
    name = f"{Path(manifest).stem}-export"
    before = dict(os.environ)
    os.environ |= as_environment({"lanes": lanes.model_dump()})  # for the workers
    try:
        return batchmill.run(manifest, name=name, output=f"{folder}/results", home=home, progress=False)
    finally:
        os.environ.clear()
        os.environ |= before


def _remove(run: str, home: str | None) -> None:
    """Delete a run by the command: this library knows no homes."""
    command = [sys.executable, "-m", "batchmill", "rm", run, "--yes", "--output", "quiet"]
    subprocess.run([*command, *(["--home", home] if home else [])], check=False, stdin=subprocess.DEVNULL)


def _import(words: Sequence[str]) -> tuple[dict[str, Any], str]:
    from batchmill.llm.lanes.files import bring_in
    from batchmill.llm.service import cache_of_user

    def refuse(message: str) -> None:
        raise UsageError(message)

    cache = cache_of_user(refuse)
    assert cache is not None  # or it was refused
    found = [asyncio.run(bring_in(Path(word), cache)) for word in words]
    record = {name: sum(getattr(one, name) for one in found) for name in ("replies", "failed", "foreign")}
    text = f"{record['replies']:,} replies taken in"
    if record["failed"]:
        text += f"; {record['failed']:,} requests failed there, and will be asked again"
    if record["foreign"]:
        text += f"; {record['foreign']:,} lines are no results of our requests"
    reasons = [reason for one in found for reason in one.reasons][:3]
    return {**record, "reasons": reasons}, text + "\n" + "".join(f"failed: {reason}\n" for reason in reasons)
