"""Python text as a syntax tree, and what a piece of one is. Nothing runs; `nullstrike` gives it its meaning."""

from __future__ import annotations

import ast
import re
import warnings
from typing import TypeGuard

from batchmill.workloads.identifiability.formats.source import Source

MAX_DEPTH = 64


def parse(source: Source) -> ast.Module:
    """The syntax tree. Raises ManifestError."""
    _refuse_deep_brackets(source)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about escapes and literals in a text that is not ours
            return ast.parse(source.text)
    except SyntaxError as error:
        at = source.offset(error.lineno or 1, error.offset or 1)
        source.refuse(f"this is not Python: {error.msg}", at)
    except (RecursionError, MemoryError, ValueError):
        source.refuse("an expression here is too long or nested too deeply to be read")


def _refuse_deep_brackets(source: Source) -> None:
    depth = 0
    for match in re.finditer(r"[\[({]|[\])}]", source.text):
        depth += 1 if match[0] in "[({" else -1
        if depth > MAX_DEPTH:
            source.refuse(f"nested deeper than {MAX_DEPTH} levels", match.start())


def is_locals(node: ast.expr) -> bool:
    """Whether this is the `locals().copy()` that every such file ends with."""
    return ast.dump(node) in _LOCALS


_LOCALS = tuple(
    ast.dump(ast.parse(text, mode="eval").body) for text in ("locals().copy()", "locals()", "dict(locals())")
)


def is_append(node: ast.expr) -> TypeGuard[ast.Call]:
    return (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == "append"
        and len(node.args) == 1
        and not node.keywords
    )


def words(node: ast.AST) -> str:
    """What a piece of Python is, in few words."""
    names = {"FunctionDef": "def", "ClassDef": "class", "With": "with", "Subscript": "[...]", "Lambda": "lambda"}
    if isinstance(node, ast.Expr):
        return words(node.value)
    if isinstance(node, ast.Call):
        return f"{words(node.func)}(...)"
    if isinstance(node, ast.Name):
        return node.id[:60]
    if isinstance(node, ast.Attribute):
        return f"{words(node.value)}.{node.attr}"[:60]
    kind = type(node).__name__
    return names.get(kind, kind.lower())
