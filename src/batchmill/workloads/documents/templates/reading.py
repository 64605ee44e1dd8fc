"""What a template's file says, checked. Which file a name means is known in the package itself."""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from batchmill import BatchmillError, UsageError, read_yaml


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


@lru_cache(maxsize=64)
def read(path: str, changed: int) -> Template:
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
