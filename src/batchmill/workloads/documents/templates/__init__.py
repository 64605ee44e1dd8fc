"""Templates: a prompt with what belongs to it (system prompt, schema, questions) as a small YAML file, or a text.

Those shipped with Batchmill are beside this module, one file each; users name a file of their own the same way.
"""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from batchmill import BatchmillError, UsageError, read_yaml

_FOLDER = Path(__file__).parent
_LARGEST = 1_000_000


class Template(BaseModel):
    """What a template says. `parameters` are default values of names in its prompts."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    about: str = ""
    prompt: str | None = None
    system: str | None = None
    reduce: str | None = None
    questions: dict[str, str] | list[str] | None = None
    schema_: dict[str, Any] | None = Field(None, alias="schema")
    vision: bool | None = None
    parameters: dict[str, Any] = Field(default_factory=dict)


def shipped() -> list[str]:
    """The names of the templates that come with Batchmill, sorted."""
    return sorted(path.stem for path in _FOLDER.glob("*.yaml"))


def load(name: str, folder: str) -> Template:
    """A shipped template by its name, or the one in a file (relative to `folder`). Raises UsageError."""
    if name in shipped():
        return _read(str(_FOLDER / f"{name}.yaml"), 0)
    path = os.path.join(folder, name)
    try:
        found = os.stat(path)
    except OSError:
        known = ", ".join(f"`{known}`" for known in shipped())
        raise UsageError(f"there is no template `{name}`", hint=f"give a file, or one of {known}") from None
    if found.st_size > _LARGEST:
        raise UsageError(f"the template `{name}` is larger than {_LARGEST:,} bytes")
    return _read(path, found.st_mtime_ns)


@lru_cache(maxsize=64)
def _read(path: str, changed: int) -> Template:
    """A file of the shape above, or (with another suffix than .yaml or .yml) a prompt as it is."""
    name = os.path.basename(path)
    try:
        if not path.endswith((".yaml", ".yml")):
            return Template(prompt=Path(path).read_text(encoding="utf-8-sig").rstrip("\n"))
        return Template.model_validate(read_yaml(path).value)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise UsageError(f"the template `{name}`: `{place}`: {first['msg'].lower()}") from None
    except (OSError, UnicodeDecodeError, BatchmillError) as error:
        raise UsageError(f"the template `{name}` cannot be read: {error}") from None
