"""Texts as vectors, by a model that runs here, each text once: kept for all runs of the user by text and model.

Whoever embeds first on this machine leads: it shares the texts out to one-thread processes, one a core, while others
wait and then find the vectors. What one process does is in `local.embedder`.
"""

from __future__ import annotations

import fcntl
import importlib.metadata
import json
import os
import sqlite3
import subprocess
import sys
import tempfile
import threading
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from hashlib import blake2b
from importlib.util import find_spec
from pathlib import Path
from queue import SimpleQueue
from typing import IO, TYPE_CHECKING, NamedTuple, cast

from batchmill import UsageError
from batchmill.llm.cache import state_folder
from batchmill.llm.local import cores, weights
from batchmill.llm.local.embedder import DIMENSIONS

if TYPE_CHECKING:
    import numpy

DEFAULT = "local/minilm"
_BYTES = 4 * DIMENSIONS
_SHARE = 16  # texts that a process is given at once, and that are kept at once
_WORTH_A_PROCESS = 4000  # characters: less is embedded sooner than another process starts
_SLICE = 500  # keys in one question to the file
_WAIT = 60.0  # seconds for the other processes that write
_SCHEMA = """
CREATE TABLE IF NOT EXISTS vectors (
  key BLOB PRIMARY KEY,      -- of the text and the model
  vector BLOB NOT NULL       -- 32-bit floats
) WITHOUT ROWID
"""


def embed(texts: Iterable[str], model: str = DEFAULT, *, processes: int | None = None) -> numpy.ndarray:
    """The vectors of the texts in their order: float32 of shape (n, 384), each of length 1.

    A text's vector depends on nothing but the text and the model: not on the other texts, their order or number, nor
    on `processes` (at most so many; None: one a core). Of a long text the first 256 tokens count. Blocks; in an async
    task, `await ctx.offload(embed, texts)`. Raises UsageError when the model is not installed.
    """
    import numpy

    wanted = list(texts)
    maker = _maker(model)
    keys = {text: _key(maker, text) for text in wanted}
    try:
        with _Vectors(state_folder() / "embeddings.db") as kept:
            found = _found(keys, _model_file(model), processes or cores(), kept)
    except sqlite3.Error as error:
        path = state_folder() / "embeddings.db"
        raise UsageError(
            f"`{path}` cannot be used: {error}", hint="it can be deleted: its vectors are made again", code="embeddings"
        ) from error
    rows = numpy.frombuffer(b"".join(found[keys[text]] for text in wanted), dtype="<f4")
    return rows.reshape(len(wanted), DIMENSIONS).astype(numpy.float32)


def _found(keys: Mapping[str, bytes], model: Path, processes: int, kept: _Vectors) -> dict[bytes, bytes]:
    """The vectors of all texts by key; those that are not kept yet are made."""
    found = kept.get(keys.values())
    if len(found) < len(keys):
        with _leading():
            found |= kept.get(key for key in keys.values() if key not in found)
            found |= _make({text: key for text, key in keys.items() if key not in found}, model, processes, kept)
    return found


def _maker(model: str) -> bytes:
    """What makes the vectors, exactly: other versions of it make other bytes."""
    chosen = weights.named(model)
    if not model.startswith("local/") or chosen is not weights.MINILM:
        raise UsageError(f"`{model}` makes no embeddings", hint=f"`{DEFAULT}` does")
    _model_file(model)
    return f"{chosen.sha256} onnxruntime {importlib.metadata.version('onnxruntime')} 1".encode()


def _model_file(model: str) -> Path:
    missing = [name for name in ("onnxruntime", "numpy") if find_spec(name) is None]
    if missing:
        raise UsageError(
            f"`{model}` needs `{missing[0]}`", hint="`pip install 'batchmill[local]'`", code="local/missing"
        )
    return weights.require(model)


def _key(maker: bytes, text: str) -> bytes:
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=20, key=blake2b(maker).digest()).digest()


