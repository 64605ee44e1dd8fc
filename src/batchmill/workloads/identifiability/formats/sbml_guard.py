"""What is refused in an SBML file before it is read: entities, deep nesting, and constructs that have no equation here.

The XML is looked through with expat first: libsbml neither sees a DOCTYPE nor more nesting than it can bear.
"""

from __future__ import annotations

import re
import xml.parsers.expat
from typing import Any

from batchmill import ManifestError
from batchmill.workloads.identifiability.formats.source import Source

MAX_DEPTH = 128
_HARMLESS = ("layout", "render", "l3v2extendedmath")  # what of the last has no equation is refused in formulas
_ENCODING = re.compile(r"""<\?xml[^>]*encoding\s*=\s*["']([^"']*)""")


def parse_document(source: Source) -> Any:
    """The libsbml document of a text. Raises ManifestError at its first error, and without python-libsbml."""
    _look_through(source)
    try:
        import libsbml
    except ImportError:
        raise ManifestError(
            f"{source.path}: python-libsbml is needed to read SBML", hint="pip install 'batchmill[sbml]'"
        ) from None
    document = libsbml.readSBMLFromString(source.text)
    for index in range(document.getNumErrors()):
        error = document.getError(index)
        if error.getSeverity() >= libsbml.LIBSBML_SEV_ERROR:
            message = " ".join(error.getShortMessage().split())[:200]
            source.refuse(f"SBML: {message.lower()}", source.offset(error.getLine(), error.getColumn()))
    if document.getModel() is None:
        source.refuse("this SBML file holds no model", 0)
    return document


def _look_through(source: Source) -> None:
    encoding = _ENCODING.match(source.text)
    if encoding and encoding[1].lower() not in ("utf-8", "utf8", "us-ascii", "ascii"):
        source.refuse(f"the encoding `{encoding[1][:40]}` is not read", encoding.start(1), hint="save it as UTF-8")
    parser = xml.parsers.expat.ParserCreate()
    depth = 0

    def opened(_name: str, _attributes: Any) -> None:
        nonlocal depth
        depth += 1
        if depth > MAX_DEPTH:
            raise source.error(f"nested deeper than {MAX_DEPTH} levels", _offset(source, parser))

    def closed(_name: str) -> None:
        nonlocal depth
        depth -= 1

    def doctype(*_: Any) -> None:
        raise source.error("a DOCTYPE or an entity stands here", _offset(source, parser), hint="SBML needs neither")

    parser.StartElementHandler, parser.EndElementHandler = opened, closed
    parser.StartDoctypeDeclHandler = parser.EntityDeclHandler = doctype
    try:
        parser.Parse(source.text.encode(), True)
    except xml.parsers.expat.ExpatError as error:
        at = source.offset(error.lineno, error.offset + 1)
        source.refuse(f"this is not XML: {xml.parsers.expat.ErrorString(error.code)}", at)


def _offset(source: Source, parser: Any) -> int:
    return source.offset(parser.CurrentLineNumber, parser.CurrentColumnNumber + 1)


def refuse_unsupported(source: Source, document: Any) -> None:
    """Raises ManifestError for the first construct that no differential equation stands for."""
    model = document.getModel()
    if model.getNumEvents():
        hint = "an event is not a differential equation: analyse the time between events"
        _refuse(source, model.getEvent(0), "events are not supported", hint)
    for index in range(model.getNumRules()):
        rule = model.getRule(index)
        if rule.isAlgebraic():
            _refuse(source, rule, "algebraic rules are not supported", "solve the rule for one of its variables")
    for index in range(model.getNumReactions()):
        reaction = model.getReaction(index)
        if reaction.isSetFast() and reaction.getFast():
            _refuse(source, reaction, "fast reactions are not supported", "eliminate them first")
    if model.isSetConversionFactor():
        _refuse(source, model, "conversion factors are not supported", "")
    for index in range(model.getNumSpecies()):
        species = model.getSpecies(index)
        if species.isSetConversionFactor():
            _refuse(source, species, "conversion factors are not supported", "")
    _refuse_packages(source, document)


def _refuse_packages(source: Source, document: Any) -> None:
    for index in range(document.getNumPlugins()):
        name = document.getPlugin(index).getPackageName()
        if name not in _HARMLESS and document.getPackageRequired(name):
            source.refuse(f"the SBML package `{name}` is not supported", 0, hint="only SBML core is read")
    for index in range(document.getNumUnknownPackages()):
        prefix = document.getUnknownPackagePrefix(index)
        source.refuse(f"the SBML package `{prefix}` is not supported", 0, hint="only SBML core is read")


def _refuse(source: Source, element: Any, message: str, hint: str) -> None:
    name = element.getId() if element.isSetId() else ""
    shown = f" (`{name[:60]}`)" if name else ""
    raise source.error(message + shown, source.offset(element.getLine(), element.getColumn()), hint=hint)
