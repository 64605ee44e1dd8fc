"""Forms with files, as uploads come (RFC 7578): only what such requests need."""

from __future__ import annotations

import re

from batchmill.testing.fake_llm.asked import BadRequest

_BOUNDARY = re.compile(r'boundary="?([^";]{1,100})"?')
_PARAMETER = re.compile(r'\b(name|filename)="([^"]*)"')


def form(content_type: str, body: bytes) -> dict[str, tuple[str, bytes]]:
    """The file name (or an empty text) and the content of each field. Raises BadRequest."""
    found = _BOUNDARY.search(content_type)
    if not content_type.startswith("multipart/form-data") or found is None:
        raise BadRequest("the body must be multipart/form-data")
    mark = b"\r\n--" + found[1].encode("latin-1")
    fields: dict[str, tuple[str, bytes]] = {}
    for part in (b"\r\n" + body).split(mark)[1:]:
        if part.startswith(b"--"):
            return fields
        head, gap, content = part.partition(b"\r\n\r\n")
        names = dict(_PARAMETER.findall(head.decode("latin-1")))
        if not gap or "name" not in names:
            raise BadRequest("a part of the form has no name")
        fields[names["name"]] = (names.get("filename", ""), content)
    raise BadRequest("the form does not end")
