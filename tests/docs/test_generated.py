"""The generated parts of the pages are those that the code gives now: else run `python -m tests.docs.generate`."""

from __future__ import annotations

from batchmill.cli import app
from tests.docs import generate


def test_the_manifest_reference_is_up_to_date() -> None:
    assert generate.REFERENCE.read_text("utf-8") == generate.reference()


def test_the_page_of_commands_tells_what_each_command_is_and_takes() -> None:
    text = generate.COMMANDS.read_text("utf-8")
    assert generate.described(text) == [name for name, *_ in app._commands(None)]
    assert text == generate.commands(text)