@contextmanager
def _leading() -> Iterator[None]:
    """One process of the user embeds at a time; the kernel frees the lock of one that dies."""
    with open(state_folder() / "embeddings.lock", "wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


class _Vectors:
    """The vectors that are kept. A file that is damaged is set aside: everything in it can be made again."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._db = _open(path)
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.OperationalError):
                raise
            path.replace(path.with_suffix(".damaged"))
            self._db = _open(path)

    def __enter__(self) -> _Vectors:
        return self

    def __exit__(self, *_: object) -> None:
        self._db.close()

    def get(self, keys: Iterable[bytes]) -> dict[bytes, bytes]:
        """The vectors that there are."""
        wanted = list(keys)
        found: dict[bytes, bytes] = {}
        for start in range(0, len(wanted), _SLICE):
            part = wanted[start : start + _SLICE]
            marks = ",".join("?" * len(part))
            found.update(self._db.execute(f"SELECT key, vector FROM vectors WHERE key IN ({marks})", part))
        return {key: vector for key, vector in found.items() if len(vector) == _BYTES}

    def put(self, vectors: Mapping[bytes, bytes]) -> None:
        """Keep some, in one transaction."""
        with self._db:
            self._db.executemany("INSERT OR REPLACE INTO vectors VALUES (?, ?)", vectors.items())


def _open(path: Path) -> sqlite3.Connection:
    db = sqlite3.connect(path, timeout=_WAIT)
    try:
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = NORMAL")
        db.execute(_SCHEMA)
    except sqlite3.Error:
        db.close()
        raise
    return db


# --- the processes ---------------------------------------------------------------------------------------------------


class _Made(NamedTuple):
    """The vectors of some texts, or why there are none."""

    texts: Sequence[str]
    vectors: bytes


def _make(missing: Mapping[str, bytes], model: Path, most: int, kept: _Vectors) -> dict[bytes, bytes]:
    """The vectors of texts that have none, by key; kept as they come."""
    texts = list(missing)
    if not texts:
        return {}
    found: dict[bytes, bytes] = {}
    shares = [texts[start : start + _SHARE] for start in range(0, len(texts), _SHARE)]
    enough = 1 + sum(map(len, texts)) // _WORTH_A_PROCESS
    with closing(_made(shares, model, min(most, len(shares), enough))) as answers:
        for made in answers:
            vectors = [made.vectors[start : start + _BYTES] for start in range(0, len(made.vectors), _BYTES)]
            new = dict(zip((missing[text] for text in made.texts), vectors, strict=True))
            kept.put(new)
            found |= new
    return found


def _made(shares: Sequence[Sequence[str]], model: Path, processes: int) -> Generator[_Made, None, None]:
    """The vectors of each share, in order of finishing. Raises UsageError when a process fails."""
    left, done, sharing = iter(shares), SimpleQueue[_Made | None](), threading.Lock()
    with tempfile.TemporaryFile() as errors:
        children = [_start(model, errors) for _ in range(processes)]
        feeders = [threading.Thread(target=_feed, args=(child, left, sharing, done)) for child in children]
        try:
            for feeder in feeders:
                feeder.start()
            for _ in shares:
                made = done.get()
                if made is None:
                    raise _failure(errors)
                yield made
        finally:
            for child in children:
                child.kill()
            for feeder, child in zip(feeders, children, strict=True):
                feeder.join()
                child.wait()


def _start(model: Path, errors: IO[bytes]) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-P", "-m", "batchmill.llm.local.embedder", str(model), str(os.getpid())]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, env=environment)


def _feed(
    child: subprocess.Popen[bytes],
    left: Iterator[Sequence[str]],
    sharing: threading.Lock,
    done: SimpleQueue[_Made | None],
) -> None:
    """Give a process one share after another, until none is left. None in `done`: it came to its end before that."""
    try:
        with child:
            requests, answers = cast(IO[bytes], child.stdin), cast(IO[bytes], child.stdout)
            while texts := _next(left, sharing):
                requests.write(json.dumps(texts).encode() + b"\n")
                requests.flush()
                vectors = answers.read(len(texts) * _BYTES)
                done.put(_Made(texts, vectors) if len(vectors) == len(texts) * _BYTES else None)
    except OSError:
        done.put(None)


def _next(left: Iterator[Sequence[str]], sharing: threading.Lock) -> Sequence[str]:
    with sharing:
        return next(left, ())


def _failure(errors: IO[bytes]) -> UsageError:
    errors.seek(0)
    said = errors.read()[-2000:].decode("utf-8", "replace").strip().splitlines()
    return UsageError(
        "a process that embeds texts came to its end" + (f": {said[-1]}" if said else ""), code="embeddings/process"
    )
