"""Where requests go: the origin of a URL, the proxy and the certificates on the way to it, and why it was not reached.

What all transports share; nothing here needs an HTTP library. Messages name a server by its origin alone: never a
header, a query or a password.
"""

from __future__ import annotations

import os
import re
import ssl
from typing import NamedTuple
from urllib.parse import urlsplit

from batchmill import __version__
from batchmill.llm.transport import HttpRequest, TransportError

USER_AGENT = f"batchmill/{__version__}"
MAX_BODY = 64 * 1024 * 1024
KEEP_ALIVE = 4.0  # seconds that an idle connection is kept: many servers close theirs after 5, as a request may leave
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


class Route(NamedTuple):
    """The way to an origin: a `proxy`, or none, and the certificates to trust, where there is TLS."""

    proxy: str
    context: ssl.SSLContext | None


class Routes:
    """The route of each request: the same for all requests to an origin. `proxy` and `ca_file` are for requests that
    name none; without them `HTTPS_PROXY`, `HTTP_PROXY` and `NO_PROXY` hold, except for loopback."""

    def __init__(self, proxy: str, ca_file: str) -> None:
        self._proxy, self._ca_file = proxy, ca_file
        self._known: dict[tuple[str, str, str], Route] = {}

    def of(self, request: HttpRequest) -> Route:
        """The way of a request. Raises TransportError where its certificates cannot be read."""
        end = request.url.find("/", 8)
        key = (request.url[:end] if end > 0 else request.url, request.proxy, request.ca_file)
        route = self._known.get(key)
        if route is None:
            proxy = request.proxy or self._proxy or _proxy_of_environment(request.url)
            ca_file = request.ca_file or self._ca_file
            secure = ca_file or key[0].startswith("https:") or proxy.startswith("https:")
            route = self._known[key] = Route(proxy, _tls_context(ca_file) if secure else None)
        return route


def _proxy_of_environment(url: str) -> str:
    parts = urlsplit(url)
    host = parts.hostname or ""
    if host in _LOOPBACK:
        return ""
    from urllib.request import getproxies, proxy_bypass  # heavy, and not needed for models of this machine

    if proxy_bypass(parts.netloc.rpartition("@")[2]):
        return ""
    return getproxies().get(parts.scheme, "")


def _tls_context(ca_file: str) -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    try:
        if ca_file:
            context.load_verify_locations(ca_file)
    except OSError as error:
        raise TransportError("tls", f"cannot read the certificates in `{ca_file}`: {error}", sent=False) from None
    return context


def origin_of(url: str) -> str:
    """`scheme://host:port` of a URL, without what may be secret in it."""
    try:
        parts = urlsplit(url)
    except ValueError:  # brackets around what is no address
        return "http://?"
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"


def not_connected(error: Exception, url: str) -> TransportError:
    """Why there is no connection: nothing was sent."""
    place = f"`{origin_of(url)}`"
    if isinstance(error, ssl.SSLError):
        return TransportError("tls", f"no secure connection to {place}: {_reason(error)}", sent=False)
    if isinstance(error, TimeoutError):
        return TransportError("timeout", f"no connection to {place} in time", sent=False)
    return TransportError("connect", f"cannot connect to {place}: {_reason(error)}", sent=False)


def too_late(url: str) -> TransportError:
    """Nothing came for too long, after the request was sent."""
    return TransportError("timeout", f"no answer of `{origin_of(url)}` in time", sent=True)


def broken_off(url: str) -> TransportError:
    """A reply began, and did not end."""
    return TransportError("reset", f"the answer of `{origin_of(url)}` broke off", sent=True)


def closed(url: str, *, sent: bool = True) -> TransportError:
    """No reply began."""
    return TransportError("reset", f"`{origin_of(url)}` closed the connection", sent=sent)


def no_http(url: str) -> TransportError:
    """Something else began."""
    return TransportError("malformed", f"what `{origin_of(url)}` answered is no HTTP", sent=True)


def too_large(most: int) -> TransportError:
    """The reply has more than `most` bytes."""
    return TransportError("too_large", f"the reply is larger than {most} bytes", sent=True)


def _reason(error: Exception) -> str:
    """What the system says, without the address that libraries put before it."""
    cause = getattr(error, "os_error", None) or getattr(error, "certificate_error", None) or error
    number = getattr(cause, "errno", None)
    if number is None and (named := re.search(r"\[Errno (\d+)\]", str(cause))):
        number = int(named[1])  # asyncio found several addresses, and puts what each of them said into one text
    if isinstance(number, int) and number > 0 and not isinstance(cause, ssl.SSLError):
        return os.strerror(number).lower()
    return (getattr(cause, "verify_message", None) or getattr(cause, "strerror", None) or type(cause).__name__).lower()
