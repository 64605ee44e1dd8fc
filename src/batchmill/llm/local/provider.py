"""`local/NAME` as a provider: llama.cpp's server speaks OpenAI's protocol, at an address that changes.

The address that requests are made for is a name, such as `local:smollm2?slots=4`; `transport` finds the server.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import ClassVar
from urllib.parse import parse_qs, urlencode

from batchmill import QuotaLimit
from batchmill.llm.cache import state_folder
from batchmill.llm.local import server, weights
from batchmill.llm.providers.base import Endpoint
from batchmill.llm.providers.openai import OpenAI
from batchmill.llm.settings import Settings

SCHEME = "local:"


@dataclass(frozen=True, slots=True)
class Local(OpenAI):
    """The embedded server with a model that reads text alone."""

    sees: ClassVar[bool] = False


def endpoints(model: str, settings: Settings) -> Sequence[Endpoint]:
    """The one endpoint of `local/model`; nothing is started yet. Raises UsageError for what is missing here.

    As many requests at once as the server has slots: another would wait there, and its time would run.
    """
    chosen = settings.local
    options = server.ServerOptions(chosen.context, chosen.slots or 0, chosen.threads or 0)
    server.check(f"local/{model}")
    return [Endpoint(address(model, options), limit=QuotaLimit(concurrency=options.parallel))]


def notice(model: str) -> str:
    """What a user is told, in one line, who asks a model of this machine for the first time; else nothing."""
    known = weights.CATALOGUE.get(model.removeprefix("local/")) if model.startswith("local/") else None
    if known is None or not known.note:
        return ""
    told = state_folder() / f"told-{known.name}"
    try:
        told.parent.mkdir(parents=True, exist_ok=True)
        told.touch(exist_ok=False)
    except FileExistsError:
        return ""
    except OSError:
        return known.note  # better twice than never
    return known.note


def address(model: str, options: server.ServerOptions) -> str:
    """The name under which `transport` finds a server with these options."""
    usual = asdict(server.ServerOptions())
    told = {key: value for key, value in asdict(options).items() if value != usual[key]}
    return f"{SCHEME}{weights.named(model).name}?{urlencode(told)}".removesuffix("?")


def read_address(url: str) -> tuple[str, server.ServerOptions, str]:
    """The model, the options and the path in an address with a path behind it."""
    whole, slash, path = url.removeprefix(SCHEME).partition("/")
    name, _, query = whole.partition("?")
    kinds = {field: type(value) for field, value in asdict(server.ServerOptions()).items()}
    told = {key: kinds[key](values[0]) for key, values in parse_qs(query).items()}
    return name, server.ServerOptions(**told), slash + path
