"""A trained model of ethanol in real i-PI runs: every way in, every input the writer writes, every refusal."""

from __future__ import annotations

import sys
from pathlib import Path

import ase
import numpy as np
import pytest
from ase.io import read

import nyff
from nyff.ipi.options import InputOptions
from nyff.ipi.parameters import Parameters
from nyff.ipi.template import PES_PATH
from nyff.ipi.writer import write_input
from nyff.units import BOHR, HARTREE

BEADS = 6
STEPS = 12
NYFF = (sys.executable, "-m", "nyff", "ipi")
WAYS = ("unix", "inet", "shm", "unix-unbatched", "i-pi-py_driver")
KINDS = {
    "direct-unbatched": {},
    "pile_g": {"thermostat": "pile_g"},
    "gle": {"thermostat": "gle"},
    "classical": {"nbeads": 1},
    "nve": {"motion": "nve", "nbeads": 1, "steps": 40},
    "remd": {"motion": "remd", "nbeads": 2, "temperatures": (300.0, 330.0, 360.0), "steps": 30},
    "contraction": {"contract": 2},
    "geop": {"motion": "geop", "nbeads": 1, "steps": 200},
    "transition-state": {"motion": "instanton", "nbeads": 1, "steps": 200},
}


@pytest.fixture(scope="module")
def files(tmp_path_factory, small_fit, ethanol, ethanol_permutations):
    """Two models, a structure near the minimum, and the same structure with its atoms in another order."""
    folder = tmp_path_factory.mktemp("files")
    small_fit.model.save(folder / "a.nyff")
    other = nyff.fit(ethanol[160:320], 60, lengthscale=10.0, permutations=ethanol_permutations, solver="cholesky")
    other.model.save(folder / "b.nyff")
    lowest = int(np.argmin(ethanol.energies))
    atoms = ase.Atoms(ethanol.numbers, ethanol.positions[lowest])
    atoms.write(folder / "ethanol.xyz")
    atoms[[2, 1, 0, *range(3, 9)]].write(folder / "reordered.xyz")
    return folder


def write(run, files, model="a.nyff", structure="ethanol.xyz", parameters=None, **options):
    """Let the writer write into the folder of ``run``."""
    (run.folder / "init.xyz").unlink()
    paths = ";".join(str(files / name) for name in model.split(";"))
    settings = {"nbeads": BEADS, "steps": STEPS, "seed": 5, "address": run.address, "port": run.port}
    if options.get("mode") == "inet":
        settings["address"] = "localhost"
    settings.update(options)
    given = Parameters().updated({"model": paths, **(parameters or {})})
    return write_input(files / structure, given, run.folder, InputOptions(**settings))


def edit(run, old, new, name="input.xml"):
    text = run.text(name)
    assert old in text
    run.write(name, text.replace(old, new))


@pytest.fixture(scope="module")
def runs(simulations, files):
    """One trajectory through all ways in at once, and all other kinds of input in one process."""
    made, processes = {}, []
    made["direct"] = simulations("direct")
    write(made["direct"], files)
    processes.append(made["direct"].server())
    for name in WAYS:
        run = made[name] = simulations(name)
        write(run, files, mode=name if name in ("inet", "shm") else "unix")
        if name == "unix-unbatched":
            edit(run, f"<batch_size> {BEADS} </batch_size>", "")
        place = ("-a", "localhost", "-p", str(run.port)) if name == "inet" else ("-a", run.address)
        flag = {"inet": (), "shm": ("--shm",)}.get(name, ("--unix",))
        command: tuple[str | Path, ...] = (*NYFF, *flag, *place)
        if name == "i-pi-py_driver":
            model, template = files / "a.nyff", run.folder / "start.xyz"
            driver = Path(sys.executable).with_name("i-pi-py_driver")
            options = f"model={model},template={template}"
            command = (driver, "-u", *place, "-m", "custom", "-P", PES_PATH, "-o", options)
        processes += [run.server(), run.spawn(*command, log="client.log")]
    kinds = []
    for name, options in KINDS.items():
        run = made[name] = simulations(name)
        options = dict(options)
        if name == "contraction":
            options["reference"] = str(files / "b.nyff")
        write(run, files, structure="near-ts.xyz" if name == "transition-state" else "ethanol.xyz", **options)
        if name == "direct-unbatched":
            edit(run, f"<batch_size> {BEADS} </batch_size>", "<batch_size> 1 </batch_size>")
        if name == "remd":
            edit(run, "<stride> 20 </stride>", "<stride> 2 </stride>")
        kinds.append(run.folder)
    script = Path(__file__).with_name("run_inputs.py")
    processes.append(made["direct"].spawn(sys.executable, script, *kinds, log="kinds.log"))
    assert run.finish(*processes) == [0] * len(processes), "\n".join(run.logs() for run in made.values())
    return made


