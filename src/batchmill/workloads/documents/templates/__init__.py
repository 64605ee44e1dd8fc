"""Templates: a prompt with what belongs to it (system prompt, schema, questions) as a small YAML file, or a text.

Those shipped with Batchmill are beside this module, one file each; users name a file of their own the same way. Listing
them loads nothing heavy; `reading` reads them.
"""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from batchmill import UsageError

if TYPE_CHECKING:
    from batchmill.workloads.documents.templates.reading import Template

_FOLDER = Path(__file__).parent
_LARGEST = 1_000_000  # bytes


@cache
def shipped() -> tuple[str, ...]:
    """The names of the templates that come with Batchmill, sorted."""
    return tuple(sorted(path.stem for path in _FOLDER.glob("*.yaml")))


def load(name: str, folder: str) -> Template:
    """A shipped template by its name, or the one in a file (relative to `folder`). Raises UsageError."""
    from batchmill.workloads.documents.templates.reading import read

    if name in shipped():
        return read(str(_FOLDER / f"{name}.yaml"), 0)
    path = os.path.join(folder, name)
    try:
        found = os.stat(path)
    except OSError:
        known = ", ".join(f"`{known}`" for known in shipped())
        raise UsageError(f"there is no template `{name}`", hint=f"give a file, or one of {known}") from None
    if found.st_size > _LARGEST:
        raise UsageError(f"the template `{name}` is larger than {_LARGEST:,} bytes")
    return read(path, found.st_mtime_ns)
