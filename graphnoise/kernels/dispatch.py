"""Which tier runs: the data decide, and an explicit wish that cannot be met is an error."""

from __future__ import annotations

from collections.abc import Mapping

from graphnoise.checks import choice, fail


def select(backend: str | None, reasons: Mapping[str, str | None]) -> str:
    """Return the tier that runs an operation.

    Args:
        backend: A tier by name, or None for the first one that can serve.
        reasons: For each tier, best first, the declared reason why it cannot serve this call, or None if it can.

    Raises:
        InputError: `backend` is unknown, or named and cannot serve; the message gives the tier's own reason.

    Example:
        >>> select(None, {"native": "needs CPU tensors", "reference": None})
        'reference'
    """
    if backend is None:
        return next(name for name, unsupported_reason in reasons.items() if unsupported_reason is None)
    name = choice("backend", backend, reasons)
    if (unsupported_reason := reasons[name]) is not None:
        fail("backend", f"a tier that can serve this call ({name!r} {unsupported_reason})", repr(backend))
    return name