@pytest.fixture(scope="module", autouse=True)
def near_ts(files):
    """The hydroxyl group turned until it stands in front of a hydrogen."""
    atoms = read(files / "ethanol.xyz")
    atoms.set_dihedral(0, 1, 2, 3, 0.0, indices=[3])
    atoms.write(files / "near-ts.xyz")


def positions(run, bead):
    return np.array([frame.positions for frame in read(run.folder / f"simulation.pos_{bead}.xyz", ":")])


def extras(run, name):
    """What i-PI printed of the first bead's extras [frames, values]."""
    return np.loadtxt(run.folder / f"simulation.{name}_0", ndmin=2)


@pytest.mark.parametrize("name", [*WAYS, "direct-unbatched"])
def test_the_same_seed_gives_the_same_trajectory_by_every_way_in(runs, name):
    wanted = runs["direct"].properties("simulation.out")
    assert wanted.shape == (STEPS + 1, 6)
    np.testing.assert_allclose(runs[name].properties("simulation.out"), wanted, rtol=1e-9, atol=1e-11)
    for bead in (0, BEADS - 1):
        np.testing.assert_allclose(positions(runs[name], bead), positions(runs["direct"], bead), atol=2e-5)


def test_all_beads_reach_the_model_in_one_call(runs):
    assert f"answered {STEPS + 1} requests with {BEADS * (STEPS + 1)} structures" in runs["unix"].text("client.log")
    assert f"initialised by the server: {BEADS} structures a request" in runs["shm"].text("client.log")
    told = runs["unix-unbatched"].text("client.log")
    assert f"answered {BEADS * (STEPS + 1)} requests with {BEADS * (STEPS + 1)} structures" in told


def test_printed_energies_are_the_model_s_relative_to_the_start(runs, files):
    model = nyff.load(files / "a.nyff")
    frames = np.array([positions(runs["direct"], bead) for bead in range(BEADS)])  # [bead, frame, atom, 3]
    energies, _ = model.predict(np.ascontiguousarray(frames.reshape(-1, 9, 3)))
    start, _ = model.predict(frames[:1, 0])
    wanted = energies.reshape(BEADS, -1).mean(0) - start
    printed = runs["direct"].properties("simulation.out")[:, 5]
    np.testing.assert_allclose(printed, wanted, atol=2e-4)  # positions are printed with five digits
    assert abs(printed[0]) < 1e-6
    assert abs(start[0]) > 100


def test_thermostats_differ_only_in_what_they_do(runs):
    start = [runs[name].properties("simulation.out")[0, 5] for name in ("direct", "pile_g", "gle")]
    np.testing.assert_allclose(start, start[0], atol=1e-12)
    ends = {round(runs[name].properties("simulation.out")[-1, 5], 6) for name in ("direct", "pile_g", "gle")}
    assert len(ends) == 3


def test_constant_energy_is_conserved(runs):
    """The drift is far below the potential energy's changes, and visible in the printed digits."""
    values = runs["nve"].properties("simulation.out")
    conserved, potential = values[:, 2], values[:, 5]
    assert 0 < np.ptp(conserved) < 0.01 * np.ptp(potential)


def test_replicas_are_exchanged(runs):
    swaps = np.loadtxt(runs["remd"].folder / "simulation.remd_idx", ndmin=2)
    assert sorted(swaps[-1, 1:]) == [0, 1, 2]
    assert len(swaps) > 1
    assert len(runs["remd"].properties("2_simulation.out")) == 31


