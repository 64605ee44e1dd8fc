"""What a user sets once for all runs: flags, then environment, then `./batchmill.toml`, then the user's own file.

Each key is also the variable `BATCHMILL_<KEY>`. Secrets are never here, only references to them (`env:NAME`,
`file:PATH`); who reads those is `endpoints`. How files are found and read is in `configuration`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

from batchmill import QuotaLimit, Rate, parse_duration, parse_rate, parse_size
from batchmill.llm.configuration import Source, env_source, file_sources, flag_source, merged

Family = Literal["openai", "anthropic", "gemini", "ollama"]
CacheMode = Literal["on", "fresh", "off"]
Lane = Literal["live", "batch", "auto"]  # how requests go: each for itself, in batches, or as their number says
Duration = Annotated[float, BeforeValidator(parse_duration), WithJsonSchema({"type": "string"})]
Size = Annotated[int, BeforeValidator(parse_size), WithJsonSchema({"type": "string"})]
Positive = Annotated[int, Field(ge=1)]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class EndpointSettings(_Frozen):
    """One address of a provider, or of one model. Its parts may hold passwords: none is in its repr."""

    url: str = Field("", repr=False)
    key: Annotated[str, AfterValidator(lambda text: _reference(text))] = Field("", repr=False)
    headers: dict[str, str] = Field({}, repr=False)  # values may be such references too
    proxy: str = Field("", repr=False)
    ca_file: str = ""
    weight: float = Field(1.0, gt=0, le=1e6)
    family: Family | None = None  # for a provider that is not built in


class LimitSettings(_Frozen):
    """The limits of a provider or a model, as far as the user knows them. A number of requests is per minute."""

    requests: Annotated[Rate, BeforeValidator(lambda value: _rate(value))] | None = None
    tokens: Annotated[Rate, BeforeValidator(lambda value: _rate(value))] | None = None
    day_requests: Positive | None = None
    day_tokens: Positive | None = None
    concurrency: Positive | None = None
    burst: float | None = Field(None, ge=1)

    @property
    def quota_limit(self) -> QuotaLimit:
        """The same in the engine's words."""
        return QuotaLimit(self.requests, self.tokens, self.concurrency, self.burst, self.day_requests, self.day_tokens)


class LocalSettings(_Frozen):
    """The embedded server: `context` is the tokens of question and answer together in each of its `slots`."""

    context: int = Field(4096, ge=256, le=1 << 20)
    slots: Annotated[int, Field(ge=1, le=64)] | None = None  # requests at once; None: one a core, four at most
    threads: Annotated[int, Field(ge=1, le=1024)] | None = None  # None: all cores


class LaneSettings(_Frozen):
    """Batches: where it is for the number of requests to say, `least` make one. It leaves when all jobs wait, or no
    request came for `quiet` seconds, and is looked at after `poll` seconds, then ever less often. `export` names a
    file: requests are written there, and nothing is sent."""

    least: Positive = 100
    quiet: Annotated[Duration, Field(gt=0)] = 5.0
    poll: Annotated[Duration, Field(gt=0)] = 10.0
    export: str = ""


class Settings(_Frozen):
    """All settings, with the defaults. Durations in seconds, sizes in bytes."""

    max_file_size: Size = 1_000_000
    max_concurrent: Positive = 5
    timeout_per_file: Duration = 30.0
    connect_timeout: Duration = 10.0
    read_timeout: Duration = 120.0
    retry_attempts: Annotated[int, Field(ge=0)] = 3  # after the first request; 0: one request, whatever comes of it
    default_pattern: str = Field("*", min_length=1)
    results_directory: str = Field("results", min_length=1)
    model: Annotated[str, AfterValidator(lambda name: _model_name(name))] = "local/smollm2"
    max_tokens: Positive = 1024
    temperature: float | None = Field(None, ge=0, le=10)
    seed: int | None = Field(None, ge=0, lt=2**63)
    endpoints: dict[str, Annotated[tuple[EndpointSettings, ...], BeforeValidator(lambda value: _several(value))]] = {}
    limits: dict[str, LimitSettings] = {}
    cache: CacheMode = "on"  # `fresh`: ask again, once for each job in a run; `off`: also keep nothing
    lane: Lane = "live"
    lanes: LaneSettings = LaneSettings()
    local: LocalSettings = LocalSettings()
    prices: dict[str, dict[str, float | str]] = {}  # `prices` knows what they mean


ON_THIS_MACHINE = 300.0  # seconds for a file, unless the user says otherwise: a model on the CPU writes slowly


def time_for_a_file(settings: Settings, model: str | None = None) -> float:
    """Seconds that a file may take with a model (that of the settings)."""
    usual = Settings.model_fields["timeout_per_file"].default
    is_local = (model or settings.model).startswith("local/")
    return ON_THIS_MACHINE if is_local and settings.timeout_per_file == usual else settings.timeout_per_file


def load(
    folder: Path | None = None,
    flags: Mapping[str, Any] | None = None,
    environ: Mapping[str, str] | None = None,
) -> Settings:
    """The settings that hold in `folder` (the current one): each key from the highest place that gives it.

    Of `endpoints`, `limits` and `prices` each entry counts for itself. Raises ManifestError with every problem.
    """
    environ = os.environ if environ is None else environ
    sources: list[Source] = [
        *file_sources(folder or Path.cwd(), environ),
        env_source(environ, Settings),
        flag_source(flags or {}),
    ]
    return Settings.model_construct(**{**_defaults(), **merged(sources, Settings)})


def as_environment(flags: Mapping[str, Any]) -> dict[str, str]:
    """The variables that say the same as some flags, for the processes that a command starts."""
    import json

    return {
        f"BATCHMILL_{key.upper()}": value if isinstance(value, str) else json.dumps(value)
        for key, value in flags.items()
        if value is not None
    }


def _defaults() -> dict[str, Any]:
    return {name: field.get_default() for name, field in Settings.model_fields.items()}


def _reference(text: str) -> str:
    if text and not text.startswith(("env:", "file:")):
        raise ValueError("a secret is not written here: name it, as `env:VARIABLE` or `file:PATH`")
    return text


def _rate(value: Any) -> Rate:
    """`600/min`, or a number a minute."""
    text = str(value).strip()
    return parse_rate(f"{text}/min" if text.isdecimal() else value)


def _model_name(name: str) -> str:
    provider, slash, model = name.partition("/")
    if not (provider and slash and model):
        raise ValueError(f"`{name}` is no model: write it as `provider/model`, such as `ollama/{name or 'llama3.2'}`")
    return name


def _several(value: Any) -> Any:
    """One address, as a URL or a table, or a list of them."""
    items = value if isinstance(value, list | tuple) else [value]
    return tuple({"url": item} if isinstance(item, str) else item for item in items)
