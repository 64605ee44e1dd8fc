"""What a plan fixes of a documents job: templates read in, defaults of the settings filled in, prompts checked.

Everything here happens at planning, for every job: it must be cheap, and it runs nothing that a manifest brings.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError
from pydantic_core import PydanticCustomError

from batchmill import Bound, ManifestError, UsageError, did_you_mean
from batchmill.workloads.documents import prompts, templates
from batchmill.workloads.documents.params import DocumentParams
from batchmill.workloads.documents.readers import reader_version
from batchmill.workloads.documents.seeing import eyes_of

if TYPE_CHECKING:
    from batchmill.llm.settings import Settings

VERSION = "1"
FIELDS = tuple(field.alias or name for name, field in DocumentParams.model_fields.items())
_WITHOUT_MODEL = {"extractive", "describe"}  # modules of `batchmill.llm` that answer by themselves
_UNLIMITED = {*_WITHOUT_MODEL, "python"}  # take a document of any length
_CONTEXT = {"ollama": 4096}
_USUAL_CONTEXT = 100_000
_MARGIN = 200  # tokens of a chat template and of the prompt
_FROM_SETTINGS = ("model", "temperature", "max_tokens", "seed", "max_file_size")
_VARIABLES = (  # with a change of one of them the settings are read again at once
    *(f"BATCHMILL_{name.upper()}" for name in (*_FROM_SETTINGS, "local", "config", "timeout_per_file")),
    "XDG_CONFIG_HOME",
)
_FROM_TEMPLATE = ("prompt", "system", "reduce", "questions", "schema", "vision")
_PROMPTS = ("prompt", "system", "reduce", "questions", "messages", "schema")
_OLD_NAMES = {"{content}": "{{ text }}", "{text}": "{{ text }}", "{filename}": "{{ file.name }}"}  # of workflows


def bind(params: Mapping[str, Any], folder: str) -> Bound:
    """The parameters that decide the answer, and the version of the code. Raises ValidationError."""
    given = {key: value for key, value in params.items() if value is not None or key not in FIELDS}
    try:
        settings = current_settings(folder)
    except ManifestError as error:
        raise _wrong("model", str(error), error.hint or "") from None
    bound = {**_from_template(given, folder), **given}
    for name in _FROM_SETTINGS:
        if name not in bound:
            bound[name] = getattr(settings, name)
    if "/" not in bound["model"]:
        bound["model"] = f"ollama/{bound['model']}"
    if "messages" in bound:
        bound["messages"] = [{**turn, "content": _modern(turn["content"])} for turn in bound["messages"]]
    if "chunk_tokens" not in bound and (size := _chunk_tokens(bound, settings)) is not None:
        bound["chunk_tokens"] = size
    if bound.pop("method", "") == "llm/vision":
        bound.setdefault("vision", True)
    _check(bound)
    return Bound(bound, _version(bound["model"]), _time_for(bound["model"], settings))


def _version(model: str) -> str:
    """The version of the code that decides a result: this task, readers of others, and what answers without a model."""
    others = reader_version()
    without = {name.partition("/")[0] for name in (model, eyes_of(model))} & _WITHOUT_MODEL
    parts = [VERSION, *([others] if others else [])]
    parts += [f"{name}{import_module(f'batchmill.llm.{name}').VERSION}" for name in sorted(without)]
    return "+".join(parts)


def _time_for(model: str, settings: Settings) -> float | None:
    """Seconds for a file where the model is one of this machine; for others the task's own are right."""
    from batchmill.llm.settings import time_for_a_file

    return time_for_a_file(settings, model) if model.startswith("local/") else None


def _from_template(given: Mapping[str, Any], folder: str) -> dict[str, Any]:
    if "template" not in given:
        return {}
    try:
        found = templates.load(given["template"], folder)
    except UsageError as error:
        raise _wrong("template", error.message, error.hint or "") from None
    values = found.model_dump(by_alias=True)
    from_template = {name: values[name] for name in _FROM_TEMPLATE if values[name] is not None}
    return {**values["parameters"], **from_template}


def _modern(content: str) -> str:
    """Workflows wrote `{content}` where a document goes."""
    for old, new in _OLD_NAMES.items():
        content = content.replace(old, new)
    return content


