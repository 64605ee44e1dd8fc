"""The size of functions and modules is a promise to the next reader."""

from __future__ import annotations

import ast
from pathlib import Path
from statistics import median

SOURCE = Path(__file__).parents[2] / "src" / "batchmill"
LONGEST_FUNCTION = 80
LONGEST_MODULE = 600
NINE_IN_TEN_UNDER = 30


def _lengths() -> dict[str, int]:
    lengths = {}
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                place = f"{path.relative_to(SOURCE)}:{node.lineno} {node.name}"
                lengths[place] = (node.end_lineno or node.lineno) - node.lineno + 1
    return lengths


def test_no_function_is_too_long_to_read_at_once() -> None:
    too_long = {place: n for place, n in _lengths().items() if n > LONGEST_FUNCTION}
    assert not too_long


def test_functions_are_small_in_general() -> None:
    lengths = sorted(_lengths().values())
    assert median(lengths) <= 10
    assert lengths[int(0.9 * len(lengths))] < NINE_IN_TEN_UNDER


def test_no_module_is_too_long_to_fit_in_the_head() -> None:
    lengths = {
        str(path.relative_to(SOURCE)): path.read_text(encoding="utf-8").count("\n") for path in SOURCE.rglob("*.py")
    }
    assert not {name: n for name, n in lengths.items() if n > LONGEST_MODULE}
