"""Exceptions of the package."""


class GraphnoiseError(Exception):
    """Base of all exceptions of this package; the command line prints them in one line."""


class InputError(GraphnoiseError, ValueError):
    """An argument is invalid: the message names it, the expected and the actual value."""


class DataError(GraphnoiseError, RuntimeError):
    """A file, a download or a record is missing, damaged or of another kind."""
