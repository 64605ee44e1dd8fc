"""SBML models, read with python-libsbml (the extra `sbml`): reactions and rules become differential equations.

A species that changes is a state, in the units that its formulas use (amount or concentration); parameters that
nothing sets are unknown; compartments are known sizes. Initial values are unknown unless a PEtab problem fixes them.
How formulas are read is in `sbml_math`; what is refused before any of it is in `sbml_guard`.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Sequence
from fractions import Fraction
from typing import Any

from batchmill import ManifestError
from batchmill.workloads.identifiability.expressions import (
    ZERO,
    Expression,
    ExpressionError,
    Number,
    Symbol,
    add,
    multiply,
)
from batchmill.workloads.identifiability.formats import functions
from batchmill.workloads.identifiability.formats.draft import Draft
from batchmill.workloads.identifiability.formats.printing import factors_of, names_in, substitute
from batchmill.workloads.identifiability.formats.sbml_guard import parse_document, refuse_unsupported
from batchmill.workloads.identifiability.formats.sbml_math import Formulas, exact
from batchmill.workloads.identifiability.formats.source import Source

_OBSERVABLE = "observable_"  # an assignment rule of such a name is an output, as in early PEtab problems


def read_models(source: Source, *, outputs: Sequence[str] | None = None) -> list[Draft]:
    """The one model of a file, all of its species measured unless `outputs` (or rules `observable_...`) say else."""
    reader = SbmlModel(source)
    draft = reader.draft
    if outputs is not None:
        draft.notes.append("outputs as given")
    else:
        outputs = [name for name in reader.assigned if name.startswith(_OBSERVABLE)]
        which = "the rules `observable_...`" if outputs else "every state (the format does not say what is measured)"
        outputs = outputs or [name for name in draft.states if name not in (draft.known or {})]
        draft.notes.append(f"outputs: {which}")
    for name in outputs:
        draft.outputs[f"y_{name}"] = reader.value_of(name)
    draft.notes.append("initial values are unknown")
    return [draft]


class SbmlModel:
    """The equations of an SBML text. `values`: what each constant is; `assigned`: what rules define, inlined.

    What a PEtab problem sets is `overridden`: initial assignments and sizes of the model do not count there.
    """

    def __init__(self, source: Source, overridden: Container[str] = ()) -> None:
        self.source = source
        self._overridden = overridden
        self._document = parse_document(source)  # owns all that follows
        self._model = self._document.getModel()
        refuse_unsupported(source, self._document)
        self.draft = Draft(source, self._model.getId() or source.stem)
        self._formulas = Formulas(source, self._model)
        self.assigned: dict[str, Expression] = {}
        self.values: dict[str, Fraction | None] = {}
        self.initial: dict[str, Expression] = {}  # initial assignments
        self._rates: dict[str, Expression] = {}
        self._read()

    def value_of(self, name: str) -> Expression:
        """What a name stands for once rules are inlined. Raises ManifestError for a name that the model has not."""
        known = {*self.draft.states, *self.draft.parameters, *self.draft.constants, *self.assigned}
        if name not in known:
            self.source.refuse(f"the model has no `{name[:60]}`", hint="give ids of species or of rules")
        return self.inlined(Symbol(name))

    def inlined(self, expression: Expression) -> Expression:
        """An expression with what assignment rules define put in."""
        return self._calculated(lambda: substitute(expression, self.assigned))

    def _calculated(self, calculate: Callable[[], Expression]) -> Expression:
        try:
            return calculate()
        except ExpressionError as error:
            self.source.refuse_expression(error, 0)

    def _read(self) -> None:
        self._rules()
        self._initial_assignments()
        self._symbols()
        self._check_initial_assignments()
        self._reactions()
        draft = self.draft
        for name in draft.states:
            draft.odes[name] = self.inlined(self._rates.get(name, ZERO))
        self._add_time()
        if not draft.states:
            self.source.refuse("nothing in this model changes in time", hint="it has no reactions and no rate rules")

    def _add_time(self) -> None:
        """Time in a formula is a state that starts at 0 and grows by 1."""
        name = self._formulas.time
        if name:
            self.draft.states.append(name)
            self.draft.odes[name] = Number(Fraction(1))
            self.draft.known = {name: Fraction(0)}
            self.values[name] = Fraction(0)
            self.draft.notes.append("time is a state that starts at 0")

    def _rules(self) -> None:
        written: dict[str, Expression] = {}
        for rule in _all(self._model.getListOfRules()):
            target = rule.getVariable()
            value = self._formulas.of(rule.getMath(), rule)
            (self._rates if rule.isRate() else written)[target] = value
            self.draft.places[("odes", target)] = self._place(rule)
        self._ruled = written.keys()
        self.assigned = self._resolved(written)

    def _resolved(self, written: dict[str, Expression]) -> dict[str, Expression]:
        """Assignment rules with one another put in. Raises ManifestError for a circle."""
        done: dict[str, Expression] = {}
        waiting = dict(written)
        while waiting:
            ready = [name for name, value in waiting.items() if not names_in(value) & waiting.keys()]
            if not ready:
                self.source.refuse(f"assignment rules go in a circle: {', '.join(sorted(waiting)[:5])}")
            for name in ready:
                value = waiting[name]
                done[name] = self._calculated(lambda value=value: substitute(value, done))  # type: ignore[misc]
            waiting = {name: value for name, value in waiting.items() if name not in done}
        return done

    def _initial_assignments(self) -> None:
        for assignment in _all(self._model.getListOfInitialAssignments()):
            if assignment.getSymbol() not in self._overridden:
                value = self._formulas.of(assignment.getMath(), assignment)
                self.initial[assignment.getSymbol()] = self.inlined(value)

    def _check_initial_assignments(self) -> None:
        """A constant that is computed from a state holds its initial value, which no name stands for."""
        for name in self.initial.keys() - set(self.draft.states):
            moving = sorted(names_in(self.assigned.get(name, ZERO)) & set(self.draft.states))
            if moving:
                self.source.refuse(f"`{name}` is computed from the initial value of `{moving[0]}`: not supported")

    def _symbols(self) -> None:
        changed = self._changed_by_reactions()
        for compartment in _all(self._model.getListOfCompartments()):
            size = self._exact(compartment.getSize(), compartment) if compartment.isSetSize() else None
            self._place_symbol(compartment, size, unknown=False)
            name = compartment.getId()
            if size == 1 and name in self.draft.constants and name not in self._overridden:
                self.assigned[name] = Number(size)  # a size of one needs no name
                del self.draft.constants[name]
        for parameter in _all(self._model.getListOfParameters()):
            value = self._exact(parameter.getValue(), parameter) if parameter.isSetValue() else None
            self._place_symbol(parameter, value, unknown=True)
        for species in _all(self._model.getListOfSpecies()):
            if species.getId() in changed:
                self._add_state(species)
            else:
                self._place_symbol(species, self._initial_value(species), unknown=False)
        for name, element in self._formulas.local_parameters():
            self.draft.parameters.append(name)
            self.values[name] = self._exact(element.getValue(), element) if element.isSetValue() else None
        for name in self._rates:
            if name not in self.draft.states:
                self.source.refuse(
                    f"a rate rule changes `{name}`, which is not supported", self.draft.places["odes", name]
                )

    def _place_symbol(self, element: Any, value: Fraction | None, *, unknown: bool) -> None:
        """A compartment, parameter or unchanging species: a state, an inlined rule, an unknown, or a constant."""
        name = element.getId()
        start = self.initial.get(name)
        self.values[name] = value if start is None else start.value if isinstance(start, Number) else None
        if name in self._rates:
            self._add_state(element)
        elif name in self.assigned:
            return
        elif name in self.initial:
            self.assigned[name] = self.initial[name]
            self.assigned = self._resolved(self.assigned)
        elif unknown:
            self.draft.parameters.append(name)
        else:
            self.draft.constants[name] = value

    def _add_state(self, element: Any) -> None:
        name = element.getId()
        self.draft.states.append(name)
        self.draft.places.setdefault(("odes", name), self._place(element))
        if hasattr(element, "isSetInitialAmount"):
            self.values[name] = self._initial_value(element)

    def _initial_value(self, species: Any) -> Fraction | None:
        """In the unit that formulas use; None where it is not given or needs a size that is not given."""
        amount = species.getHasOnlySubstanceUnits()
        size = self.values.get(species.getCompartment())
        if species.isSetInitialConcentration():
            given = self._exact(species.getInitialConcentration(), species)
            return given * size if amount and size is not None else (None if amount else given)
        if species.isSetInitialAmount():
            given = self._exact(species.getInitialAmount(), species)
            return given if amount else (given / size if size else None)
        return None

    def _changed_by_reactions(self) -> set[str]:
        return {
            reference.getSpecies()
            for reaction in _all(self._model.getListOfReactions())
            for reference in (*_all(reaction.getListOfReactants()), *_all(reaction.getListOfProducts()))
            if not self._is_fixed(self._model.getSpecies(reference.getSpecies()))
        }

    @staticmethod
    def _is_fixed(species: Any) -> bool:
        return species is None or species.getBoundaryCondition() or species.getConstant()

    def _reactions(self) -> None:
        terms: dict[str, list[Expression]] = {}
        for reaction in _all(self._model.getListOfReactions()):
            law = reaction.getKineticLaw()
            if law is None or law.getMath() is None:
                raise self.error(f"the reaction `{reaction.getId()}` has no kinetic law", reaction)
            rate = self._formulas.of_law(reaction)
            for name, counts in self._changes(reaction).items():
                terms.setdefault(name, []).append(multiply((add(counts), rate)))
        for name, rates in terms.items():
            self._rates[name] = self._per_volume(name, rates)

    def _changes(self, reaction: Any) -> dict[str, list[Expression]]:
        """By how much the reaction changes each species: less for reactants, more for products."""
        changes: dict[str, list[Expression]] = {}
        for sign, references in ((-1, reaction.getListOfReactants()), (1, reaction.getListOfProducts())):
            for reference in _all(references):
                name = reference.getSpecies()
                if not self._is_fixed(self._model.getSpecies(name)):
                    count = multiply((Number(Fraction(sign)), self._stoichiometry(reference)))
                    changes.setdefault(name, []).append(count)
        return changes

    def _stoichiometry(self, reference: Any) -> Expression:
        name = reference.getId()
        if name and (name in self.assigned or name in self.initial):
            return self.assigned.get(name) or self.initial[name]
        if reference.isSetStoichiometryMath():
            return self._formulas.of(reference.getStoichiometryMath().getMath(), reference)
        if not reference.isSetStoichiometry() and reference.getLevel() > 2:
            raise self.error(f"a stoichiometry of `{reference.getSpecies()}` is not given", reference)
        # Level 1 writes a half as 1 and 2
        return Number(self._exact(reference.getStoichiometry(), reference) / reference.getDenominator())

    def _per_volume(self, name: str, rates: list[Expression]) -> Expression:
        """Reactions change amounts: a concentration changes by rate/V, and thins out as V grows."""
        species = self._model.getSpecies(name)
        compartment = self._model.getCompartment(species.getCompartment())
        if species.getHasOnlySubstanceUnits() or compartment is None or compartment.getSpatialDimensions() == 0:
            return add(rates)
        volume = compartment.getId()
        if volume in self._ruled:
            raise self.error(f"the size of `{volume}` follows an assignment rule", compartment)
        if volume in self._rates:
            rates = [*rates, functions.negative(multiply((Symbol(name), self._rates[volume])))]
        return add(_divided(rate, volume) for rate in rates)

    def _exact(self, value: float, element: Any) -> Fraction:
        try:
            return exact(value)
        except ExpressionError as error:
            raise self.error(error.message, element) from None

    def _place(self, element: Any) -> int:
        return self.source.offset(element.getLine(), element.getColumn())

    def error(self, message: str, element: Any) -> ManifestError:
        """What to raise for an element."""
        return self.source.error(message, self._place(element))


def _divided(rate: Expression, volume: str) -> Expression:
    """rate/volume: most kinetic laws are a concentration's change times the volume, which cancels."""
    coefficient, above, below = factors_of(rate)
    if Symbol(volume) not in above:
        return functions.quotient(rate, Symbol(volume))
    above.remove(Symbol(volume))
    return functions.quotient(multiply((Number(coefficient), *above)), multiply(below))


def _all(elements: Any) -> Iterable[Any]:
    return (elements.get(index) for index in range(elements.size()))
