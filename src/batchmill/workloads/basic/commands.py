"""The task `shell`: runs a command with the parameters in its placeholders, as a child of the worker, so that every
limit of the engine holds for it."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Mapping
from typing import IO, TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

from batchmill import task

if TYPE_CHECKING:
    from batchmill import Context

MAX_OUTPUT = 16_384  # bytes of the end of the output that the result keeps; all of it is in the log
_SHOWN_LINES = 5  # of stderr, in the message of a failure
_PATIENCE = 1.0  # seconds for the rest of the output to arrive once the command has ended
# `{{name}}` stands for `{name}`; `${name}` is the shell's own; other braces (awk, JSON, `{a,b}`) are left alone
_PLACEHOLDER = re.compile(r"\{\{([A-Za-z_]\w*)\}\}|(?<!\$)\{([A-Za-z_]\w*)\}")
_QUOTING = re.compile(r"\\.|['\"]|(?<!\S)#[^\n]*", re.DOTALL)


class CommandFailed(Exception):
    """The command ended with an exit code that is not 0, or by a signal."""


class ShellParams(BaseModel):
    """`command`, `result`, and any further parameters for their placeholders."""

    model_config = ConfigDict(extra="allow", protected_namespaces=())

    command: str | list[str] = Field(
        min_length=1,
        description="a line for /bin/sh, or a list of words run without a shell; `{name}` stands for a parameter, "
        "quoted as needed, `{{name}}` for `{name}` itself",
    )
    result: str | None = Field(None, description="a JSON file that the command writes: the job's result; `{name}` too")

    @model_validator(mode="after")
    def _known_placeholders(self) -> ShellParams:
        texts = [*([self.command] if isinstance(self.command, str) else self.command), self.result or ""]
        for found in (match for text in texts for match in _PLACEHOLDER.finditer(text)):
            if found[2] and found[2] not in (self.model_extra or {}):
                raise ValueError(f"there is no parameter for `{{{found[2]}}}`; for the text itself, double the braces")
        return self


@task(name="shell", version="1")
def shell(params: ShellParams, ctx: Context) -> Any:
    """Run a command: `command` with `{parameter}` placeholders, `result` a JSON file that it writes."""
    values = params.model_extra or {}
    path = _filled(params.result, values) if params.result is not None else None
    before = _stamp(path)
    environment = {
        **os.environ,
        "BATCHMILL_ATTEMPT": str(ctx.attempt),
        "BATCHMILL_SEED": str(ctx.seed),
        "BATCHMILL_IDEMPOTENCY_KEY": ctx.idempotency_key,
    }
    code, stdout, stderr = _execute(arguments_of(params.command, values), environment)
    if code != 0:
        raise CommandFailed(_failure(code, stderr))
    if path is None:
        return {"exit_code": code, "stdout": stdout}
    if _stamp(path) == before:
        raise CommandFailed(f"the command ended well, but did not write its result `{path}`")
    with open(path, encoding="utf-8") as file:
        return json.load(file)


def arguments_of(command: str | list[str], values: Mapping[str, Any]) -> list[str]:
    """The words to execute. To the shell, values are positional parameters: it never reads them as code."""
    if isinstance(command, list):
        return [_filled(word, values) for word in command]
    given: dict[str, int] = {}
    pieces: list[str] = []
    position, quote = 0, ""
    for found in _PLACEHOLDER.finditer(command):
        text = command[position : found.start()]
        position = found.end()
        quote = _quote_after(text, quote)
        number = given.setdefault(found[2], len(given) + 1) if found[2] else 0
        expansion = f"${{{number}}}" if number else f"{{{found[1]}}}"
        wrapped = {"": f'"{expansion}"', "'": f"'\"{expansion}\"'", '"': expansion}[quote]
        pieces += [text, wrapped if number else expansion]
    pieces.append(command[position:])
    return ["/bin/sh", "-c", "".join(pieces), "sh", *(_text(values[name]) for name in given)]


def _quote_after(text: str, quote: str) -> str:
    """The quote that is open after the text, when `quote` was open before it."""
    for found in _QUOTING.finditer(text):
        mark = found[0]
        if mark in ("'", '"') and quote in ("", mark):
            quote = "" if quote else mark
        elif mark[0] == "\\" and quote == "'" and mark[1:] == "'":
            quote = ""  # within single quotes a backslash is itself
        elif mark[0] == "#" and quote:
            quote = _quote_after(mark[1:], quote)
    return quote


def _filled(text: str, values: Mapping[str, Any]) -> str:
    return _PLACEHOLDER.sub(lambda m: f"{{{m[1]}}}" if m[1] else _text(values[m[2]]), text)


def _text(value: Any) -> str:
    if value is None or isinstance(value, str):
        return value or ""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _execute(arguments: list[str], environment: Mapping[str, str]) -> tuple[int, str, str]:
    """Exit code and the ends of both outputs, which go to the worker's own (the job's log) as they come."""
    pipe = subprocess.PIPE
    process = subprocess.Popen(arguments, stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe, env=environment)
    assert process.stdout is not None
    assert process.stderr is not None
    out, err = _Tail(process.stdout, 1), _Tail(process.stderr, 2)
    code = process.wait()
    until = time.monotonic() + _PATIENCE
    return code, out.text(until), err.text(until)


class _Tail:
    """Copies a stream to a descriptor in a thread of its own, and keeps its end."""

    def __init__(self, stream: IO[bytes], target: int) -> None:
        self._stream = stream
        self._target = target
        self._kept = b""
        self._thread = threading.Thread(target=self._copy, daemon=True)
        self._thread.start()

    def _copy(self) -> None:
        with self._stream:
            while chunk := os.read(self._stream.fileno(), 65536):
                self._kept = (self._kept + chunk)[-MAX_OUTPUT:]
                while chunk:
                    chunk = chunk[os.write(self._target, chunk) :]

    def text(self, until: float) -> str:
        """The end of the stream. A child that outlives the command may hold it open: it is not waited for."""
        self._thread.join(timeout=max(0.0, until - time.monotonic()))
        return self._kept.decode(errors="replace")


def _failure(code: int, stderr: str) -> str:
    lines = "\n".join(stderr.strip().splitlines()[-_SHOWN_LINES:])
    ended = f"exit code {code}" if code > 0 else f"ended by {signal.Signals(-code).name}"
    return f"{ended}: {lines}" if lines else ended


def _stamp(path: str | None) -> tuple[int, int, int] | None:
    try:
        found = os.stat(path) if path is not None else None
    except FileNotFoundError:
        return None
    return found and (found.st_mtime_ns, found.st_size, found.st_ino)
