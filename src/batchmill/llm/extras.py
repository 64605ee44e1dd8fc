"""Packages of the extra `batchmill[llm]`, imported when they are first needed, and what to say when one is missing."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

from batchmill import UsageError


def needed(module: str) -> ModuleType:
    """The module. Raises UsageError when its package, or one that it needs, is not installed."""
    try:
        return import_module(module)
    except ImportError as error:
        package = (error.name or module).partition(".")[0]
        raise UsageError(
            f"language models need the package `{package}`", hint="pip install 'batchmill[llm]'", code="llm/extra"
        ) from error
