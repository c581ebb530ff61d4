"""Errors that this package raises on purpose."""


class GraphnoiseError(Exception):
    """Base of all errors that this package raises on purpose; the command line prints them in one line."""


class InputError(GraphnoiseError, ValueError):
    """An argument is not what the function needs: the message names it, what was expected and what came."""


class DataError(GraphnoiseError, RuntimeError):
    """A file, a download or a record is missing, damaged or not what its name says."""