def test_a_geometry_is_optimised(runs, files):
    model = nyff.load(files / "a.nyff")
    last = positions(runs["geop"], 0)[-1:]
    _, forces = model.predict(last)
    assert np.abs(forces).max() < 0.01
    assert runs["geop"].properties("simulation.out")[-1, 1] < -1e-3


def test_a_contraction_with_a_reference_stays_near_the_full_model(runs):
    """Two of six beads see the difference of the models, all six the reference: close to the full model, not equal."""
    wanted = runs["direct"].properties("simulation.out")[:, 5]
    got = runs["contraction"].properties("simulation.out")[:, 5]
    assert 0 < np.abs(got - wanted).max() < 0.1 * np.ptp(wanted)


def test_an_instanton_from_transition_state_to_ring_polymer(runs, files, simulations):
    """i-PI finds the saddle with one bead; the writer checks it, and i-PI spreads the beads into an instanton."""
    saddle = read(next(runs["transition-state"].folder.glob("*instanton_FINAL_[0-9]*.xyz")), format="xyz")
    saddle.write(files / "saddle.xyz")
    hot, cold = simulations("hot"), simulations("cold")
    with pytest.raises(nyff.InputError, match=r"above the crossover temperature of \d+ K there is no instanton"):
        write(hot, files, structure="saddle.xyz", motion="instanton", nbeads=8, temperature=300.0)
    ase.Atoms(saddle.numbers, positions(runs["geop"], 0)[-1]).write(files / "minimum.xyz")
    minimum = simulations("minimum")
    with pytest.raises(nyff.InputError, match=r"one unstable mode; unstable here are none"):
        write(minimum, files, structure="minimum.xyz", motion="instanton", nbeads=8, temperature=30.0)
    write(cold, files, structure="saddle.xyz", motion="instanton", nbeads=8, temperature=30.0, steps=12)
    assert cold.finish(cold.server()) == [0], cold.logs()
    beads = np.array([positions(cold, bead)[-1] for bead in range(8)])
    energies, _ = nyff.load(files / "a.nyff").predict(beads)
    assert energies[[0, -1]].max() < energies.max() - 0.01, "the ends of the instanton lie down the barrier"
    assert "Instanton optimization STEP" in cold.text("ipi.log")


