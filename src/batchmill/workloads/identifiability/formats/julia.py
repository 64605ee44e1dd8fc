"""`@ODEmodel(x'(t) = ..., y(t) = ...)` of StructuralIdentifiability.jl, read as text. Julia is never called.

States are what has a derivative on the left, outputs the other left sides, inputs the other functions of `t`,
parameters the names without `(t)`. Around the macro only loading, logging and assessment may stand.
"""

from __future__ import annotations

import re
from typing import NoReturn

from batchmill.workloads.identifiability.expressions import Expression, Symbol
from batchmill.workloads.identifiability.formats import functions
from batchmill.workloads.identifiability.formats.algebra import JULIA, Algebra, Token, tokens
from batchmill.workloads.identifiability.formats.draft import Draft
from batchmill.workloads.identifiability.formats.source import Source, ascii_name

_TIME = Symbol("t")
_MACRO = re.compile(r"@ODEmodel\b")
_MODEL_START = re.compile(r"(?:(?P<name>[^\W\d]\w*)[ \t]*=[ \t]*)?(?:\w+\.)*$")
_AROUND = re.compile(
    r"(?:using|import)\b[\w\s,.:]*$"
    r"|logger\s*=\s*(?:Logging\.)?(?:Simple|Console)Logger\([\w\s.,]*\)$|global_logger\(\w*\)$"
    r"|(?:@time\s+|@show\s+|@info\s+)*(?:\w+\s*=\s*)?(?:print(?:ln)?\(\s*)?(?:assess|find)_\w+\([\w\s.,=:\[\]+\-*/()]*\)$"
    r"|(?:@time\s+|@show\s+|@info\s+)*(?:print(?:ln)?\()?\w+\)?$"
)


def read_models(source: Source) -> list[Draft]:
    """The models of a file. Raises ManifestError at anything else that could change one."""
    drafts: list[Draft] = []
    outside = 0
    while match := _MACRO.search(source.text, outside):
        if _in_comment(source.text, match.start()):
            outside_end = source.text.find("\n", match.end())
            outside = outside_end if outside_end > 0 else len(source.text)
            continue
        start = source.text.rfind("\n", 0, match.start()) + 1
        before = _MODEL_START.search(source.text[start : match.start()].strip())
        reader = _Model(source, match.end(), (before and before["name"]) or "")
        drafts.append(reader.draft())
        outside = reader.end
    if not drafts:
        source.refuse("there is no `@ODEmodel(...)` here", hint="other ways to make a model in Julia are not read")
    _check_outside(source, drafts)
    return _named(source, drafts)


def _in_comment(text: str, offset: int) -> bool:
    return "#" in text[text.rfind("\n", 0, offset) + 1 : offset]


def _named(source: Source, drafts: list[Draft]) -> list[Draft]:
    if len(drafts) == 1:
        # the variable of an only model is mostly `ode`, which tells nothing
        drafts[0].variable, drafts[0].name = drafts[0].name, source.stem
    for index, draft in enumerate(drafts, start=1):
        draft.name = draft.name or f"{source.stem}_{index}"
    return drafts


def _check_outside(source: Source, drafts: list[Draft]) -> None:
    """Nothing may stand around the models that could change them: `set_parameter_values`, loops, `include`."""
    text = list(source.text)
    for draft in drafts:
        start, end = draft.places[("span", 0)], draft.places[("span", 1)]
        start = source.text.rfind("\n", 0, start) + 1
        for index in range(start, end):
            text[index] = "\n" if text[index] == "\n" else " "
    rest = re.sub(r"#=.*?=#|#[^\n]*", lambda match: re.sub(r"[^\n]", " ", match[0]), "".join(text), flags=re.DOTALL)
    rest = re.sub(r"(\b(?:assess|find)_\w+\(\s*\w+\s*);", r"\1,", rest)  # of keywords, not between statements
    for match in re.finditer(r"[^\n;]+", rest):
        statement = match[0].strip()
        if statement and (len(statement) > 1000 or not _AROUND.match(statement)):
            offset = match.start() + len(match[0]) - len(match[0].lstrip())
            shown = statement[:40] if statement.isascii() else ascii(statement[:40])
            source.refuse(
                f"only `@ODEmodel(...)` is read, and `{shown}` stands beside it",
                offset,
                hint="remove what is not the model; values of parameters belong into its equations",
            )


