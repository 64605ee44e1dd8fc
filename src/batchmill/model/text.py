"""Words for people: text of strangers made harmless, and durations, sizes and money as they are read aloud.

What people write (`90s`, `2GB`) is read in `units`; this is the way back.
"""

from __future__ import annotations

import re

from batchmill.model.limits import MICRO_CENTS_PER_USD

# ECMA-48 control strings (OSC, DCS, SOS, PM, APC: they end at ST, BEL, or, cut short, at the line's end), CSI
# sequences, and two-byte escapes, each in its 7-bit and its 8-bit form.
_ESCAPES = re.compile(
    r"(?:\x1b[\]PX^_]|[\x9d\x90\x98\x9e\x9f])[^\x07\x1b\x9c\n]*(?:\x07|\x1b\\|\x9c)?"
    r"|(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]?"
    r"|\x1b[ -/]*[0-~]?"
)
# Everything invisible that a terminal or a reader acts on: C0 without tab and line ends, C1, bidirectional overrides.
_CONTROLS = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
_SURROGATES = re.compile("[\ud800-\udfff]")
_SUSPECT = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def clean(text: str) -> str:
    """The text without terminal escapes and control characters; tabs and line ends stay (as `\\n`)."""
    if _SUSPECT.search(text) is None:
        return text
    text = _CONTROLS.sub("", _ESCAPES.sub("", text))
    return _SURROGATES.sub("\ufffd", text.replace("\r\n", "\n").replace("\r", "\n"))


def one_line(text: str, width: int | None = None) -> str:
    """The text, clean, its white space folded to single blanks, cut to `width` characters with an ellipsis."""
    if width is not None:
        text = text[: 8 * width + 64]  # a result of megabytes costs no more than its beginning
    line = " ".join(clean(text).split())
    return line if width is None or len(line) <= width else line[: max(width - 1, 0)] + "…"


def duration_text(seconds: float | None) -> str:
    """Such as `12 ms`, `3.4 s`, `2 min 5 s`, `1 h 12 min`, `3 d 4 h`; `-` for None."""
    if seconds is None:
        return "-"
    if seconds < 5e-7:
        return "0 ms"
    if seconds < 0.9995:
        return f"{1000 * max(seconds, 0.0):.3g} ms"
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    for unit, size, smaller, part in (("d", 86400, "h", 3600), ("h", 3600, "min", 60), ("min", 60, "s", 1)):
        if whole >= size:
            rest = whole % size // part
            return f"{whole // size} {unit} {rest} {smaller}" if rest else f"{whole // size} {unit}"
    return f"{whole} s"


def size_text(size: float | None) -> str:
    """Bytes in decimal units, such as `850 B`, `1.2 MB`, `34 GB`; `-` for None."""
    if size is None:
        return "-"
    for unit in ("B", "kB", "MB", "GB"):
        if abs(size) < 999.5:
            return f"{size:.0f} {unit}" if unit == "B" or abs(size) >= 99.5 else f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} TB"


def money_text(micro_cents: int) -> str:
    """Micro-cents as US dollars, such as `0.0042 USD`, `12.30 USD`."""
    amount = micro_cents / MICRO_CENTS_PER_USD
    return f"{amount:.2f} USD" if amount == 0 or abs(amount) >= 0.995 else f"{amount:.2g} USD"


def number_text(value: float | None) -> str:
    """A number with at most four significant digits and thousands separators; `-` for None."""
    if value is None:
        return "-"
    if isinstance(value, int) or (value.is_integer() and abs(value) < 1e15):
        return f"{int(value):,}"
    return f"{value:,.0f}" if 1e4 <= abs(value) < 1e15 else f"{value:.4g}"


def counted(number: float, noun: str) -> str:
    """Such as `1 job` and `1,200 jobs`."""
    return f"{number_text(number)} {noun}{'' if number == 1 else 's'}"


def percent_text(share: float | None) -> str:
    """A share of 1 in per cent; never rounded up to 100 or down to 0. `-` for None."""
    if share is None:
        return "-"
    if 0 < share < 0.001:
        return "<0.1%"
    return ">99.9%" if 0.999 < share < 1 else f"{100 * share:.3g}%"
