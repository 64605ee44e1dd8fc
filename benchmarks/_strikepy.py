"""StrikePy on one of our models, in a process of its own: prints a JSON object of CPU seconds and identifiable
parameters. The kernel ends it after so much CPU time.

python -m benchmarks._strikepy REFERENCE SECONDS
"""

from __future__ import annotations

import contextlib
import io
import json
import re
import resource
import sys
import time
import types
from collections.abc import Iterable

from batchmill.workloads.identifiability.catalogue import find_model
from batchmill.workloads.identifiability.formats.printing import to_text
from batchmill.workloads.identifiability.model import Model

INPUT_DERIVATIVES = 1  # of known and unknown inputs: StrikePy takes no infinite number


def main() -> None:
    import sympy
    from StrikePy.strike_goldd import strike_goldd

    model, limit = find_model(sys.argv[1]), int(float(sys.argv[2]))
    resource.setrlimit(resource.RLIMIT_CPU, (limit, limit + 1))
    sys.modules["StrikePy.models.benchmark"] = _model(model, sympy)
    sys.modules["StrikePy.custom_options.benchmark"] = _options(model)
    said = io.StringIO()
    started = time.process_time()
    with contextlib.redirect_stdout(said):
        strike_goldd("benchmark")
    seconds = time.process_time() - started
    print(json.dumps({"seconds": seconds, "identifiable": _identifiable(said.getvalue(), model)}))


def _model(model: Model, sympy: types.ModuleType) -> types.ModuleType:
    names = (*model.states, *model.parameters, *model.inputs, *model.unknown_inputs)
    symbols = {name: sympy.Symbol(name) for name in names}
    numbers = {name: sympy.Rational(value.numerator, value.denominator) for name, value in model.constants.items()}

    def formula(expression: object) -> object:
        return sympy.sympify(to_text(expression), locals={**symbols, **numbers}, rational=True)

    def column(parts: Iterable[object]) -> list[object]:
        """As its own models are written: a list of lists, but a plain one of a single element."""
        listed = list(parts)
        return [[part] for part in listed] if len(listed) > 1 else listed

    made = types.ModuleType("benchmark")
    made.x = column(symbols[name] for name in model.states)
    made.p = [[symbols[name]] for name in model.parameters]
    made.u = column(symbols[name] for name in model.inputs)
    made.w = column(symbols[name] for name in model.unknown_inputs)
    made.h = column(map(formula, model.outputs.values()))
    made.f = column(formula(model.odes[name]) for name in model.states)
    made.variables_locales = vars(made).copy()
    return made


def _options(model: Model) -> types.ModuleType:
    made = types.ModuleType("benchmark")
    made.modelname, made.checkObser, made.maxLietime = "benchmark", 1, 100
    made.nnzDerU = [INPUT_DERIVATIVES] * max(1, len(model.inputs))
    made.nnzDerW = [INPUT_DERIVATIVES] * max(1, len(model.unknown_inputs))
    made.prev_ident_pars = []
    return made


def _identifiable(said: str, model: Model) -> list[str]:
    if "All its parameters are" in said:
        return sorted(model.parameters)
    found = re.search(r"These parameters are identifiable:\s*\[(.*?)\]\s*\n", said, re.DOTALL)
    return sorted(re.findall(r"[A-Za-z_]\w*", found[1])) if found else []


if __name__ == "__main__":
    main()
