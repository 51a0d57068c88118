"""Ctrl-C and SIGTERM that wait for the end of a step."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Interruption:
    """Which signal came, if any."""

    def __init__(self) -> None:
        self.signal: int | None = None

    def __bool__(self) -> bool:
        return self.signal is not None

    def deliver(self) -> None:
        """Let the signal do now what it would have done without us."""
        if self.signal is not None:
            signal.raise_signal(self.signal)


@contextmanager
def deferred_signals() -> Iterator[Interruption]:
    """Hold back SIGINT and SIGTERM inside the block, so that work in progress can be put in order first.

    The block looks at the yielded :class:`Interruption` and ends early; the caller saves and then calls ``deliver``.
    A second signal acts at once. Outside the main thread, where Python delivers no signals, nothing is held back.
    """
    interruption = Interruption()
    if threading.current_thread() is not threading.main_thread():
        yield interruption
        return

    def note(number: int, frame: FrameType | None) -> None:
        interruption.signal = number
        restore()

    def restore() -> None:
        for number, handler in previous.items():
            signal.signal(number, handler)

    # None: a handler that was not set from Python and cannot be put back.
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    previous = {number: handler for number, handler in handlers.items() if handler is not None}
    for number in previous:
        signal.signal(number, note)
    try:
        yield interruption
    finally:
        restore()
