"""`batchmill schema`: the JSON Schema of manifests, for editors."""

from __future__ import annotations

from batchmill.cli.options import HomeOption, OutputOption
from batchmill.cli.output import Output, write

EXAMPLE = (
    "  batchmill schema > batchmill.schema.json\n"
    "  # and as the first line of a manifest: # yaml-language-server: $schema=batchmill.schema.json"
)


def schema_command(output: OutputOption = Output.HUMAN, home: HomeOption = None) -> None:
    """Print the JSON Schema of a manifest."""
    import json

    from batchmill.manifest.schema import json_schema

    write(json.dumps(json_schema(), indent=2, ensure_ascii=False))
