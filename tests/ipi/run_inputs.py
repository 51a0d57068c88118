"""Runs several i-PI inputs, ``FOLDER/input.xml`` each, in one process: starting one for each would take longer."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from ipi.engine.simulation import Simulation
from ipi.utils.softexit import softexit

for folder in sys.argv[1:]:
    os.chdir(folder)
    start = time.perf_counter()
    with Path("input.xml").open() as stream:
        simulation = Simulation.load_from_xml(stream, request_banner=False, custom_verbosity="quiet")
    simulation.run()
    softexit.cleanup("success")  # closes the files
    softexit.reset()
    print(f"{Path(folder).name}: {time.perf_counter() - start:.2f} s")
sys.stdout.flush()
os._exit(0)
