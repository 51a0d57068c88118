"""Against a real i-PI server: its own harmonic potential, through our client, digit for digit."""

from __future__ import annotations

import json

import numpy as np
import pytest

from nyff.ipi.gle import INVERSE_CM, drift_matrix

HARMONIC = "<ffdirect name='f'><pes>harmonic</pes><parameters>{ k1: 0.1 }</parameters></ffdirect>"

# the same for the other combinations is checked where clients die and are replaced
WAYS = {
    "unix-batch": ("unix", 4, ""),
    "unix-padded": ("unix", 3, ""),
    "inet": ("inet", 1, ""),
    "shm": ("shm", 1, ""),
    "two-clients": ("unix", 2, ""),
}


@pytest.fixture(scope="module")
def runs(simulations):
    """All of them at once: i-PI spends most of its start and end asleep."""
    made, processes = {}, []
    reference = simulations("ffdirect")
    reference.input(HARMONIC)
    processes.append(reference.server())
    for name, (mode, batch, extra) in WAYS.items():
        run = made[name] = simulations(name)
        run.input(run.ffsocket(mode, batch, "<parameters>{ k1: 0.1, note: cuda:0 }</parameters>" + extra))
        processes.append(run.server())
        processes.append(run.toy(mode=mode))
        if name == "two-clients":
            processes.append(run.toy(mode=mode, log="second.log"))
    assert reference.finish(*processes) == [0] * len(processes), reference.logs()
    return reference, made


@pytest.mark.parametrize("name", WAYS)
def test_i_pis_harmonic_potential_is_reproduced_to_the_printed_digits(runs, name):
    reference, made = runs
    for file in ("sim.out", "sim.pos_0.xyz", "sim.pos_3.xyz"):
        assert made[name].text(file) == reference.text(file), file
    assert len(reference.properties()) == 11


@pytest.mark.parametrize("name", [name for name in WAYS if name != "two-clients"])
def test_a_batch_is_one_request_and_parameters_arrive(runs, name):
    run = runs[1][name]
    told = json.loads(run.text("client.log").splitlines()[-1])
    batch = WAYS[name][1]
    requests_per_step = -(-4 // batch)
    # now and then i-PI sends a batch before all beads are queued, and pads it
    assert 11 * requests_per_step <= told["requests"] <= 11 * requests_per_step + 2
    assert told["structures"] == told["requests"] * batch
    assert told["parameters"] == {"k1": "0.1", "note": "cuda:0"}
    assert told["foreign"] == [], "the client must import neither i-PI nor ASE nor torch"


def test_two_clients_share_the_work(runs):
    run = runs[1]["two-clients"]
    counts = [json.loads(run.text(log).splitlines()[-1])["requests"] for log in ("client.log", "second.log")]
    assert 22 <= sum(counts) <= 26
    assert min(counts) >= 1


@pytest.mark.parametrize("thermostat", ["pile_l", "gle"])
def test_harmonic_path_integral_energy_matches_theory(simulation, thermostat):
    """Potential energy of P beads in 1 kT units, exact for the discretised ring polymer.

    Normal modes of the ring polymer of a harmonic oscillator have frequencies ω_k² = ω² + 4P²/(β²ħ²)·sin²(kπ/P), so
    ⟨V⟩ = (1/2β) Σ_k ω²/ω_k² per degree of freedom (M. Tuckerman, Statistical Mechanics, sect. 12.6).
    """
    beads, atoms, steps, k = 4, 48, 600, 0.1
    mass = 1.00794 * 1822.8885
    beta = 1.0 / (300 * 3.1668152e-06)
    simulation.write(
        "init.xyz",
        f"{atoms}\n# CELL(abcABC): 20 20 20 90 90 90 cell{{angstrom}} positions{{angstrom}}\n"
        + "\n".join("H 0.0 0.0 0.0" for _ in range(atoms)),
    )
    simulation.input(simulation.ffsocket("unix", beads), beads=beads, steps=steps)
    text = simulation.text("input.xml")
    text = text.replace("<motion mode='dynamics'>", "<motion mode='dynamics'><fixcom>False</fixcom>")
    text = text.replace("<trajectory filename='pos' stride='1' format='xyz'> positions </trajectory>", "")
    text = text.replace("tau units='femtosecond'>100<", "tau units='femtosecond'>5<")
    if thermostat == "gle":
        matrix = drift_matrix(1000 * INVERSE_CM, 4000 * INVERSE_CM)
        rows = ", ".join(f"{value:.12e}" for value in matrix.ravel())
        old = "<thermostat mode='pile_l'><tau units='femtosecond'>5</tau>"
        assert old in text
        text = text.replace(old, f"<thermostat mode='gle'><A shape='({len(matrix)}, {len(matrix)})'>[{rows}]</A>")
    simulation.write("input.xml", text)
    assert simulation.finish(simulation.server(), simulation.toy("--k", str(k))) == [0, 0], simulation.logs()
    omega2 = k / mass
    modes = omega2 + (2 * beads / beta) ** 2 * np.sin(np.pi * np.arange(beads) / beads) ** 2
    wanted = 3 * atoms / (2 * beta) * (omega2 / modes).sum()
    potential = simulation.properties()[100:, 3]
    blocks = potential[: len(potential) // 10 * 10].reshape(10, -1).mean(1)
    error = blocks.std(ddof=1) / np.sqrt(10)
    classical = 3 * atoms / (2 * beta)
    assert error < 0.02 * wanted
    assert wanted > 2 * classical, "the quantum part must be what is tested"
    assert abs(potential.mean() - wanted) < 4 * error + 0.002 * wanted
