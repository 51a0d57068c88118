"""A real i-PI server per test: started in its own folder, with its own address, never left behind."""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

HERE = Path(__file__).parent
PREFIX = "/tmp/ipi_"
SECONDS = 120.0
"""No test waits longer than this for a process."""


def i_pi() -> str:
    """i-PI's program beside this interpreter, else on PATH."""
    beside = Path(sys.executable).with_name("i-pi")
    found = str(beside) if beside.exists() else shutil.which("i-pi")
    assert found, "ipi is importable, but its program i-pi was not found"
    return found


def free_port() -> int:
    """A TCP port that was free a moment ago."""
    with socket.socket() as sock:
        sock.bind(("localhost", 0))
        return sock.getsockname()[1]


WATER = """3
# CELL(abcABC): 20 20 20 90 90 90 cell{angstrom} positions{angstrom}
O 0.1 0.2 0.3
H 0.9 0.1 -0.2
H -0.3 0.8 0.0
"""

INPUT = """<simulation verbosity='low' floatformat='%24.16e'>
<output prefix='sim'>
<properties stride='1' filename='out'> [ step, conserved, temperature{kelvin}, potential, kinetic_cv ] </properties>
<trajectory filename='pos' stride='1' format='xyz'> positions </trajectory>
</output>
<total_steps>@STEPS@</total_steps>
<prng><seed>17</seed></prng>
@FORCEFIELD@
<system>
<initialize nbeads='@BEADS@'>
<file mode='xyz'> init.xyz </file><velocities mode='thermal' units='kelvin'> 300 </velocities>
</initialize>
<forces><force forcefield='f'/></forces>
<motion mode='dynamics'><dynamics mode='nvt'><timestep units='femtosecond'>0.5</timestep>
<thermostat mode='pile_l'><tau units='femtosecond'>100</tau></thermostat></dynamics></motion>
<ensemble><temperature units='kelvin'>300</temperature></ensemble>
</system>
</simulation>
"""


class Simulation:
    """One folder in which i-PI runs, the clients that serve it, and the address they meet at."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.address = f"nyff-test-{uuid.uuid4().hex[:12]}"
        self.port = free_port()
        self.processes: list[subprocess.Popen[str]] = []
        self.write("init.xyz", WATER)

    def write(self, name: str, text: str) -> None:
        (self.folder / name).write_text(text)

    def ffsocket(self, mode: str = "unix", batch: int = 1, extra: str = "") -> str:
        where = f"<address>{'localhost' if mode == 'inet' else self.address}</address>"
        if mode == "inet":
            where += f"<port>{self.port}</port>"
        return f"<ffsocket name='f' mode='{mode}'>{where}<batch_size>{batch}</batch_size>{extra}</ffsocket>"

    def input(self, forcefield: str, beads: int = 4, steps: int = 10, template: str = INPUT) -> None:
        values = {"@FORCEFIELD@": forcefield, "@BEADS@": str(beads), "@STEPS@": str(steps)}
        for key, value in values.items():
            template = template.replace(key, value)
        self.write("input.xml", template)

    def spawn(self, *command: str | Path, log: str) -> subprocess.Popen[str]:
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        with (self.folder / log).open("w") as out:
            process = subprocess.Popen(
                [str(word) for word in command],
                cwd=self.folder,
                stdout=out,
                stderr=subprocess.STDOUT,
                text=True,
                env=environment,
                start_new_session=True,
            )
        self.processes.append(process)
        return process

    def server(self, file: str = "input.xml", log: str = "ipi.log") -> subprocess.Popen[str]:
        return self.spawn(i_pi(), file, log=log)

    def toy(self, *flags: str, mode: str = "unix", log: str = "client.log") -> subprocess.Popen[str]:
        place = ("--mode", mode, "--address", "localhost" if mode == "inet" else self.address, "--port", str(self.port))
        return self.spawn(sys.executable, HERE / "toy_client.py", *place, *flags, log=log)

    def finish(self, *processes: subprocess.Popen[str]) -> list[int]:
        """Return codes, once all have ended."""
        deadline = time.monotonic() + SECONDS
        try:
            return [process.wait(max(0.1, deadline - time.monotonic())) for process in processes]
        except subprocess.TimeoutExpired:
            pytest.fail(f"a process hangs; logs: {self.logs()}")

    def wait_for(self, condition: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + SECONDS
        while not condition():
            if time.monotonic() > deadline:
                pytest.fail(f"waited in vain for {what}; logs: {self.logs()}")
            time.sleep(0.02)

    def text(self, name: str) -> str:
        path = self.folder / name
        return path.read_text() if path.exists() else ""

    def logs(self) -> str:
        return "\n".join(f"--- {path.name}\n{path.read_text()[-3000:]}" for path in sorted(self.folder.glob("*.log")))

    def properties(self, name: str = "sim.out") -> np.ndarray:
        return np.atleast_2d(np.loadtxt(self.folder / name))

    def close(self) -> None:
        for process in self.processes:
            if process.poll() is None:
                process.send_signal(signal.SIGKILL)
                process.wait()
        Path(PREFIX + self.address).unlink(missing_ok=True)
        for process in self.processes:
            for segment in Path("/dev/shm").glob(f"ipi_shm_{process.pid}_*"):
                segment.unlink(missing_ok=True)


@pytest.fixture
def simulation(tmp_path: Path) -> Iterator[Simulation]:
    """One simulation, not yet started; skips where i-PI is not installed."""
    if importlib.util.find_spec("ipi") is None:
        pytest.skip("i-PI is not installed (pip install nyff[ipi])")
    run = Simulation(tmp_path)
    yield run
    run.close()


@pytest.fixture(scope="module")
def simulations(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Simulation]]:
    """Makes any number of simulations that live as long as the module's tests."""
    if importlib.util.find_spec("ipi") is None:
        pytest.skip("i-PI is not installed (pip install nyff[ipi])")
    made: list[Simulation] = []
    root = tmp_path_factory.mktemp("ipi")

    def make(name: str) -> Simulation:
        made.append(Simulation(root / name))
        return made[-1]

    yield make
    for run in made:
        run.close()
