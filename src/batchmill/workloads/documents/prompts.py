"""Prompts as Jinja templates in a sandbox: checked without being run, and filled in with what a document gives.

Checking parses only: a stranger's manifest can be planned safely. What a document says is never read as a template.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

from batchmill import did_you_mean

if TYPE_CHECKING:
    from jinja2 import Environment

FILE_FIELDS = ("name", "stem", "suffix", "path", "folder")
_MOST = 2_000_000  # characters that `*` or `~` may make of a text
_LARGEST_POWER = 10_000  # bits


class PromptError(ValueError):
    """A prompt that cannot be used; `hint` says what to do."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class Names(NamedTuple):
    """What a template asks for: names, and the attributes of `file`."""

    names: frozenset[str]
    file_fields: frozenset[str]

    @property
    def places_document(self) -> bool:
        """Whether the text stands where the template says."""
        return "text" in self.names


@dataclass(frozen=True, slots=True)
class FileFacts:
    """`file` in a template."""

    name: str
    stem: str
    suffix: str
    path: str
    folder: str


@lru_cache(maxsize=1024)
def names_in(source: str) -> Names:
    """The names that a template does not make itself. Nothing is run. Raises PromptError with the line."""
    if "{" not in source:
        return Names(frozenset(), frozenset())
    from jinja2 import TemplateSyntaxError, nodes

    try:
        tree = _environment().parse(source)
    except TemplateSyntaxError as error:
        line = source.splitlines()[error.lineno - 1].strip()[:80] if source.strip() else ""
        hint = "variables are `{{ name }}`; for braces as they are, write `{% raw %}...{% endraw %}`"
        raise PromptError(f"line {error.lineno}: {error.message}: `{line}`", hint) from None
    except RecursionError:
        raise PromptError("it is nested too deep") from None
    if (
        outside := next(tree.find_all((nodes.Include, nodes.Import, nodes.FromImport, nodes.Extends)), None)
    ) is not None:
        raise PromptError(f"line {outside.lineno}: a prompt is one text: it cannot include others")
    _check_functions(tree)
    used = list(tree.find_all(nodes.Name))
    made = {name.name for name in used if name.ctx != "load"}
    known = {*made, *_environment().globals, "loop", "caller", "varargs", "kwargs"}
    macros = {macro.name for macro in tree.find_all(nodes.Macro)}
    wanted = frozenset(name.name for name in used if name.ctx == "load") - known - macros
    return Names(wanted, frozenset(_file_fields(tree)))


def _check_functions(tree: Any) -> None:
    """Raise PromptError for a filter or a test that there is not."""
    from jinja2 import nodes

    for kind, known in ((nodes.Filter, _environment().filters), (nodes.Test, _environment().tests)):
        for used in tree.find_all(kind):
            if used.name not in known:
                hint = did_you_mean(used.name, known)
                raise PromptError(f"line {used.lineno}: there is no {kind.__name__.lower()} `{used.name}`", hint)


def _file_fields(tree: Any) -> Iterable[str]:
    from jinja2 import nodes

    for got in tree.find_all(nodes.Getattr):
        if isinstance(got.node, nodes.Name) and got.node.name == "file":
            yield got.attr


def check(source: str, given: Iterable[str]) -> Names:
    """The template's names, all of which are `given`. Raises PromptError."""
    wanted = names_in(source)
    known = sorted(set(given))
    for name in sorted(wanted.names):
        if name not in known:
            raise PromptError(
                f"`{{{{ {name} }}}}` is not known here",
                f"known names: {', '.join(f'`{n}`' for n in known)}" if known else "there is no document",
            )
    for field in sorted(wanted.file_fields):
        if field not in FILE_FIELDS:
            fields = ", ".join(f"`{{{{ file.{name} }}}}`" for name in FILE_FIELDS)
            raise PromptError(f"`{{{{ file.{field} }}}}` is not known", f"there are {fields}")
    return wanted


def render(source: str, values: Mapping[str, Any]) -> str:
    """The template filled in. Raises PromptError for a name without a value, and for what the sandbox refuses."""
    if "{" not in source:
        return source
    from jinja2 import TemplateError

    try:
        return str(_compiled(source).render(values))
    except TemplateError as error:
        raise PromptError(f"the prompt cannot be filled in: {error.message or type(error).__name__}") from None
    except (TypeError, ValueError, ArithmeticError, LookupError, RecursionError) as error:
        raise PromptError(f"the prompt cannot be filled in: {error}") from None


@lru_cache(maxsize=256)
def _compiled(source: str) -> Any:
    return _environment().from_string(source)


@cache
def _environment() -> Environment:
    """No files, no attributes that begin with `_`, no names that are silently empty, no texts without bounds."""
    from jinja2 import StrictUndefined
    from jinja2.exceptions import SecurityError
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class Bounded(ImmutableSandboxedEnvironment):
        intercepted_binops = frozenset({"*", "**"})  # also keeps them from being computed while a template is parsed

        def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
            """`*` and `**` within bounds."""
            if operator == "**" and _bits(left) * abs(right) > _LARGEST_POWER:
                raise SecurityError("a power in it is too large")
            if operator == "*" and _length(left, right) > _MOST:
                raise SecurityError("a text in it is repeated too often")
            return super().call_binop(context, operator, left, right)

    return Bounded(undefined=StrictUndefined, autoescape=False, keep_trailing_newline=False)


def _bits(value: Any) -> int:
    return value.bit_length() if isinstance(value, int) else 64


def _length(one: Any, other: Any) -> int:
    """Of what a text or a list becomes when it is repeated; 0 for other products."""
    for repeated, times in ((one, other), (other, one)):
        if isinstance(repeated, str | list | tuple) and isinstance(times, int):
            return len(repeated) * times
    return 0
