"""Every error nyff raises on purpose.

A message says what is wrong, what came, what was wanted and what to do about it. The command line prints it in a
line or two and exits with 2; library users can catch :class:`NyffError`, or :class:`ValueError` for bad arguments.
"""

from __future__ import annotations


class NyffError(Exception):
    """Base of all errors raised on purpose."""


class InputError(NyffError, ValueError):
    """An argument, a file or a data set that cannot be used as it is."""


class FileFormatError(InputError):
    """A file that is truncated, altered, foreign or of a newer format."""


class MemoryLimitError(NyffError):
    """The work does not fit into the memory that was allowed."""


class SimulationError(NyffError):
    """A simulation that had to stop: atoms collide, forces explode, numbers are not finite."""
