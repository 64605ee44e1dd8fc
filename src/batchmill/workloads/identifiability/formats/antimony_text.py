"""Antimony models, turned into SBML by the package `antimony` (the extra `sbml`) and read as such.

Places in messages are those of the SBML text. Files that a model imports are not opened.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from batchmill import ManifestError
from batchmill.workloads.identifiability.formats import sbml
from batchmill.workloads.identifiability.formats.draft import Draft
from batchmill.workloads.identifiability.formats.source import Source

MAX_DEPTH = 100
_QUIET = re.compile(r"//[^\n]*|#[^\n]*|/\*.*?\*/|\"[^\"\n]*\"", re.DOTALL)
_SIGNS = re.compile(r"[-+!]{50}|\^{2}")


def read_models(source: Source, *, outputs: Sequence[str] | None = None) -> list[Draft]:
    """The main model of a file. Raises ManifestError at what Antimony, or our reader of SBML, refuses."""
    _look_through(source)
    drafts = sbml.read_models(Source(f"{source.path} (as SBML)", _to_sbml(source)), outputs=outputs)
    for draft in drafts:
        draft.name = source.stem
        draft.origin = f"imported from {source.path.rpartition('/')[2]}"
    return drafts


def _look_through(source: Source) -> None:
    text = _QUIET.sub(lambda match: re.sub(r"[^\n]", " ", match[0]), source.text)
    imported = re.search(r"\bimport\b", text)
    if imported:
        source.refuse("imports are not followed", imported.start(), length=6, hint="put the models into one file")
    signs = _SIGNS.search(text)
    if signs:
        source.refuse("these signs in a row mean nothing", signs.start())
    depth = 0
    for match in re.finditer(r"[\[({]|[\])}]", text):
        depth += 1 if match[0] in "[({" else -1
        if depth > MAX_DEPTH:
            source.refuse(f"nested deeper than {MAX_DEPTH} levels", match.start())


def _to_sbml(source: Source) -> str:
    try:
        import antimony
    except ImportError:
        raise ManifestError(
            f"{source.path}: the package antimony is needed to read Antimony", hint="pip install 'batchmill[sbml]'"
        ) from None
    antimony.clearPreviousLoads()
    try:
        if antimony.loadAntimonyString(source.text) < 0:
            raise _error(source, str(antimony.getLastError()))
        return str(antimony.getSBMLString(antimony.getMainModuleName()))
    except UnicodeDecodeError:  # it cuts characters into bytes where it quotes the text
        raise source.error("Antimony cannot read this text", hint="use ASCII outside of comments") from None
    finally:
        antimony.clearPreviousLoads()
        antimony.freeAll()


def _error(source: Source, message: str) -> ManifestError:
    line = re.search(r"line (\d+)", message)
    told = " ".join(message.split())[:300]
    return source.error(f"Antimony: {told}", source.offset(int(line[1]), 1) if line else 0)
