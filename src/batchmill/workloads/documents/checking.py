"""Looks, before the first job of every invocation, whether the models of a run can be asked at all: no file is read
for nothing."""

from __future__ import annotations

import socket
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from batchmill import UsageError

if TYPE_CHECKING:
    from batchmill import Context

HINT = "--model local/smollm2"
_PORTS = {"http": 80, "https": 443}
_MOST = 1000  # different models that are looked for
_LOOKED_AT = 100_000  # jobs: a continued run may have planned millions


def prepare(jobs: Iterable[Any], ctx: Context) -> None:
    """Raise UsageError for the first model that cannot be asked."""
    from batchmill.llm.settings import load

    settings = load()
    if settings.lanes.export:
        return  # nothing will be asked
    for model in sorted(_models(jobs)):
        check_model(model, settings)


def _models(jobs: Iterable[Any]) -> set[str]:
    found: set[str] = set()
    for job in islice(jobs, _LOOKED_AT):
        found.add(job.params["model"])
        if len(found) > _MOST:
            break
    return found


def check_model(model: str, settings: Any) -> None:
    """Raise UsageError when nothing listens at any of a model's addresses, or when it cannot be had at all.

    Behind a proxy only the proxy can tell: then nothing is checked.
    """
    from batchmill.llm.endpoints import resolve

    places = [endpoint.url for endpoint in resolve(model, settings).endpoints if not endpoint.proxy]
    addresses = list(_addresses(places))
    if not addresses or len(addresses) < len(places):
        return
    timeout = min(settings.connect_timeout, 5.0)
    with ThreadPoolExecutor(len(addresses)) as pool:
        if not any(pool.map(lambda address: _listens(address, timeout), addresses)):
            there = " or ".join(f"{host}:{port}" for host, port in addresses)
            raise UsageError(f"nothing listens at {there}, where `{model}` should be", hint=HINT, code="llm/connect")


def _addresses(urls: Iterable[str]) -> Iterator[tuple[str, int]]:
    for url in urls:
        parts = urlsplit(url)
        if parts.scheme in _PORTS and parts.hostname:
            yield parts.hostname, parts.port or _PORTS[parts.scheme]


def _listens(address: tuple[str, int], timeout: float) -> bool:
    try:
        with socket.create_connection(address, timeout):
            return True
    except OSError:
        return False
