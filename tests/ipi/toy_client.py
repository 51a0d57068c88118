"""nyff's socket client around a harmonic toy: the transport under test, the physics known. Prints one line at the end.

Run as a script by the tests: ``toy_client.py --mode unix --address A [--k 0.1] [--nan-at N] [--die-at N] ...``. All in
atomic units; ``-at`` counts requests, the first is 1.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import signal
import sys
import time
from pathlib import Path

import numpy as np

from nyff.errors import NyffError
from nyff.ipi.client import Endpoint, serve
from nyff.ipi.evaluator import Refused
from nyff.ipi.protocol import Evaluation


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--mode", default="unix")
    parser.add_argument("--address", default="localhost")
    parser.add_argument("--port", type=int, default=31415)
    parser.add_argument("--prefix", default="/tmp/ipi_")
    parser.add_argument("--k", type=float, default=0.1)
    parser.add_argument("--nan-at", type=int, default=0)
    parser.add_argument("--die-at", type=int, default=0)
    parser.add_argument("--mark", help="touch this file when the request --mark-at arrives")
    parser.add_argument("--mark-at", type=int, default=1)
    parser.add_argument("--delay", type=float, default=0.0, help="seconds per request")
    parser.add_argument("--connect-timeout", type=float, default=20.0)
    parser.add_argument("--reconnect", action="store_true")
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    count = 0
    seen: dict[str, str] = {}

    def make(parameters: dict[str, str]):
        seen.update(parameters)
        return evaluate

    def evaluate(positions: np.ndarray, cells: np.ndarray) -> Evaluation:
        nonlocal count
        count += 1
        if args.mark and count == args.mark_at:
            Path(args.mark).touch()
        if count == args.die_at:
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(args.delay)
        energies = 0.5 * args.k * (positions**2).sum(axis=(1, 2))
        if count == args.nan_at:
            raise Refused("NOTFINITE", "the toy's forces are not finite")
        return Evaluation(energies, -args.k * positions, np.zeros((len(positions), 3, 3)), [""] * len(positions))

    endpoint = Endpoint(args.mode, args.address, args.port, args.prefix)
    try:
        served = serve(endpoint, make, connect_timeout=args.connect_timeout, reconnect=args.reconnect)
    except NyffError as error:
        print(error, file=sys.stderr)
        return 2
    foreign = sorted({"ipi", "ase", "torch", "scipy", "matplotlib"} & set(sys.modules))
    print(json.dumps({**vars(served), "foreign": foreign, "parameters": seen}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
