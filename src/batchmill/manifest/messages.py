"""Problems as people read them in a terminal: code, place, the line with a caret, and a hint."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterator

from batchmill.errors import ManifestError, Problem
from batchmill.manifest.overrides import SOURCE
from batchmill.model.text import clean, counted, one_line

Painter = Callable[[str, str], str]

MAX_SHOWN = 100  # of one error; a text that is no manifest at all may have thousands
_WIDTH = 100  # of the source line shown
_BEFORE = 60  # of it, kept before the caret when it is cut

_RED, _BLUE, _CYAN, _BOLD, _END = "\x1b[31m", "\x1b[34m", "\x1b[36m", "\x1b[1m", "\x1b[0m"


def render(error: ManifestError, *, colour: bool = False) -> str:
    """All problems of an error, each with its line and a caret, and their number at the end."""
    paint = _paint if colour else _plain
    if not error.problems:
        problem = Problem(error.code, error.message, hint=error.hint or "")
        return "\n".join(_problem(problem, paint))
    shown = error.problems[:MAX_SHOWN]
    blocks = ["\n".join(_problem(problem, paint)) for problem in shown]
    return "\n\n".join(blocks) + "\n" + _total(error.problems)


def _total(problems: tuple[Problem, ...]) -> str:
    number, sources = len(problems), {one_line(p.source, 200) for p in problems if p.line}
    if len(sources) > 1:
        sources.discard(SOURCE)
    where = f" in {sources.pop()}" if len(sources) == 1 else ""
    hidden = f" ({number - MAX_SHOWN} not shown)" if number > MAX_SHOWN else ""
    return f"found {counted(number, 'error')}{where}{hidden}; nothing was run"


def _plain(text: str, _: str) -> str:
    return text


def _paint(text: str, colour: str) -> str:
    return f"{colour}{text}{_END}"


def _problem(problem: Problem, paint: Painter) -> Iterator[str]:
    head = f"error[{problem.code}]"
    yield f"{paint(head, _RED + _BOLD)}: {paint(one_line(problem.message, 400), _BOLD)}"
    pad = " " * len(str(problem.line or ""))
    if problem.line:
        yield f"{pad} {paint('-->', _BLUE)} {one_line(problem.source, 200)}:{problem.line}:{problem.column}"
        yield from _source(problem, pad, paint)
    elif problem.source:
        yield f"{pad}  {paint('-->', _BLUE)} `{one_line(problem.source, 200)}`"
    if problem.note and not problem.text:
        yield f"note: {one_line(problem.note, 400)}"
    if problem.hint:
        yield f"{paint('hint', _CYAN)}: {one_line(problem.hint, 400)}"


def _source(problem: Problem, pad: str, paint: Painter) -> Iterator[str]:
    if not problem.text:
        return
    before, marked, after = _cut(problem)
    bar = paint("|", _BLUE)
    caret = paint("^" * max(_columns(marked), 1), _RED)
    yield f" {pad} {bar}"
    yield f" {paint(str(problem.line), _BLUE)} {bar} {before}{marked}{after}".rstrip()
    yield f" {pad} {bar} {' ' * _columns(before)}{caret} {one_line(problem.note, 200)}".rstrip()
    yield f" {pad} {bar}"


def _cut(problem: Problem) -> tuple[str, str, str]:
    """The line before, at and after the caret, harmless for a terminal and cut around the caret."""
    start = problem.column - 1
    end = start + max(problem.length, 1)
    before, marked, after = problem.text[:start], problem.text[start:end], problem.text[end:]
    if len(problem.text) > _WIDTH:
        before = before if len(before) <= _BEFORE else "…" + before[-_BEFORE:]
        room = _WIDTH - len(before)
        after = after if len(marked) + len(after) <= room else after[: max(room - len(marked), 0)] + "…"
        if len(marked) > room:
            marked, after = marked[:room], "…"
    return _harmless(before), _harmless(marked), _harmless(after)


def _harmless(text: str) -> str:
    return clean(text).replace("\t", " ").replace("\n", " ")


def _columns(text: str) -> int:
    """How many columns of a terminal a text takes: wide characters take two, combining ones none."""
    return sum(
        0 if unicodedata.combining(char) else 2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in text
    )
