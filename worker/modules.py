"""Users' modules, imported for the handlers they declare; a mistake in one is told as theirs, with its place."""

import importlib
import os
import sys
import traceback
from collections.abc import Iterable

from jobcast.shared.errors import BadSettings, JobcastError
from jobcast.worker.registry import USERS, Registry
from jobcast.worker.values import error_text


def load_modules(modules: Iterable[str], shipped: Iterable[Registry] = ()) -> Registry:
    """Import users' modules and give back every handler there is.

    The working directory comes last on the path: a file there named like a library must not stand in for it.

    Raises:
        BadSettings: a module is not there, or raised anything while it was imported; a handler is declared twice.
    """
    here = str(os.getcwd())  # noqa: PTH109  sys.path holds strings
    if here not in sys.path:
        sys.path.append(here)
    for name in modules:
        try:
            importlib.import_module(name)
        except (Exception, SystemExit) as error:
            raise BadSettings(_sentence(name, error)) from error
    return USERS.merged(shipped)


def _sentence(name: str, error: BaseException) -> str:
    missing = error.name if isinstance(error, ModuleNotFoundError) else None
    if missing is not None and (name == missing or name.startswith(f"{missing}.")):
        hint = "; give its name as Python imports it, without .py" if name.endswith(".py") else ""
        return f"expected a module that can be imported, got {name!r}: {error}{hint}"
    if isinstance(error, SyntaxError):
        text = f"{type(error).__name__}: {error.msg}"
    else:
        text = str(error) if isinstance(error, JobcastError) else error_text(error)
    return f"module {name} cannot be imported: {text}{_place(error)}"


def _place(error: BaseException) -> str:
    """The line of a module that was at work: not one deep in what it called."""
    if isinstance(error, SyntaxError):
        return f" ({error.filename}:{error.lineno})"
    lines = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.name == "<module>"]
    return f" ({lines[-1].filename}:{lines[-1].lineno})" if lines else ""
