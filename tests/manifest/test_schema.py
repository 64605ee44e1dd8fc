"""The printed JSON Schema and the parser agree.

The relation held here, for values without `2.0` in place of a whole number 2 (which JSON Schema counts as one):
what the parser accepts, the schema accepts; and where the parser finds a problem of structure (any but
`manifest/unit`, the text of a unit), the schema rejects. What `checks` finds is no structure.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from batchmill.manifest import schema
from batchmill.manifest.foreign import translate
from batchmill.manifest.validation import validate
from batchmill.manifest.yaml_source import parse_yaml, read_yaml
from tests.manifest.conftest import DATA
from tests.manifest.test_document import GOOD

ROOT = Path(__file__).parents[2]
VALIDATOR = Draft202012Validator(schema.json_schema())
VALUES = st.sampled_from(
    [None, True, False, 0, 1, -1, 0.5, 5000, "", "x", "3", "10s", "2GB", "full", "group", "json", "*"]
) | st.sampled_from([[], [1], ["x"], [[]], [{}], {}, {"a": 1}, {"range": [1]}, {"from": "x"}, {"paths": []}])
FRESH = VALUES.map(copy.deepcopy)  # a drawn list may be added to later
KEYS = st.sampled_from(["x", "from", "from_", "range", "name", "timeout", "paths", "params", "on"])


def _agree(values: Any) -> bool:
    _, findings = validate(values)
    structural = [finding for finding in findings if finding.code != "manifest/unit"]
    accepted = VALIDATOR.is_valid(values)
    return accepted if not findings else not (structural and accepted)


def test_the_schema_is_a_schema() -> None:
    Draft202012Validator.check_schema(schema.json_schema())
    assert schema.json_schema()["$schema"] == "https://json-schema.org/draft/2020-12/schema"


@pytest.mark.parametrize("path", sorted((ROOT / "examples").rglob("*.yaml")), ids=lambda path: path.name)
def test_every_example_is_valid_for_both(path: Path) -> None:
    values = read_yaml(path).value
    if not isinstance(values, dict) or "task" not in values:
        pytest.skip("not a manifest")
    assert validate(values)[1] == []
    assert [error.message for error in VALIDATOR.iter_errors(values)] == []


def test_the_samples_are_valid_for_both() -> None:
    samples = [parse_yaml(GOOD).value]
    for path in DATA.glob("*.yaml"):
        translated = translate(read_yaml(path).value)
        assert translated is not None
        samples += [part.values for part in translated.parts]
    for values in samples:
        assert validate(values)[1] == []
        assert VALIDATOR.is_valid(values)


@st.composite
def mutated(draw: st.DrawFn) -> Any:
    """A good manifest with up to three of its values replaced, removed, renamed or added to."""
    values = copy.deepcopy(draw(st.sampled_from(_samples())))
    for _ in range(draw(st.integers(0, 3))):
        target: Any = values
        while True:
            steps = list(target) if isinstance(target, dict) else list(range(len(target)))
            if not steps:
                break
            step = draw(st.sampled_from(steps))
            if not isinstance(target[step], dict | list) or draw(st.integers(0, 2)) == 0:
                break
            target = target[step]
        _mutate(draw, target, step if steps else None)
    return values


def _mutate(draw: st.DrawFn, target: Any, step: Any) -> None:
    action = draw(st.sampled_from(["replace", "remove", "add"]))
    if action == "add" or step is None:
        if isinstance(target, dict):
            target[draw(KEYS)] = draw(FRESH)
        else:
            target.append(draw(FRESH))
    elif action == "remove":
        del target[step]
    else:
        target[step] = draw(FRESH)


def _samples() -> list[Any]:
    good = parse_yaml(GOOD).value
    small = {"task": "count", "jobs": [{}], "files": {"paths": ["a"], "pattern": ["*"]}, "retry": {"on": []}}
    job = {"retry": {"attempts": 2, "backoff": {"jitter": "none"}}, "memory": 5, "task": "x", "group": "g"}
    return [good, small, {"jobs": [job], "limits": {"concurrency": 3, "kill_grace": "2s", "max_failures": 3}}]


@settings(max_examples=400, deadline=None)
@given(mutated())
def test_schema_and_parser_agree_on_structure(values: Any) -> None:
    assert _agree(values), (values, validate(values)[1], [e.message for e in VALIDATOR.iter_errors(values)])


def test_the_reference_has_every_key_with_its_meaning() -> None:
    text = schema.reference_markdown()
    for section in ("`limits`", "`retry.backoff`", "`jobs[]`", "`matrix.axes.NAME`", "`limits.quotas.NAME`"):
        assert f"## {section}\n" in text
    assert "| `workers` | a whole number above zero |  | worker processes; default: usable cores |" in text
    assert all(line.count("|") - line.count("\\|") == 5 for line in text.splitlines() if line.startswith("|"))
    assert not [line for line in text.splitlines() if line.startswith("| `") and line.endswith("|  |")]
