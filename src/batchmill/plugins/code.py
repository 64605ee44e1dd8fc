"""What can be known of Python source without importing it: a digest of a module and of the project files it
imports, and the signature of a function. Nothing here runs the code it reads."""

from __future__ import annotations

import ast
import os
import sysconfig
from collections.abc import Iterator, Sequence
from functools import lru_cache
from hashlib import blake2b
from pathlib import Path
from typing import Any, NamedTuple

from batchmill.errors import TaskError
from batchmill.model.near import did_you_mean

_OURSELVES = "batchmill"  # an editable install of Batchmill is not part of a user's project


class Argument(NamedTuple):
    """One argument of a function as its source declares it. A default that is no literal reads as `...`."""

    name: str
    has_default: bool
    default: Any = None
    annotation: str = ""
    variadic: bool = False  # `*args` or `**kwargs`


def forget() -> None:
    """Drop what was read of source files. Planning calls this once, so that one plan sees one state of the code."""
    _project_digest.cache_clear()
    _signature.cache_clear()


def project_digest(module_file: str | Path, search_path: Sequence[str | Path] = ()) -> str:
    """A hex digest of a module's source and of the project files that importing it loads, found by reading only.

    Project files are those beside the module or on `search_path`, outside the standard library and site-packages.
    Folders do not count, so that a moved project keeps its digest. Raises TaskError when the module is unreadable.
    """
    return _project_digest(os.fspath(module_file), tuple(search_path))


@lru_cache(maxsize=256)
def _project_digest(module_file: str, search_path: tuple[str | Path, ...]) -> str:
    module_file = os.path.abspath(module_file)
    roots = _project_roots(module_file, [os.path.abspath(entry or ".") for entry in search_path])
    module = _module_name(module_file, roots[0])
    found: dict[str, bytes] = {}
    pending = [(module, module_file), *_parent_packages(module, roots)]
    # of what is installed, only the module's own package: not all that it builds upon
    within = "" if is_project_folder(roots[0]) else module.partition(".")[0]
    while pending:
        name, file = pending.pop()
        if name in found:
            continue
        source = _read(file)
        found[name] = blake2b(source, digest_size=16).digest()
        is_package = os.path.basename(file) == "__init__.py"
        for wanted in _imported(source, name, is_package):
            if not within or wanted.partition(".")[0] == within:
                pending += _resolve(wanted, roots)
    whole = blake2b(digest_size=16)
    for name in sorted(found):
        whole.update(f"{len(name)}:{name}".encode() + found[name])
    return whole.hexdigest()


def _read(file: str) -> bytes:
    try:
        return Path(file).read_bytes()
    except OSError as error:
        raise TaskError(f"cannot read `{file}`: {error.strerror or error}") from error


def _project_roots(module_file: str, search_path: Sequence[str]) -> list[str]:
    folder = os.path.dirname(module_file)
    while os.path.isfile(os.path.join(folder, "__init__.py")):
        folder = os.path.dirname(folder)
    return [folder, *(p for p in dict.fromkeys(search_path) if p != folder and is_project_folder(p))]


def is_project_folder(folder: str) -> bool:
    """Whether modules in this folder of `sys.path` are a project's own: not installed, not the standard library."""
    if not os.path.isdir(folder) or {"site-packages", "dist-packages"} & set(Path(folder).parts):
        return False
    return not any(folder == place or folder.startswith(place + os.sep) for place in _installed_places())


