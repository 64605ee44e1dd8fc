"""Models of other tools, read as text and written as our own; nothing in such a file is ever executed.

`read` takes NullStrike and StrikePy `.py`, STRIKE-GOLDD `.m`, StructuralIdentifiability.jl `.jl`, SBML `.xml` and
`.sbml`, Antimony `.ant`, and PEtab problems (`.yaml`). What a format holds beyond this is refused by name and place.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from batchmill.workloads.identifiability.formats.importing import Imports, import_files
from batchmill.workloads.identifiability.formats.latex import expression_latex, formula_latex, model_latex, result_latex
from batchmill.workloads.identifiability.formats.nullstrike_options import read_options
from batchmill.workloads.identifiability.formats.reading import ENDINGS, Imported, document_of, files_of, is_foreign
from batchmill.workloads.identifiability.formats.writing import write_native

__all__ = [
    "ENDINGS",
    "Imported",
    "Imports",
    "document_of",
    "expression_latex",
    "files_of",
    "formula_latex",
    "import_files",
    "is_foreign",
    "model_latex",
    "native_of",
    "read",
    "read_options",
    "result_latex",
    "write_native",
]


def read(path: str, *, outputs: Sequence[str] | None = None) -> list[tuple[str, dict[str, Any]]]:
    """The models in a file: each with its name and as a mapping of our model files.

    `outputs` names what is measured where the format does not say (SBML, Antimony; by default every species that
    changes). Raises ManifestError with the place of what is wrong or not supported.
    """
    options = {} if outputs is None else {"outputs": tuple(outputs)}
    value = document_of(path, **options).value
    return [(model["id"], dict(model)) for model in value.get("models", [value])]


def native_of(path: str) -> dict[str, Any]:
    """A file as the mapping that its YAML file would hold: a model, or `models` where there are several.

    Raises ManifestError.
    """
    return dict(document_of(path).value)
