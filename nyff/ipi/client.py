"""The socket client: serves a force field to i-PI, or to anything that speaks its protocol, without importing either.

Three habits keep a simulation alive when a client is not: it takes GETFORCE off the wire before it computes, and has a
guardian for the moments in between (a client that dies with bytes unread resets the connection, on which i-PI's polling
thread ends and the run hangs forever); it sends every answer in one piece; and when it cannot answer it says so in a
header the server prints.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from nyff.errors import InputError, SimulationError
from nyff.ipi.evaluator import Evaluate, Refused
from nyff.ipi.protocol import (
    Connection,
    Disconnected,
    Evaluation,
    Payload,
    SharedMemoryPayload,
    SocketPayload,
    header,
    read_init,
    refusal,
)

log = logging.getLogger("nyff.ipi")

GUARDIAN = Path(__file__).with_name("guardian.py")
RETRY_SECONDS = 0.1
CONNECT_SECONDS = 5.0
DRAIN_SECONDS = 0.5

MakeEvaluate = Callable[[dict[str, str]], Evaluate]
"""Makes the evaluator once the parameters of the server's INIT message are known."""


@dataclass(frozen=True)
class Endpoint:
    """Where the server listens. ``mode`` is unix, inet or shm (a UNIX socket with the numbers in shared memory)."""

    mode: str = "inet"
    address: str = "localhost"
    port: int = 31415
    prefix: str = "/tmp/ipi_"

    def __post_init__(self) -> None:
        if self.mode not in ("unix", "inet", "shm"):
            raise InputError(f"mode must be unix, inet or shm, got {self.mode!r}")
        if self.mode == "inet" and not 1 <= self.port <= 65535:
            raise InputError(f"port must be 1 to 65535, got {self.port}")

    def __str__(self) -> str:
        return f"{self.address}:{self.port}" if self.mode == "inet" else self.prefix + self.address

    def open(self) -> socket.socket:
        """A connected socket; raises OSError when nobody listens."""
        if self.mode == "inet":
            sock = socket.create_connection((self.address, self.port), timeout=CONNECT_SECONDS)
            sock.settimeout(None)
            # Nagle's algorithm holds small messages back by 40 ms; keepalive notices a server whose machine is gone
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            return sock
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            sock.connect(self.prefix + self.address)
        except OSError:
            sock.close()
            raise
        return sock


@dataclass
class Served:
    """What a client did: connections made, requests answered, structures in them, seconds spent evaluating."""

    connections: int = 0
    requests: int = 0
    structures: int = 0
    seconds: float = 0.0


def serve(
    endpoint: Endpoint, make_evaluate: MakeEvaluate, *, connect_timeout: float = 60.0, reconnect: bool = False
) -> Served:
    """Answer a server until it ends the session by EXIT or by closing the connection.

    Waits ``connect_timeout`` seconds for the server to listen; with ``reconnect`` also after every session, so that a
    restarted server finds its client again. Raises :class:`SimulationError` when no server ever came, and whatever
    ``make_evaluate`` and the evaluator raise, after telling the server.
    """
    served = Served()
    while True:
        sock = _connect(endpoint, connect_timeout)
        if isinstance(sock, OSError):
            if served.connections:
                log.info("no server at %s within %g s, leaving", endpoint, connect_timeout)
                return served
            raise SimulationError(
                f"no server at {endpoint} within {connect_timeout:g} s ({sock}); start i-PI, check address, port, mode "
                "and sockets prefix against its input, or wait longer with --connect-timeout"
            )
        served.connections += 1
        log.info("connected to %s", endpoint)
        with _guarded(sock):
            ending = _Session(sock, endpoint.mode, make_evaluate, served).run()
        log.info("%s after %d requests", ending, served.requests)
        if not reconnect:
            return served


def _connect(endpoint: Endpoint, timeout: float) -> socket.socket | OSError:
    """A connected socket, or why there was none at the last attempt."""
    deadline = time.monotonic() + timeout
    while True:
        try:
            return endpoint.open()
        except socket.gaierror as error:
            raise InputError(f"unknown address {endpoint.address!r}: {error}; give a host name or number") from None
        except OSError as error:
            if time.monotonic() >= deadline:
                return error
        time.sleep(RETRY_SECONDS)


