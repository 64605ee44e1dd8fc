"""Writes the generated parts of the documentation: `python -m tests.docs.generate`.

`docs/manifest-reference.md` is made whole from the manifest's models; in `docs/commands.md` what stands between
`<!-- COMMAND -->` and `<!-- end -->` is made from the command line itself.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import typer

from batchmill.cli import app
from batchmill.manifest.schema import reference_markdown
from tests.docs.pages import ROOT

REFERENCE = ROOT / "docs" / "manifest-reference.md"
COMMANDS = ROOT / "docs" / "commands.md"
_COMMON = ("--output", "--home", "--help")
_PART = re.compile(r"<!-- ([a-z-]+) -->\n.*?<!-- end -->", re.DOTALL)
_HEAD = """\
<!-- made by `python -m tests.docs.generate` from the models in src/batchmill/model/manifest.py: edit those -->

# Manifest reference

Every key of a manifest; the [guide](guide.md) shows them at work. `batchmill schema` prints the same for editors, and
`batchmill check FILE` tells what holds in a given file. An unknown key is an error.

Durations are written `90s`, `15min`, `1h30m` or a number of seconds; sizes `500MB` or `2GiB`; rates `30/min` or `5/s`;
money `5 USD`. `no`, `yes`, `on` and `off` are texts, as YAML 1.2 has it.

"""


def reference() -> str:
    """The text of `docs/manifest-reference.md`."""
    return _HEAD + reference_markdown()


def commands(text: str) -> str:
    """The text of `docs/commands.md`, its generated parts made anew. Raises KeyError for a command there is not."""
    group: Any = typer.main.get_command(app._app(None))
    return _PART.sub(lambda part: f"<!-- {part[1]} -->\n{_command(group.commands[part[1]])}\n<!-- end -->", text)


def described(text: str) -> list[str]:
    """The commands that the page describes, in its order."""
    return [part[1] for part in _PART.finditer(text)]


def _command(command: Any) -> str:
    arguments = [each for each in command.params if each.param_type_name == "argument"]
    usage = " ".join(["batchmill", command.name, *(each.metavar for each in arguments)])
    options = [each for each in command.params if each not in arguments and each.opts[0] not in _COMMON]
    table = ["| option | meaning |", "|---|---|", *map(_row, options)] if options else []
    words = " ".join(command.help.split())
    return "\n".join([f"`{usage}`: {words[0].lower()}{words[1:]}", *([""] if table else []), *table])


def _row(option: Any) -> str:
    names = ", ".join(f"`{name}`" for name in option.opts)
    value = "" if option.is_flag else f" `{option.metavar}`".replace("|", "\\|")
    return f"| {names}{value} | {option.help} |"


def main() -> int:
    """Write both files; returns 0."""
    for path, text in ((REFERENCE, reference()), (COMMANDS, commands(_read(COMMANDS)))):
        path.write_text(text, "utf-8")
    return 0


def _read(path: Path) -> str:
    return path.read_text("utf-8")


if __name__ == "__main__":
    sys.exit(main())
