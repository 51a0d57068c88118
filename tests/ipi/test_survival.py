"""What happens when a side dies: the server must never hang, a new client or a new server carries the run on.

Runs that do not depend on each other go at the same time: i-PI spends most of its start and end asleep.
"""

from __future__ import annotations

import json
import signal
import time

import numpy as np
import pytest

HARMONIC = "<ffdirect name='f'><pes>harmonic</pes><parameters>{ k1: 0.1 }</parameters></ffdirect>"
STEPS = 30
OLD_ORDER = "<consolidate_messages>False</consolidate_messages>"
KILLED = {
    "unix-batch": ("unix", 4, ""),
    "unix": ("unix", 1, ""),
    "inet-batch": ("inet", 4, ""),
    "shm-batch": ("shm", 4, ""),
    "old-order": ("unix", 1, OLD_ORDER),
}
NOT_FINITE = {
    "unix-batch": ("unix", 4, ""),
    "unix": ("unix", 1, ""),
    "shm-batch": ("shm", 4, ""),
    "inet-batch": ("inet", 4, "<exit_on_disconnect>True</exit_on_disconnect>"),
}


@pytest.fixture(scope="module")
def undisturbed(simulations):
    """Printed quantities of the run that nobody disturbs, by i-PI's own potential."""
    run = simulations("reference")
    run.input(HARMONIC, steps=2 * STEPS)
    assert run.finish(run.server()) == [0], run.logs()
    return run.properties()


@pytest.fixture(scope="module")
def killed_while_computing(simulations):
    runs, servers, clients = {}, [], []
    for name, (mode, batch, extra) in KILLED.items():
        run = runs[name] = simulations(f"killed-{name}")
        run.input(run.ffsocket(mode, batch, extra), steps=STEPS)
        servers.append(run.server())
        clients.append(run.toy("--die-at", "7", mode=mode))
    assert run.finish(*clients) == [-signal.SIGKILL] * len(clients)
    assert [server.poll() for server in servers] == [None] * len(servers), "no server may end with its client"
    clients = [run.toy(mode=KILLED[name][0], log="second.log") for name, run in runs.items()]
    assert run.finish(*servers, *clients) == [0] * 2 * len(servers), run.logs()
    return runs


@pytest.mark.parametrize("name", KILLED)
def test_a_client_killed_while_computing_is_replaced(killed_while_computing, undisturbed, name):
    run = killed_while_computing[name]
    np.testing.assert_array_equal(run.properties(), undisturbed[: STEPS + 1])
    assert json.loads(run.text("second.log").splitlines()[-1])["requests"] > STEPS // 2


def test_a_client_killed_while_idle_is_replaced(simulation, undisturbed):
    """Idle: it has answered, and waits while another client works on the other half of the beads."""
    simulation.input(simulation.ffsocket("unix", 2), steps=STEPS)
    server = simulation.server()
    mark = simulation.folder / "fast-was-asked"
    fast = simulation.toy("--mark", str(mark), "--mark-at", "4", log="fast.log")
    slow = simulation.toy("--delay=0.3", log="slow.log")
    simulation.wait_for(mark.exists, "the fast client's fourth request")
    time.sleep(0.1)
    fast.send_signal(signal.SIGKILL)
    assert simulation.finish(fast) == [-signal.SIGKILL]
    slow.send_signal(signal.SIGKILL)
    replacement = simulation.toy(log="replacement.log")
    assert simulation.finish(server, replacement) == [0, 0], simulation.logs()
    np.testing.assert_array_equal(simulation.properties(), undisturbed[: STEPS + 1])