@lru_cache(maxsize=1)
def _installed_places() -> tuple[str, ...]:
    return tuple({sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")})


def _module_name(file: str, root: str) -> str:
    parts = list(Path(os.path.relpath(file, root)).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)


def _parent_packages(module: str, roots: Sequence[str]) -> list[tuple[str, str]]:
    parent = module.rpartition(".")[0]
    return _resolve(parent, roots) if parent else []


def _imported(source: bytes, module: str, is_package: bool) -> Iterator[str]:
    """Dotted names that the source imports. `from a import b` gives `a.b` too: `b` may be a module."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError):
        return  # its bytes are in the digest; importing it will tell what is wrong
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = _absolute(node, module, is_package)
            yield base
            yield from (f"{base}.{alias.name}".lstrip(".") for alias in node.names)


def _absolute(node: ast.ImportFrom, module: str, is_package: bool) -> str:
    if not node.level:
        return node.module or ""
    parts = module.split(".")
    up = node.level - 1 if is_package else node.level
    return ".".join([*parts[: max(0, len(parts) - up)], *([node.module] if node.module else [])])


def _resolve(dotted: str, roots: Sequence[str]) -> list[tuple[str, str]]:
    """The files that importing a dotted name loads: its packages' `__init__.py` and the module, where they exist."""
    parts = dotted.split(".")
    if not parts[0] or parts[0] in (_OURSELVES, "*"):
        return []
    for root in roots:
        found: list[tuple[str, str]] = []
        folder = root
        for depth, part in enumerate(parts, start=1):
            name = ".".join(parts[:depth])
            folder = os.path.join(folder, part)
            file = next((f for f in (os.path.join(folder, "__init__.py"), f"{folder}.py") if os.path.isfile(f)), None)
            if file is not None:
                found.append((name, file))
            if file is None and not os.path.isdir(folder):
                break
        if found:
            return found
    return []


def signature_of(module_file: str | Path, function: str) -> list[Argument] | None:
    """The arguments of a function (`name`, or `Class.name`), read from its source.

    None when the module has the name, but not as a `def`: an import or an assignment, whose signature is only known
    by running it. Raises TaskError when the source does not parse or has no such name.
    """
    return _signature(os.fspath(module_file), function)


@lru_cache(maxsize=256)
def _signature(module_file: str, function: str) -> list[Argument] | None:
    try:
        body: list[ast.stmt] = ast.parse(_read(module_file)).body
    except (SyntaxError, ValueError, RecursionError) as error:
        raise TaskError(f"`{os.path.basename(module_file)}` is not valid Python: {error}") from error
    for outer in function.split(".")[:-1]:
        body = next((n.body for n in body if isinstance(n, ast.ClassDef) and n.name == outer), [])
    name = function.rpartition(".")[2]
    names: list[str] = []
    for node in reversed(list(_statements(body))):  # the last definition of a name counts
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            names.append(node.name)
            if node.name == name:
                return list(_arguments(node.args))
        elif name in _bound_names(node):
            return None
    hint = did_you_mean(name, names)
    raise TaskError(f"`{os.path.basename(module_file)}` has no function `{function}`", hint=hint or None)


def _statements(body: Sequence[ast.stmt]) -> Iterator[ast.stmt]:
    """Statements of a module, also those under `if` and `try`, in order."""
    for node in body:
        yield node
        for field in ("body", "orelse", "finalbody"):
            if isinstance(node, ast.If | ast.Try | ast.With):
                yield from _statements(getattr(node, field, []))
        if isinstance(node, ast.Try):
            for handler in node.handlers:
                yield from _statements(handler.body)


def _bound_names(node: ast.stmt) -> set[str]:
    if isinstance(node, ast.Import | ast.ImportFrom):
        return {alias.asname or alias.name.split(".")[0] for alias in node.names}
    if isinstance(node, ast.Assign | ast.AnnAssign):
        return {n.id for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    return {node.name} if isinstance(node, ast.ClassDef) else set()


def _arguments(args: ast.arguments) -> Iterator[Argument]:
    positional = [*args.posonlyargs, *args.args]
    defaults: list[ast.expr | None] = [None] * (len(positional) - len(args.defaults))
    defaults += args.defaults
    for arg, default in [*zip(positional, defaults, strict=True), *zip(args.kwonlyargs, args.kw_defaults, strict=True)]:
        yield Argument(arg.arg, default is not None, _literal(default), _text(arg.annotation))
    for rest in (args.vararg, args.kwarg):
        if rest is not None:
            yield Argument(rest.arg, True, None, _text(rest.annotation), variadic=True)


def _text(annotation: ast.expr | None) -> str:
    if isinstance(annotation, ast.Constant) and isinstance(annotation.value, str):
        return annotation.value
    return "" if annotation is None else ast.unparse(annotation)


def _literal(node: ast.expr | None) -> Any:
    try:
        return None if node is None else ast.literal_eval(node)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return ...
