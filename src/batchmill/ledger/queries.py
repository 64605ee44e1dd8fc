"""The statements of `queries.sql` by name. No SQL lives here."""

from __future__ import annotations

import re
from importlib.resources import files

_HEADING = re.compile(r"^-- (\w+) --$", re.MULTILINE)


def _load() -> dict[str, str]:
    text = files(__package__).joinpath("queries.sql").read_text("utf-8")
    _, *parts = _HEADING.split(text)
    return {name: statement.strip() for name, statement in zip(parts[::2], parts[1::2], strict=True)}


SQL = _load()
