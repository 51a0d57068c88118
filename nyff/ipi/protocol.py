"""i-PI's wire format: twelve-byte headers and native binary arrays, in hartree and bohr.

============  =====================================================  =====================================
server says   followed by                                            client answers
============  =====================================================  =====================================
``STATUS``    nothing                                                ``NEEDINIT``, ``READY`` or ``HAVEDATA``
``INIT``      i4 replica, i4 length, that many bytes of text         nothing
``POSDATA``   f8 h[9], f8 h⁻¹[9], i4 N, f8 R[3N]                     nothing; it computes
same, batch   i4 N, B × (h, h⁻¹), B × R
same, shm     i4 N, the first time 6 × (i4 length, segment name)
``GETFORCE``  nothing                                                ``FORCEREADY``, f8 E[B], i4 N, f8 F[B,3N],
                                                                     f8 virial[B,9], B × (i4 length, text)
same, shm     nothing                                                ``FORCEREADY``, B × (i4 length, text)
``EXIT``      nothing                                                closes
============  =====================================================  =====================================

The batch size B is announced once, as ``batch_size:B`` among the comma-separated ``key : value`` pairs of INIT's text;
servers older than i-PI 3.3 never do, and B stays 1. Nothing here knows of models, files or i-PI's Python package.
"""

from __future__ import annotations

import select
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from nyff.errors import SimulationError

if TYPE_CHECKING:
    from multiprocessing.shared_memory import SharedMemory

HEADER_BYTES = 12
MAX_ATOMS = 10_000_000
MAX_TEXT_BYTES = 100_000_000


class Disconnected(Exception):
    """The other side closed the connection; never leaves :mod:`nyff.ipi`."""


@dataclass(frozen=True)
class Request:
    """Structures to evaluate. ``positions`` [B, N, 3] bohr; ``cells`` [B, 3, 3] bohr, lattice vectors in columns."""

    positions: np.ndarray
    cells: np.ndarray


@dataclass(frozen=True)
class Evaluation:
    """Answers to a :class:`Request`, all in atomic units.

    ``energies`` [B] hartree, ``forces`` [B, N, 3] hartree/bohr, ``virials`` [B, 3, 3] hartree with i-PI's sign
    (``Σ rᵢ ⊗ fᵢ``, positive outward), ``extras`` B texts, each empty or one JSON object.
    """

    energies: np.ndarray
    forces: np.ndarray
    virials: np.ndarray
    extras: list[str]


