"""Time of a product with K and the share of the machine's own matrix-product rate that it reaches."""

from __future__ import annotations

import argparse
import time

import torch

import nyff
from nyff.kernel.force_kernel import ForceKernel
from nyff.kernel.group import pair_permutations
from nyff.kernel.radial import make_radial


def best(function, repeats: int = 10) -> float:
    function()
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        function()
        times.append(time.perf_counter() - started)
    return min(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", nargs="?", default="bundled")
    parser.add_argument("--units", default="kcal/mol")
    parser.add_argument("-n", type=int, nargs="+", default=[200, 1000])
    arguments = parser.parse_args()
    bundled = arguments.data == "bundled"
    data = nyff.datasets.ethanol() if bundled else nyff.read_dataset(arguments.data, units=arguments.units)
    permutations = nyff.find_permutations(data)
    a = torch.randn(3000, 3000, dtype=torch.float64)
    rate = 2 * 3000**3 / best(lambda: a @ a, 3)
    print(f"threads {torch.get_num_threads()}, matrix product {rate / 1e9:.0f} GF/s, {len(permutations)} permutations")
    for n in arguments.n:
        pairs = torch.as_tensor(pair_permutations(permutations))
        kernel = ForceKernel(torch.tensor(data.positions[:n]), make_radial("matern52", 10.0), pairs)
        v = torch.randn(kernel.n, dtype=torch.float64)
        seconds = best(lambda kernel=kernel, v=v: kernel.matvec(v))
        flops = 6 * n * n * len(permutations) * kernel.descriptor.n_pairs
        print(
            f"n={n}: {1e3 * seconds:.2f} ms, {flops / seconds / 1e9:.1f} GF/s, {100 * flops / seconds / rate:.0f} % of it"
        )


if __name__ == "__main__":
    main()
