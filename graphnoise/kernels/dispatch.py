"""Selection of the tier that runs an operation: by the data, or by name."""

from __future__ import annotations

from collections.abc import Mapping

from graphnoise.checks import choice, fail


def select(backend: str | None, reasons: Mapping[str, str | None]) -> str:
    """Return the tier that runs an operation.

    Args:
        backend: A tier by name, or None for the first one that supports the call.
        reasons: For each tier, best first, the declared reason why it does not support this call, or None if it does.

    Raises:
        InputError: `backend` is unknown, or named and does not support the call; the message gives the tier's reason.

    Example:
        >>> select(None, {"native": "needs CPU tensors", "reference": None})
        'reference'
    """
    if backend is None:
        return next(name for name, reason in reasons.items() if reason is None)
    name = choice("backend", backend, reasons)
    if (reason := reasons[name]) is not None:
        fail("backend", f"a tier that can serve this call ({name!r} {reason})", repr(backend))
    return name