class Connection:
    """A stream socket that gives and takes whole messages."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock

    def receive(self, count: int) -> bytearray:
        """Exactly ``count`` bytes; raises :class:`Disconnected` when the stream ends before."""
        buffer = bytearray(count)
        view = memoryview(buffer)
        done = 0
        while done < count:
            try:
                got = self._socket.recv_into(view[done:])
            except OSError as error:
                raise Disconnected(str(error)) from None
            if got == 0:
                raise Disconnected("end of stream")
            done += got
        return buffer

    def receive_header(self) -> str:
        """The next header, without its padding."""
        return self.receive(HEADER_BYTES).decode("ascii", errors="replace").rstrip()

    def receive_int(self) -> int:
        """One 32-bit integer in native byte order."""
        return int(np.frombuffer(self.receive(4), dtype=np.int32)[0])

    def receive_floats(self, *shape: int) -> np.ndarray:
        """An array of 64-bit floats in native byte order."""
        count = int(np.prod(shape))
        return np.frombuffer(self.receive(8 * count), dtype=np.float64).reshape(shape)

    def receive_text(self) -> str:
        """A text preceded by its length in bytes."""
        length = _bounded(self.receive_int(), 0, MAX_TEXT_BYTES, "length of a text")
        return self.receive(length).decode("utf-8", errors="replace")

    def readable(self, timeout: float) -> bool:
        """Whether bytes, or the end of the stream, arrive within ``timeout`` seconds."""
        return bool(select.select([self._socket], [], [], timeout)[0])

    def send(self, message: bytes) -> None:
        """Send all of ``message`` in one piece: the server drops a client that dawdles between header and payload."""
        try:
            self._socket.sendall(message)
        except OSError as error:
            raise Disconnected(str(error)) from None


def header(name: str) -> bytes:
    """``name`` as the twelve bytes that open a message."""
    return name.upper().ljust(HEADER_BYTES).encode("ascii")[:HEADER_BYTES]


def refusal(reason: str, atoms: int) -> bytes:
    """What to send instead of forces: a header the server prints before it drops the client.

    Padded to the length of a single answer for ``atoms`` atoms, because i-PI reads one whole before it looks.
    """
    return header(reason) + bytes(8 + 4 + 24 * atoms + 72 + 4)


def read_init(connection: Connection) -> dict[str, str]:
    """The parameters of an INIT message; what is not ``key : value`` (ASE sends one zero byte) is passed over."""
    connection.receive_int()  # the replica's index: any replica may come, so it means nothing here
    return parse_parameters(connection.receive_text())


def parse_parameters(text: str) -> dict[str, str]:
    """Read ``key : value, key : value``; values may hold colons (``cuda:0``) but no commas."""
    pairs = (item.partition(":") for item in text.split(","))
    return {key.strip(): value.strip() for key, colon, value in pairs if colon and key.strip()}


class SocketPayload:
    """Positions and results that travel over the socket itself."""

    def __init__(self, batch_size: int = 1) -> None:
        self.batch_size = batch_size

    def read(self, connection: Connection) -> Request:
        """The structures that follow POSDATA."""
        batch = self.batch_size
        if batch == 1:
            cells = connection.receive_floats(2, 9)[:1]
            atoms = _atoms(connection.receive_int())
        else:
            atoms = _atoms(connection.receive_int())
            cells = connection.receive_floats(batch, 18)[:, :9]
        return Request(connection.receive_floats(batch, atoms, 3), cells.reshape(batch, 3, 3))

    def reply(self, evaluation: Evaluation) -> bytes:
        """The answer to GETFORCE as one message."""
        forces = np.ascontiguousarray(evaluation.forces, dtype=np.float64)
        return b"".join(
            (
                header("FORCEREADY"),
                np.asarray(evaluation.energies, dtype=np.float64).tobytes(),
                np.int32(forces.shape[1]).tobytes(),
                forces.tobytes(),
                np.asarray(evaluation.virials, dtype=np.float64).tobytes(),
                _texts(evaluation.extras),
            )
        )

    def close(self) -> None:
        """Nothing to let go of."""


class SharedMemoryPayload:
    """Positions and results in six segments that the server owns; only triggers and texts use the socket."""

    _KINDS = ("pos", "h", "ih", "pot", "force", "vir")

    def __init__(self, batch_size: int = 1) -> None:
        self.batch_size = batch_size
        self._segments: dict[str, SharedMemory] = {}
        self._atoms = 0

    def read(self, connection: Connection) -> Request:
        """The structures that follow POSDATA, copied: the server may overwrite its segments at any time."""
        atoms = _atoms(connection.receive_int())
        if not self._segments:
            self._atoms = atoms
            for kind in self._KINDS:
                self._segments[kind] = _attach(connection.receive_text())
        if atoms != self._atoms:
            raise SimulationError(
                f"the server sends {atoms} atoms, but its shared memory was made for {self._atoms}; restart both sides"
            )
        positions, cells = self._view("pos", atoms * 3), self._view("h", 9)
        return Request(positions.reshape(-1, atoms, 3).copy(), cells.reshape(-1, 3, 3).copy())

    def reply(self, evaluation: Evaluation) -> bytes:
        """Write the results, then give the message that tells so."""
        batch = self.batch_size
        self._view("pot", 1)[:, 0] = evaluation.energies
        self._view("force", 3 * self._atoms)[:] = np.reshape(evaluation.forces, (batch, -1))
        self._view("vir", 9)[:] = np.reshape(evaluation.virials, (batch, 9))
        return header("FORCEREADY") + _texts(evaluation.extras)

    def close(self) -> None:
        """Let go of the segments without removing them: they belong to the server."""
        while self._segments:
            self._segments.popitem()[1].close()

    def _view(self, kind: str, columns: int) -> np.ndarray:
        return np.ndarray((self.batch_size, columns), dtype=np.float64, buffer=self._segments[kind].buf)


Payload = SocketPayload | SharedMemoryPayload


def _attach(name: str) -> SharedMemory:
    from multiprocessing import resource_tracker, shared_memory

    segment = shared_memory.SharedMemory(name=name)
    # Python registers a segment even when it only attaches, and would remove it when this process ends
    resource_tracker.unregister(segment._name, "shared_memory")  # type: ignore[attr-defined]
    return segment


def _texts(extras: list[str]) -> bytes:
    encoded = [text.encode("utf-8") for text in extras]
    return b"".join(np.int32(len(text)).tobytes() + text for text in encoded)


def _atoms(count: int) -> int:
    return _bounded(count, 1, MAX_ATOMS, "number of atoms")


def _bounded(value: int, low: int, high: int, what: str) -> int:
    if not low <= value <= high:
        raise SimulationError(
            f"the server sent a {what} of {value}, wanted {low} to {high}; is it i-PI, "
            "and does it use the same mode (unix, inet or shm) as this client?"
        )
    return value
