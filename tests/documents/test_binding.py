"""What a plan fixes of a job: templates, defaults of the settings, and every prompt that cannot be used."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from batchmill.workloads.documents.binding import bind
from batchmill.workloads.documents.conversation import filled
from batchmill.workloads.documents.params import DocumentParams
from batchmill.workloads.documents.templates import shipped


@pytest.fixture(autouse=True)
def _no_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))


def bound(folder: Path, **params: Any) -> dict[str, Any]:
    plain = DocumentParams.model_validate(params).model_dump(by_alias=True, round_trip=True)
    return bind(plain, str(folder)).params


def refused(folder: Path, **params: Any) -> tuple[tuple[Any, ...], str, str]:
    with pytest.raises(ValidationError) as told:
        bound(folder, **params)
    (error,) = told.value.errors()
    return error["loc"], error["msg"], error["ctx"]["hint"]


def test_defaults_are_those_of_the_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = bound(tmp_path, file="a.txt", prompt="Sum up.")
    assert {name: found[name] for name in ("model", "max_tokens", "temperature", "seed", "max_file_size")} == {
        "model": "local/smollm2", "max_tokens": 1024, "temperature": None, "seed": None, "max_file_size": 1_000_000,
    }  # fmt: skip
    (tmp_path / "batchmill.toml").write_text('temperature = 0.5\nmodel = "ollama/qwen3"\n')
    monkeypatch.setenv("BATCHMILL_SEED", "7")
    found = bound(tmp_path, file="a.txt", prompt="Sum up.", temperature=0.1)
    assert (found["temperature"], found["model"], found["seed"]) == (0.1, "ollama/qwen3", 7)


def test_a_bare_model_is_one_of_ollama(tmp_path: Path) -> None:
    assert bound(tmp_path, file="a", prompt="x", model="llama3.2")["model"] == "ollama/llama3.2"


def test_the_length_of_parts_follows_from_the_model(tmp_path: Path) -> None:
    def size(**params: Any) -> int | None:
        return bound(tmp_path, file="a", prompt="x", **params).get("chunk_tokens")

    assert size(model="local/smollm2") == 4096 - 1024 - 200
    assert size(model="ollama/x", options={"num_ctx": 8192}, max_tokens=100) == 8192 - 300
    assert size(model="local/smollm2", max_tokens=4000) == 1024
    assert size(model="extractive/lead") is None
    assert size(model="openai/gpt-4o", chunk_tokens=500) == 500


@pytest.mark.parametrize("name", shipped())
def test_every_template_can_be_used(tmp_path: Path, name: str) -> None:
    found = bound(tmp_path, file="a.txt", template=name)
    assert found["prompt"]
    assert found["template"] == name


def test_what_a_job_says_itself_goes_before_its_template(tmp_path: Path) -> None:
    found = bound(tmp_path, file="a.txt", template="classify", labels=["a", "b"], system="Be brief.")
    assert (found["labels"], found["system"]) == (["a", "b"], "Be brief.")
    schema = filled(found["schema"], found)
    assert schema["properties"]["label"] == {"enum": ["a", "b"]}


def test_a_template_can_be_a_file(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("Count the words of {{ file.name }}.\n")
    (tmp_path / "mine.yaml").write_text("prompt: Rate {{ product }}\nparameters: {product: tea}\n")
    assert bound(tmp_path, file="a", template="mine.txt")["prompt"] == "Count the words of {{ file.name }}."
    assert bound(tmp_path, file="a", template="mine.yaml")["product"] == "tea"
    before = bound(tmp_path, file="a", template="mine.txt")
    (tmp_path / "mine.txt").write_text("Count the letters.")
    assert bound(tmp_path, file="a", template="mine.txt") != before


@pytest.mark.parametrize(
    ("content", "message"),
    [("prompt: [1]", "`prompt`"), ("promt: x", "`promt`"), ("a: &b", "cannot be read"), ("\x00", "cannot be read")],
)
def test_a_broken_template_is_told(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "mine.yaml").write_text(content)
    assert message in refused(tmp_path, file="a", template="mine.yaml")[1]


def test_a_template_that_is_not_there_is_told(tmp_path: Path) -> None:
    place, message, hint = refused(tmp_path, file="a", template="sumary")
    assert (place, message) == (("template",), "there is no template `sumary`")
    assert "`summary`" in hint


def test_wrong_prompts_are_told_at_their_parameter(tmp_path: Path) -> None:
    assert refused(tmp_path, file="a", prompt="x {{ txt }}") == (
        ("prompt",), "`prompt`: `{{ txt }}` is not known here", "known names: `file`, `text`"
    )  # fmt: skip
    assert refused(tmp_path, file="a", prompt="one\n{% if %}")[1].startswith("`prompt`: line 2: ")
    assert refused(tmp_path, file="a", questions={"q": "{{ nothing }}"})[0] == ("questions",)
    assert refused(tmp_path, file="a", messages=[{"role": "user", "content": "{{ x"}])[0] == ("messages",)
    assert refused(tmp_path, prompt="About {{ text }}")[2] == "there is no document"


def test_a_job_asks_exactly_one_thing(tmp_path: Path) -> None:
    assert refused(tmp_path, file="a")[1] == "nothing is asked about the document"
    turn = [{"role": "user", "content": "x"}]
    assert refused(tmp_path, file="a", messages=turn, prompt="x")[0] == ("messages",)
    assert refused(tmp_path, file="a", text="b", prompt="x")[0] == ("text",)


def test_columns_are_values_and_misspelt_parameters_are_not(tmp_path: Path) -> None:
    found = bound(tmp_path, file="a", prompt="Answer {{ customer }}", customer="Ann", region="north")
    assert (found["customer"], found["region"]) == ("Ann", "north")
    place, message, hint = refused(tmp_path, file="a", prompt="x", temprature=1)
    assert (place, message, hint) == (
        ("temprature",), "the task `documents` has no parameter `temprature`", "did you mean `temperature`?"
    )  # fmt: skip


def test_a_schema_must_be_one(tmp_path: Path) -> None:
    place, message, _ = refused(tmp_path, file="a", prompt="x", schema={"type": "objekt"})
    assert place == ("schema",)
    assert "is no JSON Schema" in message


def test_workflows_keep_their_meaning(tmp_path: Path) -> None:
    messages = [{"role": "user", "content": "Summarise {filename}:\n\n{content}"}]
    found = bound(tmp_path, file="a.png", messages=messages, method="llm/vision", model="llava")
    assert found["messages"][0]["content"] == "Summarise {{ file.name }}:\n\n{{ text }}"
    assert (found["vision"], found["model"], "method" in found) == (True, "ollama/llava", False)
