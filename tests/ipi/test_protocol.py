"""The wire format byte by byte, packed here with ``struct``: a server made by hand at one end of a socket pair."""

from __future__ import annotations

import socket
import struct
import subprocess
import sys
import threading

import numpy as np
import pytest

from nyff.errors import InputError, SimulationError
from nyff.ipi import client
from nyff.ipi.client import Endpoint, Served
from nyff.ipi.evaluator import Refused
from nyff.ipi.protocol import Evaluation, header, parse_parameters

CELL = np.arange(9.0) + 1
INVERSE = -CELL


def doubles(*values) -> bytes:
    flat = np.concatenate([np.ravel(value) for value in values])
    return struct.pack(f"={len(flat)}d", *flat)


def integer(value: int) -> bytes:
    return struct.pack("=i", value)


class Server:
    """A socket pair with the client's session in a thread at the other end."""

    def __init__(self, evaluate=None, make=None):
        ours, theirs = socket.socketpair()
        self.sock = ours
        ours.settimeout(10)
        self.ending: object = None
        self.initialised: dict[str, str] = {}
        self.requests: list[tuple[np.ndarray, np.ndarray]] = []

        def record(positions, cells):
            self.requests.append((positions, cells))
            return evaluate(positions) if evaluate else answer(positions)

        def default(parameters):
            self.initialised = parameters
            return record

        def run():
            session = client._Session(theirs, "unix", make or default, Served())
            try:
                self.ending = session.run()
            except Exception as error:
                self.ending = error
            finally:
                theirs.close()

        self.thread = threading.Thread(target=run)
        self.thread.start()

    def say(self, *parts: bytes) -> None:
        self.sock.sendall(b"".join(parts))

    def hear(self, count: int) -> bytes:
        got = b""
        while len(got) < count:
            part = self.sock.recv(count - len(got))
            assert part, "the client closed the connection"
            got += part
        return got

    def finish(self) -> object:
        self.sock.close()
        self.thread.join(10)
        assert not self.thread.is_alive()
        return self.ending


def answer(positions):
    batch = len(positions)
    virials = np.arange(9.0 * batch).reshape(batch, 3, 3)
    return Evaluation(positions.sum((1, 2)), -2.0 * positions, virials, [f"é{i}" for i in range(batch)])


@pytest.fixture
def structures():
    return np.random.default_rng(0).normal(size=(3, 2, 3))


@pytest.mark.parametrize("order", ["consolidated", "old"])
def test_one_structure(structures, order):
    server = Server()
    server.say(b"STATUS      ")
    assert server.hear(12) == b"NEEDINIT    "
    text = b" model : a.nyff , device : cuda:0 , "
    server.say(b"INIT        ", integer(5), integer(len(text)), text)
    server.say(b"STATUS      ")
    assert server.hear(12) == b"READY       "
    for r in structures:
        position = b"POSDATA     " + doubles(CELL, INVERSE) + integer(2) + doubles(r)
        if order == "consolidated":
            server.say(position, b"GETFORCE    ")
        else:
            server.say(position, b"STATUS      ")
            assert server.hear(12) == b"HAVEDATA    "
            server.say(b"GETFORCE    ")
        wanted = b"FORCEREADY  " + doubles([r.sum()]) + integer(2) + doubles(-2 * r, np.arange(9.0))
        wanted += integer(3) + "é0".encode()
        assert server.hear(len(wanted)) == wanted
    server.say(b"EXIT        ")
    assert server.finish() == "the server said EXIT"
    assert server.initialised == {"model": "a.nyff", "device": "cuda:0"}
    np.testing.assert_array_equal(server.requests[0][1], CELL.reshape(1, 3, 3))


def test_a_batch(structures):
    server = Server()
    text = b"  batch_size:3"
    server.say(b"INIT        ", integer(0), integer(len(text)), text, b"POSDATA     ", integer(2))
    server.say(*(doubles(CELL + i, INVERSE) for i in range(3)), doubles(structures), b"GETFORCE    ")
    wanted = b"FORCEREADY  " + doubles(structures.sum((1, 2))) + integer(2)
    wanted += doubles(-2 * structures, np.arange(27.0))
    wanted += b"".join(integer(3) + f"é{i}".encode() for i in range(3))
    assert server.hear(len(wanted)) == wanted
    assert server.finish() == "the server closed the connection"
    np.testing.assert_array_equal(server.requests[0][0], structures)
    np.testing.assert_array_equal(server.requests[0][1], CELL.reshape(3, 3) + np.arange(3.0)[:, None, None])