@contextmanager
def _guarded(sock: socket.socket) -> Iterator[None]:
    """Have a guardian leave the connection in good order, however this process ends."""
    read_end, write_end = os.pipe()
    command = [sys.executable, "-I", "-S", str(GUARDIAN), str(sock.fileno()), str(read_end)]
    started = subprocess.run(
        command,
        pass_fds=(sock.fileno(), read_end),
        start_new_session=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        check=False,
    )
    os.close(read_end)
    if started.returncode:
        log.warning("the guardian did not start: if this client is killed at a bad moment, i-PI may hang")
    try:
        yield
    finally:
        sock.close()
        os.close(write_end)


class _Session:
    """One connection, from the first STATUS to EXIT or the end of the stream."""

    def __init__(self, sock: socket.socket, mode: str, make_evaluate: MakeEvaluate, served: Served) -> None:
        self._sock = sock
        self._connection = Connection(sock)
        self._mode = mode
        self._make_evaluate = make_evaluate
        self._served = served
        self._payload: Payload = self._make_payload(1)
        self._evaluate: Evaluate | None = None
        self._result: Evaluation | None = None
        self._pending: str | None = None
        self._atoms = 0

    def run(self) -> str:
        """Serve; returns how the session ended."""
        actions = {
            "STATUS": self._status,
            "INIT": self._init,
            "POSDATA": self._compute,
            "GETFORCE": self._send_forces,
        }
        try:
            while True:
                name = self._next_header()
                if name == "EXIT":
                    return "the server said EXIT"
                if name not in actions:
                    raise SimulationError(
                        f"the server sent the header {name!r}, wanted one of {', '.join(actions)}, EXIT; "
                        "is it i-PI, and in the same mode (unix, inet or shm) as this client?"
                    )
                actions[name]()
        except Disconnected:
            return "the server closed the connection"
        except Refused as refusal:
            self._refuse(refusal)
            raise
        finally:
            self._payload.close()

    def _make_payload(self, batch_size: int) -> Payload:
        return SharedMemoryPayload(batch_size) if self._mode == "shm" else SocketPayload(batch_size)

    def _next_header(self) -> str:
        name, self._pending = self._pending, None
        return name if name is not None else self._connection.receive_header()

    def _status(self) -> None:
        if self._evaluate is None:
            # always, even when nothing is needed: only INIT tells whether the server sends batches
            answer = "NEEDINIT"
        else:
            answer = "READY" if self._result is None else "HAVEDATA"
        self._connection.send(header(answer))

    def _init(self) -> None:
        parameters = read_init(self._connection)
        batch_size = int(parameters.pop("batch_size", "1"))
        self._payload = self._make_payload(batch_size)
        self._evaluate = self._make_evaluate(parameters)
        log.info("initialised by the server: %d structure%s a request", batch_size, "s" if batch_size > 1 else "")

    def _compute(self) -> None:
        if self._evaluate is None:
            raise SimulationError("the server sent positions before INIT; it must ask for the STATUS first")
        request = self._payload.read(self._connection)
        self._atoms = request.positions.shape[1]
        if self._connection.readable(DRAIN_SECONDS):
            self._pending = self._connection.receive_header()
        if self._pending == "EXIT":
            return
        start = time.perf_counter()
        self._result = self._evaluate(request.positions, request.cells)
        self._served.seconds += time.perf_counter() - start
        self._served.requests += 1
        self._served.structures += len(request.positions)

    def _send_forces(self) -> None:
        if self._result is None:
            raise SimulationError("the server asked for forces before it sent positions")
        self._connection.send(self._payload.reply(self._result))
        self._result = None

    def _refuse(self, refused: Refused) -> None:
        """Tell the server why there will be no forces, and end a run that no other client could carry on."""
        if self._pending == "GETFORCE":
            try:
                self._connection.send(refusal(refused.reason, self._atoms))
            except Disconnected:
                log.info("the server was gone before it could be told")
        if refused.ends_run and stop_local_server(self._sock):
            log.error("asked i-PI to stop; it writes RESTART")


def stop_local_server(sock: socket.socket) -> bool:
    """Send SIGTERM, on which i-PI writes RESTART and ends, to the i-PI of this user at the other end of ``sock``.

    The protocol has no word for "stop": left alone, i-PI waits forever for the next client. Only on Linux, over UNIX
    sockets, and only to a process whose program is called ``i-pi``; elsewhere i-PI's ``exit_on_disconnect`` does it.
    """
    if sys.platform != "linux" or sock.family != socket.AF_UNIX:
        return False
    try:
        pid, uid, _ = struct.unpack("3i", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        if uid != os.getuid() or not any(Path(os.fsdecode(word)).name == "i-pi" for word in command[:3]):
            return False
        os.kill(pid, signal.SIGTERM)
    except OSError:
        return False
    return True