def _chunk_tokens(bound: Mapping[str, Any], settings: Settings) -> int | None:
    """How many tokens of a document a model gets at once, where the job does not say; what others refuse is halved."""
    provider = bound["model"].partition("/")[0]
    if provider in _UNLIMITED:
        return None
    usual: int = settings.local.context if provider == "local" else _CONTEXT.get(provider, _USUAL_CONTEXT)
    told = bound["options"].get("num_ctx")
    context: int = told if isinstance(told, int) and told > 0 else usual
    most: int = bound["max_tokens"]
    return max(context // 4, context - most - _MARGIN)


# --- settings


def current_settings(folder: str) -> Settings:
    """The settings that hold in a folder, read again when they may have changed."""
    environment = tuple(map(os.environ.get, _VARIABLES))
    try:
        changed = os.stat(os.path.join(folder, "batchmill.toml")).st_mtime_ns
    except OSError:
        changed = 0
    return _settings(folder, environment, changed, int(time.monotonic()))


@lru_cache(maxsize=4)
def _settings(folder: str, environment: object, changed: int, second: int) -> Settings:
    from batchmill.llm.settings import load

    return load(Path(folder))


# --- checks


def _check(bound: Mapping[str, Any]) -> None:
    """Raises ValidationError for a prompt that cannot be used, a name that is not known, a job without a question."""
    asked = {name: bound[name] for name in _PROMPTS if name in bound}
    extras = tuple(name for name in bound if name not in FIELDS)
    text = json.dumps(asked, sort_keys=True)
    _check_questions(bound)
    unused = _checked(text, extras, "file" in bound, "text" in bound)
    for name in unused:
        if hint := did_you_mean(name, FIELDS):
            raise _wrong(name, f"the task `documents` has no parameter `{name}`", hint, key=True)


def _check_questions(bound: Mapping[str, Any]) -> None:
    if "messages" in bound and ("prompt" in bound or "questions" in bound):
        raise _wrong("messages", "`messages` is a whole conversation: it cannot stand beside `prompt` or `questions`")
    if not any(name in bound for name in ("prompt", "messages", "questions")):
        names = ", ".join(f"`{name}`" for name in templates.shipped())
        raise _wrong(
            "prompt", "nothing is asked about the document", f"add `prompt:`, or `template:` with one of {names}"
        )
    if "file" in bound and "text" in bound:
        raise _wrong("text", "a document is either a `file` or a `text`")


@lru_cache(maxsize=1024)
def _checked(asked: str, extras: tuple[str, ...], has_file: bool, has_text: bool) -> tuple[str, ...]:
    """Check all prompts of a job; the extra parameters that none of them uses. Raises ValidationError."""
    used: set[str] = set()
    given = (*extras, *(["text"] if has_file or has_text else []), *(["file"] if has_file else []))
    for name, source in _sources(json.loads(asked)):
        more = ("answers", "prompt", "question") if name == "reduce" else ()
        try:
            used |= prompts.check(source, (*given, *more)).names
        except prompts.PromptError as error:
            raise _wrong(name, f"`{name}`: {error}", error.hint) from None
    _check_schema(json.loads(asked).get("schema"))
    return tuple(name for name in extras if name not in used)


def _sources(asked: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """All templates: prompts, and texts in the schema."""
    for name, value in asked.items():
        yield from ((name, text) for text in _texts(value))


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _texts(item)
    elif isinstance(value, Iterable):
        for item in value:
            yield from _texts(item)


def _check_schema(schema: Any) -> None:
    if schema is None:
        return
    from jsonschema import SchemaError, validators
    from jsonschema.validators import Draft202012Validator

    if any("{{" in text for text in _texts(schema)):
        return  # it is whole only with a job's values
    try:
        validators.validator_for(schema, default=Draft202012Validator).check_schema(schema)
    except SchemaError as error:
        place = ".".join(map(str, error.absolute_path)) or "the schema"
        raise _wrong("schema", f"`{place}` is no JSON Schema: {error.message[:200]}") from None


def _wrong(parameter: str, message: str, hint: str = "", *, key: bool = False) -> ValidationError:
    error = PydanticCustomError("task", "{message}", {"message": message, "hint": hint, "key": key})
    return ValidationError.from_exception_data("documents", [{"type": error, "loc": (parameter,), "input": None}])
