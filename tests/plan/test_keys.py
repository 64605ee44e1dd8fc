"""Keys are the same for the same job, on every machine and in every version; different jobs have different keys."""

from __future__ import annotations

import json
import math
import os
from enum import Enum
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field

from batchmill.model.jobs import FileIdentity, PlannedJob
from batchmill.model.states import Mode
from batchmill.plan import keys

GOLDEN = [
    (("t", "1", "{}", ()), "f591eda41491b52e3040b8f12729d2bc"),
    (("identifiability", "1", '{"check":true,"model":"C2M"}', ()), "8f7a2afd570fae71ea3393aeda09ebe7"),
    (("documents", "2.1", '{"file":"ä.pdf"}', ("00" * 32, "ff" * 32)), "d433909e704447cc62a0e2c2bdba1c71"),
]

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(st.characters(codec="utf-8")),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(st.characters(codec="utf-8")), inner, max_size=4)
    ),
    max_leaves=12,
)


@pytest.mark.parametrize(("parts", "key"), GOLDEN)
def test_golden_keys(parts: tuple[str, str, str, tuple[str, ...]], key: str) -> None:
    """A change here makes every stored result of every user unreachable: raise ENCODING_VERSION and say so."""
    assert keys.ENCODING_VERSION == 1
    assert keys.job_key(*parts) == key


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"b": 1, "a": [True, None, "ä\n"]}, '{"a":[true,null,"ä\\n"],"b":1}'),
        (2**100, "1267650600228229401496703205376"),
        ([0.1, -0.0, 1e300, 1.0, 1], "[0.1,-0.0,1e+300,1.0,1]"),
        ({"x": [math.nan, math.inf], "y": -math.inf}, '{"x":[NaN,Infinity],"y":-Infinity}'),
        ({"b", "a"}, '["a","b"]'),
        ((1, (2,)), "[1,[2]]"),
        ("e\u0301", '"e\u0301"'),  # not normalised: another text is another parameter
    ],
)
def test_canonical_spelling(value: Any, text: str) -> None:
    assert keys.canonical(value) == text


@given(JSON)
def test_canonical_json_reads_back_and_does_not_depend_on_order(value: Any) -> None:
    text = keys.canonical(value)
    if not any(isinstance(x, float) and math.isinf(x) for x in leaves(value)):
        assert repr(json.loads(text)) == repr(ordered(value))
    assert keys.canonical(backwards(value)) == text


def leaves(value: Any) -> list[Any]:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return [value] if inner is None else [leaf for item in inner for leaf in leaves(item)]


def ordered(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: ordered(value[key]) for key in sorted(value)}
    return [ordered(item) for item in value] if isinstance(value, list) else value


def backwards(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: backwards(item) for key, item in reversed(value.items())}
    return [backwards(item) for item in value] if isinstance(value, list) else value


@given(st.tuples(st.text(), st.text(), st.text(), st.lists(st.text())), st.tuples(st.text(), st.text(), st.text()))
def test_no_two_jobs_share_a_key(one: Any, other: Any) -> None:
    first = (*map(utf8, one[:3]), list(map(utf8, one[3])))
    second = (*map(utf8, other), [])
    assert (keys.job_key(*first) == keys.job_key(*second)) == (first == second)


def utf8(text: str) -> str:
    return text.encode("utf-8", "replace").decode()


def test_moving_text_between_the_parts_changes_the_key() -> None:
    found = {
        keys.job_key("ab", "c", "{}"),
        keys.job_key("a", "bc", "{}"),
        keys.job_key("a", "b", "c{}"),
        keys.job_key("a", "b", "{}", ["12"]),
        keys.job_key("a", "b", "{}", ["1", "2"]),
        keys.job_key("a", "b", "{}", ["2", "1"]),
    }
    assert len(found) == 6


class Colour(Enum):
    RED = "red"


class Inner(BaseModel):
    xs: set[str] = set()


class Params(BaseModel):
    model_config = ConfigDict(extra="allow")

    x: float
    colour: Colour = Colour.RED
    inner: Inner = Inner()
    numbers: dict[int, str] = {}
    renamed: int = Field(0, alias="from")
    path: Path = Path("a/b")


def test_canonical_parameters_are_validated_filled_in_and_named_as_in_the_manifest() -> None:
    params = Params.model_validate({"x": "1", "inner": {"xs": ["b", "a", "c"]}, "numbers": {2: "b", 10: "a"}, "z": 1})
    text = keys.canonical_params(params)
    assert text == (
        '{"colour":"red","from":0,"inner":{"xs":["a","b","c"]},"numbers":{"2":"b","10":"a"},"path":"a/b","x":1.0,"z":1}'
    )
    assert Params.model_validate_json(text) == params


def test_a_lone_surrogate_is_no_parameter() -> None:
    with pytest.raises(ValueError, match="surrogates"):
        keys.canonical({"path": "\udcff"})


def test_the_key_of_a_job_with_files_is_finished_with_their_digests() -> None:
    job = PlannedJob(1, "a", True, "t", Mode.PROCESS, "1", "{}", None)
    assert keys.finish_key(job, ["d"]) == keys.job_key("t", "1", "{}", ["d"])


def test_a_files_digest_is_of_its_content_and_its_identity_of_the_rest(tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    file.write_text("abc")
    assert keys.digest_file(file) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    before = keys.identity(file)
    assert before == FileIdentity(str(file), 3, file.stat().st_mtime_ns, file.stat().st_ino)
    os.utime(file, ns=(0, 1))
    assert keys.identity(file) != before
    with pytest.raises(IsADirectoryError):
        keys.identity(tmp_path)


def test_a_file_that_changes_while_it_is_read_has_no_digest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "a.txt"
    file.write_text("abc")
    real = keys.file_digest

    def slow(stream: Any, kind: str) -> Any:
        digest = real(stream, kind)
        file.write_text("abcd")
        return digest

    monkeypatch.setattr(keys, "file_digest", slow)
    with pytest.raises(ValueError, match="changed while it was read"):
        keys.digest_file(file)