def test_a_client_killed_with_an_unread_request_is_replaced(simulation, undisturbed):
    """The moment its guardian is for: i-PI has asked, the client has not yet read. A stopped process makes it last."""
    simulation.input(simulation.ffsocket("unix", 2), steps=12)
    server = simulation.server()
    asked = simulation.folder / "fast-was-asked"
    fast = simulation.toy("--mark", str(asked), "--mark-at", "4", log="fast.log")
    slow = simulation.toy("--delay=0.3", log="slow.log")
    simulation.wait_for(asked.exists, "the fast client's fourth request")
    time.sleep(0.1)
    fast.send_signal(signal.SIGSTOP)
    time.sleep(0.8)  # the slow one has finished its half, and i-PI has asked both for the next step
    fast.send_signal(signal.SIGKILL)
    assert simulation.finish(fast) == [-signal.SIGKILL]
    replacement = simulation.toy(log="replacement.log")
    assert simulation.finish(server, slow, replacement) == [0, 0, 0], simulation.logs()
    assert "ConnectionResetError" not in simulation.text("ipi.log")
    np.testing.assert_array_equal(simulation.properties(), undisturbed[:13])


def test_a_reconnecting_client_survives_a_restart_of_the_server(simulation, undisturbed):
    """The run is stopped in the middle; ``i-pi RESTART`` finds the client waiting and ends as if nothing had been."""
    simulation.input(simulation.ffsocket("unix", 4), steps=2 * STEPS)
    server = simulation.server()
    mark = simulation.folder / "half-way"
    flags = ("--delay=0.03", "--reconnect", "--connect-timeout=5", "--mark", str(mark), "--mark-at", "20")
    client = simulation.toy(*flags)
    simulation.wait_for(mark.exists, "the twentieth request")
    server.send_signal(signal.SIGTERM)
    assert simulation.finish(server) == [0]
    assert (simulation.folder / "RESTART").exists()
    assert client.poll() is None, "the client must wait for the next server"
    assert len(simulation.properties()) < 2 * STEPS
    again = simulation.server("RESTART", log="restart.log")
    assert simulation.finish(again, client) == [0, 0], simulation.logs()
    # it may also meet the old server while that one closes
    assert json.loads(simulation.text("client.log").splitlines()[-1])["connections"] >= 2
    np.testing.assert_allclose(simulation.properties(), undisturbed, rtol=1e-12)


def test_a_killed_server_ends_the_client_cleanly(simulation):
    simulation.input(simulation.ffsocket("unix", 4), steps=1000)
    mark = simulation.folder / "running"
    server, client = simulation.server(), simulation.toy("--delay=0.03", "--mark", str(mark), "--mark-at", "5")
    simulation.wait_for(mark.exists, "the fifth request")
    server.send_signal(signal.SIGKILL)
    assert simulation.finish(server, client) == [-signal.SIGKILL, 0]
    assert "the server closed the connection" in simulation.text("client.log")


def test_a_client_waits_for_a_server_that_starts_later(simulation):
    simulation.input(simulation.ffsocket("unix", 4), steps=2)
    client = simulation.toy()
    time.sleep(0.5)
    assert simulation.finish(simulation.server(), client) == [0, 0], simulation.logs()


def test_a_client_without_a_server_says_where_it_looked(simulation):
    assert simulation.finish(simulation.toy("--connect-timeout", "0.2")) == [2]
    log = simulation.text("client.log")
    assert f"no server at /tmp/ipi_{simulation.address} within 0.2 s" in log
    assert "--connect-timeout" in log


@pytest.fixture(scope="module")
def not_finite(simulations):
    runs, processes = {}, []
    for name, (mode, batch, extra) in NOT_FINITE.items():
        run = runs[name] = simulations(f"not-finite-{name}")
        run.input(run.ffsocket(mode, batch, extra), steps=1000)
        processes += [run.server(), run.toy("--nan-at", "9", mode=mode)]
    assert run.finish(*processes) == [0, 2] * len(runs), run.logs()
    return runs


@pytest.mark.parametrize("name", NOT_FINITE)
def test_forces_that_are_not_finite_stop_the_run_on_both_sides(not_finite, name):
    """Over UNIX sockets by itself, over INET because the input says that a lost client ends the run."""
    run = not_finite[name]
    assert "not finite" in run.text("client.log")
    log = run.text("ipi.log")
    assert "Unexpected getforce reply: b'NOTFINITE   '" in log
    assert "Restartable as is: YES" in log
    assert (run.folder / "RESTART").exists()
    assert 1 <= len(run.properties()) < 20
    assert np.isfinite(run.properties()).all()
