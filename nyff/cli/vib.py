"""``nyff vib``: harmonic vibrations and thermochemistry from the analytic Hessian."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nyff.cli.console import print_json, say


def vib(
    model: Annotated[Path, typer.Argument(help="Model file.")],
    structure: Annotated[Path, typer.Argument(help="A relaxed structure, any format ASE reads.")],
    temperature: Annotated[float, typer.Option(help="Of the thermochemistry, K.")] = 298.15,
    pressure: Annotated[float, typer.Option(help="Of the thermochemistry, Pa.")] = 101325.0,
    symmetry_number: Annotated[int | None, typer.Option(help="Instead of the one found.")] = None,
    spin: Annotated[float, typer.Option(help="Total spin; 0.5 for one unpaired electron.")] = 0.0,
    fmax: Annotated[float, typer.Option(help="Largest force at which a structure is stationary, eV/Å.")] = 0.01,
    modes: Annotated[Path | None, typer.Option(help="New folder for animations of the modes, extended XYZ.")] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1, ...")] = "cpu",
    json: Annotated[bool, typer.Option("--json", help="One JSON object instead of words.")] = False,
) -> None:
    """Frequencies, zero-point energy and thermochemistry of a relaxed structure."""
    from nyff.cli.simulate import read_structure
    from nyff.md.vibrations import summary, vibrations

    result = vibrations(model, read_structure(structure), fmax=fmax, device=device)
    heat = None
    if not result.n_imaginary:
        heat = result.thermochemistry(temperature, pressure, symmetry_number=symmetry_number, spin=spin)
    files = result.write_modes(modes) if modes is not None else []
    if json:
        print_json(summary(result, heat))
        return
    say("mode   frequency (cm⁻¹)")
    for mode, frequency in enumerate(result.frequencies):
        say(f"{mode:4d} {abs(frequency):18.1f}{'i' if frequency < 0 else ''}")
    say(f"zero-point energy {result.zero_point_energy:.4f} eV")
    if heat is not None:
        say(
            f"at {temperature:g} K and {pressure:g} Pa, symmetry number {heat.symmetry_number}: "
            f"H {heat.enthalpy_ev:.4f} eV, S {1000 * heat.entropy_ev_per_kelvin:.4f} meV/K, G {heat.gibbs_energy_ev:.4f} eV"
        )
    for hint in result.hints:
        say(f"note: {hint}")
    if files:
        say(f"animations of {len(files)} modes: {modes}")
