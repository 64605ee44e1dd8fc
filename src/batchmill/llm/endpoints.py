"""From a model's name to where and how it is asked: the provider, its addresses with their keys, and their limits.

Providers are known by name (`register` adds one); their addresses are built in, or come from the provider's usual
variables, or from the settings, which come first.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from importlib import import_module
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

from batchmill import QuotaLimit, UsageError, did_you_mean
from batchmill.llm import headers
from batchmill.llm.local.provider import Local
from batchmill.llm.providers.anthropic import Anthropic
from batchmill.llm.providers.base import Endpoint, Provider
from batchmill.llm.providers.gemini import Gemini
from batchmill.llm.providers.ollama import Ollama
from batchmill.llm.providers.openai import OpenAI
from batchmill.llm.providers.python import Python, PythonTransport
from batchmill.llm.secrets import remember, remember_url, reveal
from batchmill.llm.settings import EndpointSettings, LimitSettings, Settings
from batchmill.llm.transport import Transport

_BY_FAMILY: Mapping[str, Provider] = {p.family: p for p in (OpenAI(), Anthropic(), Gemini(), Ollama(), Python())}
# any other header that a user sets may be a secret, whatever its name
_OPEN_HEADERS = {"accept", "content-type", "user-agent", "anthropic-version", "anthropic-beta", "openai-beta"}

Opener = Callable[[str, Settings], Sequence[Endpoint]]


@dataclass(frozen=True, slots=True)
class Known:
    """A provider by name. `keys`: the variables that may hold its key, needed for the built-in `url` where `paid`.

    `bases`: the variables that may hold another address. `opener`: for addresses that must be made first, a function
    `module:name` of (model without its provider, settings) that returns the endpoints.
    """

    provider: Provider
    url: str = ""
    keys: tuple[str, ...] = ()
    bases: tuple[str, ...] = ()
    paid: bool = False
    opener: str = ""


class Route(NamedTuple):
    """How a model is asked. `quota` is that of the first endpoint; `limit` is what the user said of it."""

    provider: Provider
    endpoints: tuple[Endpoint, ...]
    quota: str
    limit: QuotaLimit | None = None


def _paid(url: str, key: str, *bases: str, provider: Provider | None = None, keys: tuple[str, ...] = ()) -> Known:
    return Known(provider or OpenAI(), url, (key, *keys), bases, paid=True)


_KNOWN: dict[str, Known] = {
    "openai": _paid(
        "https://api.openai.com/v1",
        "OPENAI_API_KEY",
        "OPENAI_BASE_URL",
        provider=OpenAI(tokens_field="max_completion_tokens"),
    ),
    "anthropic": _paid("https://api.anthropic.com", "ANTHROPIC_API_KEY", "ANTHROPIC_BASE_URL", provider=Anthropic()),
    "gemini": _paid(
        "https://generativelanguage.googleapis.com",
        "GEMINI_API_KEY",
        "GEMINI_BASE_URL",
        provider=Gemini(),
        keys=("GOOGLE_API_KEY",),
    ),
    "groq": _paid("https://api.groq.com/openai/v1", "GROQ_API_KEY", provider=OpenAI(requests_per=headers.DAY)),
    "mistral": _paid("https://api.mistral.ai/v1", "MISTRAL_API_KEY"),
    "deepseek": _paid("https://api.deepseek.com/v1", "DEEPSEEK_API_KEY"),
    "together": _paid("https://api.together.xyz/v1", "TOGETHER_API_KEY"),
    "openrouter": _paid("https://openrouter.ai/api/v1", "OPENROUTER_API_KEY"),
    "cerebras": _paid("https://api.cerebras.ai/v1", "CEREBRAS_API_KEY"),
    "ollama": Known(Ollama(), "http://127.0.0.1:11434", ("OLLAMA_API_KEY",), ("OLLAMA_HOST",)),
    "vllm": Known(OpenAI(), "http://127.0.0.1:8000/v1", ("VLLM_API_KEY",), ("VLLM_BASE_URL",)),
    "lmstudio": Known(OpenAI(), "http://127.0.0.1:1234/v1", ("LMSTUDIO_API_KEY",), ("LMSTUDIO_BASE_URL",)),
    "llamacpp": Known(OpenAI(), "http://127.0.0.1:8080/v1", ("LLAMACPP_API_KEY",), ("LLAMACPP_BASE_URL",)),
    "local": Known(Local(), opener="batchmill.llm.local.provider:endpoints"),
    "extractive": Known(Python(), opener="batchmill.llm.extractive:endpoints"),
    "describe": Known(Python(), opener="batchmill.llm.describe:endpoints"),
    "python": Known(Python()),
}


def register(name: str, known: Known) -> None:
    """Add a provider, or put another in its place."""
    _KNOWN[name] = known


def resolve(model: str, settings: Settings, environ: Mapping[str, str] | None = None) -> Route:
    """Where and how `provider/model` is asked. Raises UsageError, with what to set."""
    environ = os.environ if environ is None else environ
    name, slash, rest = model.partition("/")
    if not (name and slash and rest):
        raise UsageError(f"`{model}` names no provider", hint=f"write it as `ollama/{model}`", code="llm/model")
    asked = settings.endpoints.get(model) or settings.endpoints.get(name) or ()
    known = _KNOWN.get(name) or _own(name, asked, settings)
    if isinstance(known.provider, Python) and not known.opener:
        endpoints: Iterable[Endpoint] = [Endpoint(f"python:{rest}")]
    elif known.opener and not asked:
        endpoints = _open(known.opener, rest, settings)
    else:
        endpoints = [_endpoint(name, known, address, environ) for address in asked or (EndpointSettings(),)]
    named = tuple(_with_quota(endpoint, model, several=len(asked) > 1) for endpoint in endpoints)
    return Route(_provider(known, asked), named, named[0].quota, _limit(model, settings.limits) or named[0].limit)


def open_transport(provider: Provider) -> Transport:
    """A transport that reaches this kind of provider; to be closed by who opened it. Needs a running event loop."""
    if isinstance(provider, Python):
        return PythonTransport()
    from batchmill.llm.local.transport import LocalTransport
    from batchmill.llm.transport.direct import DirectTransport  # heavy, and not needed where nothing is sent

    return LocalTransport(DirectTransport()) if isinstance(provider, Local) else DirectTransport()


def _own(name: str, asked: Sequence[EndpointSettings], settings: Settings) -> Known:
    """A provider that only the settings know."""
    if not asked:
        names = [*_KNOWN, *(key.partition("/")[0] for key in settings.endpoints)]
        hint = did_you_mean(name, names) or f"the providers are {', '.join(f'`{n}`' for n in _KNOWN)}"
        raise UsageError(f"there is no provider `{name}`", hint=hint, code="llm/provider")
    return Known(OpenAI())


def _provider(known: Known, asked: Sequence[EndpointSettings]) -> Provider:
    families = {address.family for address in asked if address.family}
    if len(families) > 1:
        raise UsageError("the endpoints of one model are of different families", code="llm/endpoint")
    family = families.pop() if families else known.provider.family
    return known.provider if family == known.provider.family else _BY_FAMILY[family]


def _endpoint(name: str, known: Known, address: EndpointSettings, environ: Mapping[str, str]) -> Endpoint:
    """One address with its secrets read. The usual key of a provider goes to the address that is set for it, too."""
    base = next((environ[variable] for variable in known.bases if environ.get(variable)), "")
    url = _revealed(address.url, environ) or base or known.url
    if not url:
        raise UsageError(f"no address for `{name}`", hint=f'[endpoints.{name}] with `url = "..."`', code="llm/endpoint")
    key = reveal(address.key, environ) if address.key else _usual_key(known, environ)
    if known.paid and not key and url == known.url:
        hint = f'export {known.keys[0]}=..., or `key = "env:NAME"` below `[endpoints.{name}]`'
        raise UsageError(f"there is no key for `{name}`", hint=hint, code="llm/key")
    url, login = _without_login(name, url)
    if login and address.key and known.provider.family in ("openai", "ollama"):
        hint = "a header can hold one of them: leave the other out"
        raise UsageError(f"the endpoint of `{name}` has a key and a login in its URL", hint=hint, code="llm/endpoint")
    sent = {key: _revealed(value, environ) for key, value in address.headers.items()}
    remember(*(value for key, value in sent.items() if key.lower() not in _OPEN_HEADERS))
    proxy = _revealed(address.proxy, environ)
    remember_url(proxy)
    _check_header_values(name, key, *sent.values())
    return Endpoint(url, key, login | sent, proxy, address.weight, address.ca_file)


def _usual_key(known: Known, environ: Mapping[str, str]) -> str:
    key = next((environ[variable].strip() for variable in known.keys if environ.get(variable)), "")
    remember(key)
    return key


def _revealed(text: str, environ: Mapping[str, str]) -> str:
    """The text, or what it refers to."""
    return reveal(text, environ) if text.startswith(("env:", "file:")) else text


def _check_header_values(name: str, *values: str) -> None:
    if any(not value.isascii() or not value.isprintable() for value in values):
        raise UsageError(f"a key or header of `{name}` holds a character that none can hold", code="llm/endpoint")


def _without_login(name: str, url: str) -> tuple[str, dict[str, str]]:
    """The URL without its login, and the header that says the same."""
    if "://" not in url:
        url = f"http://{url}"  # as OLLAMA_HOST is written
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        parts, port = urlsplit(""), None
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0:
        raise UsageError(f"the address of `{name}` is not an http URL", code="llm/endpoint")
    if parts.query or parts.fragment:
        hint = "leave out what follows the `?` or `#`; a key belongs into `key` or `headers`"
        raise UsageError(f"the address of `{name}` holds more than a path", hint=hint, code="llm/endpoint")
    remember_url(url)
    login = {}
    if parts.username or parts.password:
        pair = f"{unquote(parts.username or '')}:{unquote(parts.password or '')}"
        login = {"authorization": f"Basic {base64.b64encode(pair.encode()).decode()}"}
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl().rstrip("/"), login


def _with_quota(endpoint: Endpoint, model: str, *, several: bool) -> Endpoint:
    """Limits are those of a key; where servers share no key, each has its own."""
    whose = endpoint.key if endpoint.key and not several else f"{endpoint.url} {endpoint.key}"
    digest = blake2b(whose.encode(), digest_size=4, person=b"batchmill-quota").hexdigest()
    return endpoint if endpoint.quota else replace(endpoint, quota=f"{model}/{digest}")


def _limit(model: str, limits: Mapping[str, LimitSettings]) -> QuotaLimit | None:
    """The limit of the model itself, else of the longest name with a `*` that fits, else of its provider."""
    fitting = [name for name in limits if name.endswith("*") and model.startswith(name[:-1])]
    name = model if model in limits else max(fitting, key=len) if fitting else model.partition("/")[0]
    return limits[name].quota_limit if name in limits else None


def _open(opener: str, model: str, settings: Settings) -> Sequence[Endpoint]:
    module, _, function = opener.partition(":")
    open_endpoints: Opener = getattr(import_module(module), function)
    return open_endpoints(model, settings)