def test_a_stopped_run_goes_on_from_restart(runs, simulation, files):
    """Half of it, then i-pi RESTART: the same numbers as in one go."""
    write(simulation, files, steps=STEPS // 2)
    assert simulation.finish(simulation.server()) == [0], simulation.logs()
    half = simulation.properties("simulation.out")
    assert len(half) == STEPS // 2 + 1
    edit(simulation, f"<total_steps>{STEPS // 2}</total_steps>", f"<total_steps>{STEPS}</total_steps>", "RESTART")
    assert simulation.finish(simulation.server("RESTART", "again.log")) == [0], simulation.logs()
    wanted = runs["direct"].properties("simulation.out")
    np.testing.assert_allclose(simulation.properties("simulation.out"), wanted, rtol=1e-9, atol=1e-10)


NOT_FINITE = '''
from nyff.ipi.nyff_ipi_pes import NyffDriver

__DRIVER_NAME__ = "broken"
__DRIVER_CLASS__ = "Broken"


class Broken(NyffDriver):
    """Goes bad at the fifth call."""

    def __init__(self, **parameters):
        super().__init__(**parameters)
        self.model, self.calls = self.evaluator.model, 0
        self.evaluator.model = self

    numbers = property(lambda self: self.model.numbers)
    metadata = property(lambda self: self.model.metadata)

    def predict(self, positions):
        self.calls += 1
        energies, forces = self.model.predict(positions)
        return energies, forces / (self.calls < 5)
'''


def test_forces_that_are_not_finite_stop_i_pi_from_inside(simulation, files):
    write(simulation, files)
    simulation.write("broken_pes.py", NOT_FINITE)
    edit(simulation, str(PES_PATH), "broken_pes.py")
    assert simulation.finish(simulation.server()) == [1]
    log = simulation.text("ipi.log")
    assert "Refused: the model's energy or forces are not finite for structure 1 of 6" in log
    assert "Restartable as is: YES" in log
    assert len(simulation.properties("simulation.out")) == 4
    assert len(positions(simulation, BEADS - 1)) == 4, "what led there must be on the disk"
    assert "<step>3</step>" in simulation.text("RESTART").replace(" ", "")


def test_a_wrong_order_of_atoms_is_refused_before_the_first_step(simulations, files):
    run = simulations("written")
    with pytest.raises(nyff.InputError, match="has the atoms O C2 H6, the model wants C2 O H6; reorder its atoms"):
        write(run, files, structure="reordered.xyz")
    inside, outside, blind = simulations("inside"), simulations("outside"), simulations("blind")
    for case in (inside, blind):
        if case is not inside:
            (case.folder / "init.xyz").touch()
        write(case, files, mode="direct" if case is inside else "unix")
        lines = case.text("start.xyz").splitlines()
        lines[2], lines[4] = lines[4], lines[2]
        case.write("start.xyz", "\n".join(lines) + "\n")
    edit(blind, f"template: {blind.folder.resolve() / 'start.xyz'}, ", "")
    processes = [
        inside.server(),
        outside.spawn(*NYFF, "-u", "-a", "nobody", "-m", files / "a.nyff", "-t", files / "reordered.xyz", log="c.log"),
        blind.spawn(*NYFF, "-u", "-a", blind.address, "-m", files / "a.nyff", log="c.log"),
    ]
    server = blind.server()
    assert inside.finish(*processes) == [1, 2, 2]
    assert "start.xyz' has the atoms O C2 H6" in inside.text("ipi.log")
    assert not (inside.folder / "simulation.out").exists() or len(inside.text("simulation.out").splitlines()) < 8
    assert "reordered.xyz' has the atoms O C2 H6, the model wants C2 O H6" in outside.text("c.log")
    assert "check the order of the atoms" in blind.text("c.log")
    assert "Unexpected getforce reply: b'GEOMETRY    '" in blind.text("ipi.log")
    assert server.poll() is None, "a client's mistake must not end the run: the right client may come"


def test_a_committee_in_ffcommittee_and_a_threshold_that_stops(simulations, files):
    parameters = {"committee": True, "uncertainty": True}
    run, stopped = simulations("committee"), simulations("stopped")
    write(run, files, "a.nyff;b.nyff", parameters=parameters, mode="unix", steps=3)
    limit = {"uncertainty_threshold": 50.0, "uncertainty_action": "stop"}
    write(stopped, files, "a.nyff;b.nyff", parameters=limit, mode="unix")
    edit(stopped, "threshold: 50.0", "threshold: 1e-4")
    assert "<ffcommittee" in run.text("input.xml")
    clients = [case.spawn(*NYFF, "-u", "-a", case.address, log="client.log") for case in (run, stopped)]
    assert run.finish(run.server(), stopped.server(), *clients) == [0, 0, 0, 2], run.logs() + stopped.logs()

    assert "uncertain by" in stopped.text("client.log")
    assert "more than the threshold of 0.0001 eV/Å" in stopped.text("client.log")
    assert "Unexpected getforce reply: b'UNCERTAIN   '" in stopped.text("ipi.log")
    assert "Restartable as is: YES" in stopped.text("ipi.log")

    members = [nyff.load(files / name) for name in ("a.nyff", "b.nyff")]
    start = read(run.folder / "start.xyz", format="xyz").positions[None]
    energies, forces = zip(*(member.predict(start) for member in members), strict=True)
    zero = np.mean(energies)
    first = extras(run, "committee_pot")[0]
    np.testing.assert_allclose(first * HARTREE, np.ravel(energies) - zero, atol=1e-5)
    spread = np.std(np.array(forces), axis=0, ddof=1).ravel()
    np.testing.assert_allclose(extras(run, "force_uncertainty")[0] * HARTREE / BOHR, spread, atol=1e-4)
    assert abs(run.properties("simulation.out")[0, 5]) < 1e-5, "the mean of the members drives the dynamics"
