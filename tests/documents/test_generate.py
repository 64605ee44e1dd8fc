"""`generate documents`: what is written is read back as what was asked for."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchmill import UsageError
from batchmill.manifest.yaml_source import parse_yaml
from batchmill.workloads.documents.generate import native, workflow

texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=40)
schemas = st.recursive(
    st.none() | st.booleans() | st.integers(-1000, 1000) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)


def manifest(**defaults: Any) -> dict[str, Any]:
    return {
        "name": "documents",
        "task": "documents",
        "defaults": {"model": "local/smollm2", **defaults},
        "limits": {"concurrency": 5, "timeout": 30.0},
        "files": {"as": "file", "directory": "docs", "pattern": "*.txt"},
    }


@given(prompt=texts, schema=st.dictionaries(texts, schemas, max_size=3), questions=st.lists(texts, max_size=3))
def test_what_is_written_reads_back_as_it_was(prompt: str, schema: Any, questions: list[str]) -> None:
    asked = manifest(prompt=prompt, schema=schema, questions=questions)
    assert parse_yaml(native(asked)).value == asked | {"limits": {"concurrency": 5, "timeout": 30}}


@given(prompt=texts)
def test_a_workflow_says_the_same(prompt: str) -> None:
    asked = manifest(prompt=prompt, vision=True)
    told = parse_yaml(workflow(asked)).value
    (task,) = told["tasks"]
    assert (task["protocol"], task["method"]) == ("llm/v1", "llm/vision")
    assert task["params"] == {
        "directory": "docs",
        "file_pattern": "*.txt",
        "model": "local/smollm2",
        "prompt": prompt,
    }


def test_folders_below_are_part_of_a_workflow_s_pattern() -> None:
    asked = manifest(prompt="Summarise")
    asked["files"]["recursive"] = True
    (task,) = parse_yaml(workflow(asked)).value["tasks"]
    assert task["params"]["file_pattern"] == "**/*.txt"


def test_a_workflow_cannot_say_everything() -> None:
    asked = manifest(prompt="Summarise")
    asked["files"]["exclude"] = ["*.bak"]
    with pytest.raises(UsageError, match="a workflow has no `exclude`"):
        workflow(asked)


def test_lines_stay_lines() -> None:
    text = native(manifest(prompt="One line\n\nAnother: {{ text }}"))
    assert "  prompt: |-\n    One line\n\n    Another: {{ text }}\n" in text
