"""Small models written down in a line."""

from __future__ import annotations

from batchmill.workloads.identifiability.model import Model, Options
from batchmill.workloads.identifiability.parser import parse


def model(odes, outputs, parameters, inputs="", constants=None, **options) -> Model:
    """A model from formulas; names are told as words of one text."""
    return Model(
        name="handmade",
        states=tuple(odes),
        parameters=tuple(parameters.split()),
        inputs=tuple(inputs.split()),
        unknown_inputs=(),
        odes={name: parse(text).expression for name, text in odes.items()},
        outputs={name: parse(text).expression for name, text in outputs.items()},
        constants=constants or {},
        options=Options(**options),
    )


def decay(rate: str, parameters: str, **more) -> Model:
    """x' = -rate * x, y = x."""
    return model({"x": f"-({rate})*x"}, {"y": "x"}, parameters, **more)
