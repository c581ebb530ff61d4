"""Exceptions of the package, and the signals that end a command."""

import signal
from typing import Any

# What ends a command so that it can be resumed: Ctrl-C, `kill` and batch systems, a terminal that closes.
STOPS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))


class GraphnoiseError(Exception):
    """Base of all exceptions of this package; the command line prints them in one line."""


class InputError(GraphnoiseError, ValueError):
    """An argument is invalid: the message names it, the expected and the actual value."""


class DataError(GraphnoiseError, RuntimeError):
    """A file, a download or a record is missing, damaged or of another kind."""


def __getattr__(name: str) -> Any:
    """Return `NotFittedError`: an `InputError` that is scikit-learn's `NotFittedError` as well."""
    if name != "NotFittedError":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    # On first use, since the import of scikit-learn takes longer than `graphnoise --help`.
    from sklearn import exceptions

    text = "A method that needs a fitted estimator was called before `fit`."
    globals()[name] = kind = type(
        name, (InputError, exceptions.NotFittedError), {"__doc__": text, "__module__": __name__}
    )
    return kind
