"""MathML of SBML as expressions: function definitions inlined, local parameters renamed, the rest refused by name."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from fractions import Fraction
from typing import Any

from batchmill.workloads.identifiability.expressions import (
    Expression,
    ExpressionError,
    Number,
    Symbol,
    add,
    multiply,
    number,
    power,
)
from batchmill.workloads.identifiability.formats import functions
from batchmill.workloads.identifiability.formats.source import Source

MAX_DEPTH = 64
_MAX_EXPONENT = 400  # of floats it is 308
_MAX_NODES = 200_000  # a chain of function definitions can call for exponentially many


def exact(value: float) -> Fraction:
    """The decimal number that a float was read from: 0.1 is 1/10. Raises ExpressionError for infinity and NaN."""
    try:
        return Fraction(repr(float(value)))
    except ValueError:
        raise ExpressionError("a number here is not finite", 0) from None


class Formulas:
    """Reads the formulas of one model."""

    def __init__(self, source: Source, model: Any) -> None:
        import libsbml

        self.time = ""  # the name of the state that time becomes, once a formula uses it
        self._source = source
        self._model = model
        self._local: dict[tuple[str, str], tuple[str, Any]] = {}  # reaction and id -> name, element
        self._depth = 0
        self._nodes = 0
        self._element: Any = model
        self._taken = set(_ids(model))
        self._kinds = _operators(libsbml)
        self._libsbml = libsbml

    def of(self, node: Any, element: Any, scope: Mapping[str, Expression] | None = None) -> Expression:
        """A formula of an element, under the names of `scope`. Raises ManifestError at that element."""
        self._element = element
        if node is None:
            raise self._error("a formula is missing")
        try:
            return self._read(node, scope or {})
        except ExpressionError as error:
            raise self._error(error.message, error.hint) from None

    def of_law(self, reaction: Any) -> Expression:
        """The rate of a reaction; its local parameters become parameters of the model, named after the reaction."""
        return self.of(reaction.getKineticLaw().getMath(), reaction, self._local_scope(reaction))

    def _local_scope(self, reaction: Any) -> dict[str, Expression]:
        law = reaction.getKineticLaw()
        parameters = law.getListOfLocalParameters() if law.getLevel() > 2 else law.getListOfParameters()
        local = [parameters.get(index) for index in range(parameters.size())]
        return {parameter.getId(): Symbol(self._local_name(reaction.getId(), parameter)) for parameter in local}

    def local_parameters(self) -> Iterator[tuple[str, Any]]:
        """Name and element of every local parameter of every kinetic law."""
        for index in range(self._model.getNumReactions()):
            if self._model.getReaction(index).getKineticLaw() is not None:
                self.of_law(self._model.getReaction(index))
        yield from self._local.values()

    def _local_name(self, reaction: str, parameter: Any) -> str:
        key = (reaction, parameter.getId())
        if key not in self._local:
            name = parameter.getId()
            while name in self._taken:
                name = f"{reaction}_{name}"
            self._taken.add(name)
            self._local[key] = (name, parameter)
        return self._local[key][0]

    def _error(self, message: str, hint: str = "") -> Exception:
        element = self._element
        at = self._source.offset(element.getLine(), element.getColumn())
        return self._source.error(message, at, hint=hint)

    def _read(self, node: Any, scope: Mapping[str, Expression]) -> Expression:
        self._depth += 1
        self._nodes += 1
        if self._depth > MAX_DEPTH or self._nodes > _MAX_NODES:
            raise ExpressionError(f"a formula is nested deeper than {MAX_DEPTH} levels, or too large", 0)
        value = self._node(node, scope)
        self._depth -= 1
        return value

    def _node(self, node: Any, scope: Mapping[str, Expression]) -> Expression:
        kind, library = node.getType(), self._libsbml
        if node.isNumber():
            return number(self._number(node), 0)
        if kind == library.AST_NAME:
            return scope.get(node.getName()) or self._global(node.getName())
        if kind == library.AST_NAME_TIME:
            self.time = self.time or next(name for name in ("time", "time_", "model_time") if name not in self._taken)
            return Symbol(self.time)
        if kind == library.AST_NAME_AVOGADRO:
            return Number(Fraction(602214179 * 10**15))
        if kind == library.AST_CONSTANT_E:
            return functions.apply("exp", [Number(Fraction(1))])
        if kind in self._kinds:
            return self._kinds[kind]([self._read(child, scope) for child in _children(node)])
        if kind == library.AST_FUNCTION:
            return self._defined(node, scope)
        name = self._named(node)
        raise ExpressionError(f"`{name}` is not supported in a formula", 0)

    def _global(self, name: str) -> Expression:
        """The id of a reaction stands for its rate; any other for what has that id."""
        reaction = self._model.getReaction(name)
        if reaction is None:
            return Symbol(name)
        law = reaction.getKineticLaw()
        if law is None or law.getMath() is None:
            raise ExpressionError(f"the reaction `{name[:60]}` has no kinetic law", 0)
        return self._read(law.getMath(), self._local_scope(reaction))

    def _named(self, node: Any) -> str:
        names = {
            self._libsbml.AST_FUNCTION_DELAY: "delay",
            self._libsbml.AST_FUNCTION_PIECEWISE: "piecewise",
            self._libsbml.AST_CONSTANT_PI: "pi",
        }
        return str(names.get(node.getType()) or node.getName() or self._libsbml.formulaToL3String(node)[:60] or "this")

    def _number(self, node: Any) -> Fraction:
        if node.isInteger():
            return Fraction(node.getInteger())
        if node.isRational():
            if not node.getDenominator():
                raise ExpressionError("division by zero", 0)
            return Fraction(node.getNumerator(), node.getDenominator())
        if node.getType() == self._libsbml.AST_REAL_E:
            if abs(node.getExponent()) > _MAX_EXPONENT:
                raise ExpressionError("a number here is too large or too small", 0)
            # as one float it would be 1.1000000000000001e-05
            return exact(node.getMantissa()) * Fraction(10) ** int(node.getExponent())
        return exact(node.getReal())

    def _defined(self, node: Any, scope: Mapping[str, Expression]) -> Expression:
        """A call of a function definition: its body with the arguments put in."""
        name = node.getName()
        definition = self._model.getFunctionDefinition(name)
        if definition is None or definition.getBody() is None:
            raise ExpressionError(f"the function `{name[:60]}` is not defined", 0)
        arguments = [self._read(child, scope) for child in _children(node)]
        if len(arguments) != definition.getNumArguments():
            raise ExpressionError(f"`{name[:60]}` takes {definition.getNumArguments()} arguments", 0)
        names = [definition.getArgument(index).getName() for index in range(len(arguments))]
        return self._read(definition.getBody(), dict(zip(names, arguments, strict=True)))


def _operators(library: Any) -> dict[int, Callable[[list[Expression]], Expression]]:
    kinds: dict[int, Callable[[list[Expression]], Expression]] = {
        library.AST_PLUS: add,
        library.AST_TIMES: multiply,
        library.AST_MINUS: _of(1, 2, _minus),
        library.AST_DIVIDE: _of(2, 2, lambda values: functions.quotient(values[0], values[1])),
        library.AST_POWER: _of(2, 2, lambda values: power(values[0], values[1])),
        library.AST_FUNCTION_POWER: _of(2, 2, lambda values: power(values[0], values[1])),
        library.AST_FUNCTION_ROOT: _of(1, 2, _root),
        library.AST_FUNCTION_LOG: _of(1, 2, _logarithm),
    }
    for name in ("exp", "ln", "sin", "cos", "tan", "sinh", "cosh", "tanh", "sec", "csc", "cot"):
        kind = getattr(library, f"AST_FUNCTION_{name.upper()}")
        kinds[kind] = lambda values, name=name: functions.apply(name, values)  # type: ignore[misc]
    return kinds


def _of(
    least: int, most: int, calculate: Callable[[list[Expression]], Expression]
) -> Callable[[list[Expression]], Expression]:
    """The same, for as many values as the operator takes."""

    def checked(values: list[Expression]) -> Expression:
        if not least <= len(values) <= most:
            raise ExpressionError(f"an operator stands with {len(values)} operands", 0)
        return calculate(values)

    return checked


def _minus(values: list[Expression]) -> Expression:
    return functions.negative(values[0]) if len(values) == 1 else add((values[0], functions.negative(values[1])))


def _root(values: list[Expression]) -> Expression:
    degree, value = values if len(values) == 2 else (Number(Fraction(2)), values[0])
    if degree == Number(Fraction(2)):
        return functions.apply("sqrt", [value])
    return power(value, functions.quotient(Number(Fraction(1)), degree))


def _logarithm(values: list[Expression]) -> Expression:
    base, value = values if len(values) == 2 else (Number(Fraction(10)), values[0])
    return functions.log_to_base(base, value, 0)


def _children(node: Any) -> list[Any]:
    return [node.getChild(index) for index in range(node.getNumChildren())]


def _ids(model: Any) -> list[str]:
    lists = (model.getListOfParameters(), model.getListOfSpecies(), model.getListOfCompartments())
    return [elements.get(index).getId() for elements in lists for index in range(elements.size())]
