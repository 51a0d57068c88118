"""A second holder of a client's socket, which says goodbye for a client that was killed.

When a process dies with bytes in its socket that it has not read, the kernel resets the connection. i-PI's polling thread
ends on that, and the run hangs for good. This program holds the same socket but never reads from it while the
client lives. Once the client is gone, it tells the server that nothing more will come, and reads on until the server
closes too: the server sees an orderly end and gives the work to the next client.

Run as a script by :mod:`nyff.ipi.client` with two file descriptors, of the socket and of a pipe that the client holds
open. It imports nothing but the standard library, so that it starts in milliseconds.
"""

from __future__ import annotations

import os
import signal
import socket
import sys

PATIENCE_SECONDS = 60.0


def say_goodbye(sock: socket.socket) -> None:
    """Close the sending half, read until the server closes or has been silent for long, close the rest."""
    try:
        sock.settimeout(PATIENCE_SECONDS)
        sock.shutdown(socket.SHUT_WR)
        while sock.recv(65536):
            pass
    except OSError:
        pass  # the server is gone already
    finally:
        sock.close()


def main() -> None:
    """Wait for the client's end of the pipe to close, then say goodbye."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # what ends the client must not end its guardian first
    if os.fork():
        return  # the client waits for this process, and goes on once its child is in place
    sock, pipe = socket.socket(fileno=int(sys.argv[1])), int(sys.argv[2])
    os.read(pipe, 1)
    say_goodbye(sock)


if __name__ == "__main__":
    main()
