"""Data shipped with the package, public as ``nyff.datasets``."""

from __future__ import annotations

from importlib.resources import as_file, files

from nyff.data.check import check
from nyff.data.dataset import Dataset
from nyff.data.npz import read_npz


def ethanol() -> Dataset:
    """Two thousand structures of ethanol at 500 K, energies and forces from GFN2-xTB.

    Atoms are ordered C(H3) C(H2) O H(O) and the five other hydrogens. The structures come from independent Langevin
    trajectories and are shuffled, so that a slice such as ``ethanol()[:500]`` is a fair sample. ``.source`` tells how
    they were made, by ``scripts/make_ethanol.py``. GFN2-xTB: Bannwarth, Ehlert, Grimme, J. Chem. Theory Comput. 15,
    1652 (2019), DOI 10.1021/acs.jctc.8b01176.
    """
    with as_file(files("nyff.data") / "ethanol.npz") as path:
        return check(read_npz(path))
