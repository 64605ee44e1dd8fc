"""What must never be written or printed: keys, headers and passwords, kept as a list of texts to strike out.

Every secret that `endpoints.resolve` reads is remembered here, so that nothing has to carry the list along: error
messages and raw replies go through `conceal` before they are stored, also where a server echoes what it was sent.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote, quote_plus, unquote, urlsplit

from batchmill import UsageError

STRUCK = "[secret]"
_SHORTEST = 6  # a shorter one would strike out words
_NO_SECRETS = frozenset({"ollama", "lm-studio", "no-key", "not-needed", "nokey", "not-set", "dummy", "no-key-required"})
_LIKELY = re.compile(
    r"\b(?:sk|gsk|xai|pplx|nvapi|csk|fw|tgp|hf|rk|pk)[-_][A-Za-z0-9_*-]{12,}"
    r"|\bAIza[A-Za-z0-9_-]{20,}"
    r"|(?i:\bbearer\s+)[A-Za-z0-9._~+/=*-]{8,}"
    r"|(?i:[?&](?:api[-_]?key|key|token|access_token)=)[^&\s\"']+"
)
_PASSWORD = re.compile(r"(?<=://)[^/@\s\"'`]+@")
_known: list[tuple[str, bytes]] = []  # the longest first: one may hold another


def remember(*values: str) -> None:
    """Strike these texts out from now on, also in the forms in which JSON, URLs and base64 hold them."""
    forms = {text for text, _ in _known}
    for value in values:
        if len(value) >= _SHORTEST and value.lower() not in _NO_SECRETS:
            coded = base64.b64encode(value.encode()).decode().rstrip("=")
            forms |= {value, json.dumps(value)[1:-1], quote(value, safe=""), quote_plus(value), coded}
    _known[:] = [(text, text.encode()) for text in sorted(forms, key=len, reverse=True)]


def remember_url(url: str) -> None:
    """Remember the password in a URL, if it has one."""
    parts = urlsplit(url)
    if parts.password:
        password = unquote(parts.password)
        remember(password, parts.password)
        remember(f"{unquote(parts.username or '')}:{password}")


def conceal(text: str) -> str:
    """The text without the secrets that are known, what looks like a key, and passwords in URLs."""
    for secret, _ in _known:
        text = text.replace(secret, STRUCK)
    return _PASSWORD.sub("", _LIKELY.sub(STRUCK, text))


def conceal_bytes(body: bytes) -> bytes:
    """The bytes without the secrets that are known; nothing else is touched."""
    for _, secret in _known:
        if secret in body:
            body = body.replace(secret, STRUCK.encode())
    return body


def reveal(reference: str, environ: Mapping[str, str]) -> str:
    """The secret that `env:NAME` or `file:PATH` names, which is then remembered. Raises UsageError."""
    form, colon, name = reference.partition(":")
    if form == "env" and colon:
        value = environ.get(name, "").strip()
        if not value:
            raise UsageError(f"the variable `{name}` is not set", hint=f"export {name}=...", code="llm/secret")
    elif form == "file" and colon:
        value = _read(Path(name).expanduser())
    else:
        raise UsageError(
            "a secret is written in a configuration file",
            hint="name it as `env:VARIABLE` or `file:PATH` instead",
            code="llm/secret",
        )
    remember(value)
    return value


def _read(path: Path) -> str:
    try:
        value = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not text"
        raise UsageError(f"cannot read the secret in `{path}`: {reason.lower()}", code="llm/secret") from None
    if not value:
        raise UsageError(f"the secret file `{path}` is empty", code="llm/secret")
    return value