def _inside(source: Source, start: int) -> list[Token]:
    """The tokens from the opening parenthesis to the one that closes it; lines do not count in there."""
    return [token for token in tokens(source, JULIA, start, closed=True) if token.kind != "newline"]


class _Model:
    """One macro call, from its opening parenthesis on."""

    def __init__(self, source: Source, start: int, name: str) -> None:
        self.end = start
        self._source = source
        self._draft = Draft(source, name)
        self._draft.places[("span", 0)] = start
        self._functions: dict[str, int] = {}  # names that stand with (t)
        self._constants: dict[str, int] = {}  # names that stand without
        self._algebra = Algebra(source, _inside(source, start), JULIA, self._name, self._call)
        self._times: list[Token] = []  # where time stands alone

    def draft(self) -> Draft:
        algebra = self._algebra
        algebra.expect("(")
        while not algebra.take(")"):
            self._equation()
            if algebra.peek().text != ")":
                algebra.expect(",")
        self.end = self._draft.places[("span", 1)] = algebra.tokens[algebra.position - 1].offset + 1
        self._declare()
        return self._draft

    def _equation(self) -> None:
        algebra = self._algebra
        token = algebra.next()
        if token.kind != "name":
            algebra.refuse("an equation `x'(t) = ...` or `y(t) = ...` is expected here", token)
        name = self._ascii(token)
        derivative = algebra.take("'") is not None
        self._time()
        algebra.expect("=")
        target = self._draft.odes if derivative else self._draft.outputs
        if name in self._draft.odes or name in self._draft.outputs:
            algebra.refuse(f"`{name}` has two equations", token)
        target[name] = algebra.expression()
        self._draft.places[("odes" if derivative else "outputs", name)] = token.offset

    def _time(self) -> None:
        algebra = self._algebra
        algebra.expect("(")
        token = algebra.next()
        if token.text != "t":
            algebra.refuse(f"`t` is expected here, not {algebra.shown(token)}", token, "discrete time is not supported")
        algebra.expect(")")

    def _declare(self) -> None:
        draft = self._draft
        if self._times:
            hint = "write it as an input, or as a state with the derivative 1"
            self._algebra.refuse("time stands in an equation", self._times[0], hint)
        if not draft.odes:
            self._source.refuse("the model has no equation `x'(t) = ...`", draft.places[("span", 0)])
        if not draft.outputs:
            self._source.refuse("the model has no output `y(t) = ...`", draft.places[("span", 0)])
        for name, offset in self._constants.items():
            if name in self._functions or name in draft.odes or name in draft.outputs:
                self._source.refuse(f"`{name}` stands both with and without `(t)`", offset, length=len(name))
        places = draft.places
        draft.declare("states", [(name, places[("odes", name)]) for name in draft.odes])
        used_outputs = [name for name in self._functions if name in draft.outputs]
        if used_outputs:
            self._refuse_output(used_outputs[0])
        draft.declare("inputs", [(n, at) for n, at in self._functions.items() if n not in draft.odes])
        draft.declare("parameters", self._constants.items())

    def _refuse_output(self, name: str) -> NoReturn:
        self._source.refuse(f"the output `{name}` stands on a right-hand side", self._functions[name], length=len(name))

    def _ascii(self, token: Token) -> str:
        name = ascii_name(token.text)
        if name is None:
            hint = "letters, digits and `_`; Greek is spelt out"
            self._algebra.refuse(f"{token.text[:60]!a} cannot be a name", token, hint)
        return name

    def _name(self, token: Token) -> Expression:
        name = self._ascii(token)
        if name == "t":
            self._times.append(token)
            return _TIME
        self._constants.setdefault(name, token.offset)
        return Symbol(name)

    def _call(self, token: Token, arguments: list[Expression]) -> Expression:
        name = self._ascii(token)
        if len(arguments) == 1 and arguments[0] is _TIME:
            self._times.pop()
            self._functions.setdefault(name, token.offset)
            return Symbol(name)
        return functions.apply(name, arguments, token.offset)
