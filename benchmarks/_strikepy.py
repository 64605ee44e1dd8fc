"""StrikePy on one of our models, in a process of its own: prints a JSON object of seconds and identifiable parameters.

python -m benchmarks._strikepy REFERENCE
"""

from __future__ import annotations

import contextlib
import io
import json
import re
import sys
import time
import types

from batchmill.workloads.identifiability.catalogue import find_model
from batchmill.workloads.identifiability.formats.printing import to_text
from batchmill.workloads.identifiability.model import Model

INPUT_DERIVATIVES = 1  # of known inputs: StrikePy takes no infinite number


def main() -> None:
    import sympy
    from StrikePy.strike_goldd import strike_goldd

    model = find_model(sys.argv[1])
    sys.modules["StrikePy.models.benchmark"] = _model(model, sympy)
    sys.modules["StrikePy.custom_options.benchmark"] = _options(model)
    said = io.StringIO()
    started = time.perf_counter()
    with contextlib.redirect_stdout(said):
        strike_goldd("benchmark")
    seconds = time.perf_counter() - started
    print(json.dumps({"seconds": seconds, "identifiable": _identifiable(said.getvalue(), model)}))


def _model(model: Model, sympy: types.ModuleType) -> types.ModuleType:
    names = (*model.states, *model.parameters, *model.inputs)
    symbols = {name: sympy.Symbol(name) for name in names}
    numbers = {name: sympy.Rational(value.numerator, value.denominator) for name, value in model.constants.items()}

    def formula(expression: object) -> object:
        return sympy.sympify(to_text(expression), locals={**symbols, **numbers}, rational=True)

    made = types.ModuleType("benchmark")
    made.x = [[symbols[name]] for name in model.states]
    made.p = [[symbols[name]] for name in model.parameters]
    made.u = [symbols[name] for name in model.inputs]
    made.w = []
    made.h = [[formula(output)] for output in model.outputs.values()]
    made.h = made.h[0] if len(made.h) == 1 else made.h
    made.f = [[formula(model.odes[name])] for name in model.states]
    made.variables_locales = vars(made).copy()
    return made


def _options(model: Model) -> types.ModuleType:
    made = types.ModuleType("benchmark")
    made.modelname, made.checkObser, made.maxLietime = "benchmark", 1, 100
    made.nnzDerU, made.nnzDerW = [INPUT_DERIVATIVES] * max(1, len(model.inputs)), [0]
    made.prev_ident_pars = []
    return made


def _identifiable(said: str, model: Model) -> list[str]:
    if "All its parameters are" in said:
        return sorted(model.parameters)
    found = re.search(r"These parameters are identifiable:\s*\[(.*?)\]\s*\n", said, re.DOTALL)
    return sorted(re.findall(r"[A-Za-z_]\w*", found[1])) if found else []


if __name__ == "__main__":
    main()