def test_ase_s_init_without_parameters_is_understood(structures):
    server = Server()
    server.say(b"INIT        ", integer(0), integer(1), b"\0", b"STATUS      ")
    assert server.hear(12) == b"READY       "
    assert server.finish() == "the server closed the connection"
    assert server.initialised == {}


def test_getforce_is_taken_off_the_wire_before_computing(structures):
    """A client that dies with unread bytes resets the connection, and i-PI's polling thread does not survive that."""
    unread = []
    ours, theirs = socket.socketpair()

    def compute(positions, cells):
        theirs.setblocking(False)
        try:
            unread.append(theirs.recv(100, socket.MSG_PEEK))
        except BlockingIOError:
            unread.append(None)
        theirs.setblocking(True)
        return answer(positions)

    session = client._Session(theirs, "unix", lambda parameters: compute, Served())
    ours.sendall(
        b"INIT        "
        + integer(0)
        + integer(0)
        + b"POSDATA     "
        + doubles(CELL, INVERSE)
        + integer(2)
        + doubles(structures[0])
        + b"GETFORCE    "
    )
    ours.shutdown(socket.SHUT_WR)
    session.run()
    ours.close()
    theirs.close()
    assert unread == [b""], "only the end of the stream may be left to read"


def test_a_refusal_has_the_length_of_an_answer_and_a_header_to_print(structures):
    def evaluate(positions):
        raise Refused("NOTFINITE", "no forces")

    server = Server(evaluate)
    server.say(b"INIT        ", integer(0), integer(0), b"POSDATA     ", doubles(CELL, INVERSE), integer(2))
    server.say(doubles(structures[0]), b"GETFORCE    ")
    assert server.hear(12) == b"NOTFINITE   "
    server.hear(8 + 4 + 6 * 8 + 72 + 4)
    ending = server.finish()
    assert isinstance(ending, Refused)


@pytest.mark.parametrize(
    ("said", "text"),
    [
        (b"HELLO       ", "sent the header 'HELLO'"),
        (b"GETFORCE    ", "asked for forces before it sent positions"),
        (b"POSDATA     ", "sent positions before INIT"),
        (b"INIT        " + integer(0) + integer(-1), "length of a text of -1"),
        (
            b"INIT        " + integer(0) + integer(0) + b"POSDATA     " + doubles(CELL, INVERSE) + integer(-7),
            "number of atoms of -7",
        ),
    ],
)
def test_nonsense_is_refused_with_words(said, text):
    server = Server()
    server.say(said)
    server.thread.join(10)
    ending = server.finish()
    assert isinstance(ending, SimulationError)
    assert text in str(ending)


def test_parameters_may_hold_colons_and_spaces():
    text = " model : a b.nyff;c.nyff , device : cuda:1 ,, x : , batch_size:32"
    assert parse_parameters(text) == {
        "model": "a b.nyff;c.nyff", "device": "cuda:1", "x": "", "batch_size": "32",
    }  # fmt: skip


def test_headers_are_twelve_bytes():
    assert header("needinit") == b"NEEDINIT    "
    assert header("a reason that is too long") == b"A REASON THA"


def test_endpoints_say_where_they_are_and_what_is_wrong():
    assert str(Endpoint("unix", "a", prefix="/tmp/x_")) == "/tmp/x_a"
    assert str(Endpoint("inet", "host", 99)) == "host:99"
    with pytest.raises(InputError, match="mode must be unix, inet or shm, got 'tcp'"):
        Endpoint("tcp")
    with pytest.raises(InputError, match="port must be 1 to 65535, got 0"):
        Endpoint("inet", port=0)


def test_inet_sockets_do_not_wait_for_more_to_send():
    with socket.socket() as listener:
        listener.bind(("localhost", 0))
        listener.listen()
        with Endpoint("inet", "localhost", listener.getsockname()[1]).open() as sock:
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_the_client_imports_nothing_heavy():
    code = (
        "import sys, nyff.ipi.client, nyff.ipi.load; print(sorted({'ipi', 'ase', 'torch', 'scipy'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
