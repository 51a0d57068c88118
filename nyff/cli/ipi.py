"""``nyff ipi``: serve a model to i-PI, tell where the plug-in is, or write an input to start from."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

_WRITER = "Write an input"


def ipi(
    address: Annotated[
        str, typer.Option("-a", "--address", help="Name of the UNIX socket, or host of the server.", metavar="NAME")
    ] = "",
    unix: Annotated[bool, typer.Option("-u", "--unix", help="Connect through a UNIX socket.")] = False,
    shm: Annotated[bool, typer.Option("--shm", help="UNIX socket, with the numbers in shared memory.")] = False,
    port: Annotated[int, typer.Option("-p", "--port", help="Port of the server.")] = 31415,
    prefix: Annotated[
        str, typer.Option("-S", "--sockets-prefix", help="Put before the name of a UNIX socket.")
    ] = "/tmp/ipi_",
    model: Annotated[
        str, typer.Option("-m", "--model", help="Model file; several joined by ';' make a committee.", metavar="FILE")
    ] = "",
    template: Annotated[
        str, typer.Option("-t", "--template", help="Structure to check against the model.", metavar="FILE")
    ] = "",
    device: Annotated[str, typer.Option("--device", help="cpu, cuda, cuda:1, ...")] = "",
    committee: Annotated[bool, typer.Option("--committee", help="Send energies and forces of all members.")] = False,
    uncertainty: Annotated[bool, typer.Option("--uncertainty", help="Send the forces' uncertainties.")] = False,
    uncertainty_threshold: Annotated[
        float, typer.Option("--uncertainty-threshold", help="Largest standard deviation of a force, eV/Å; 0: any.")
    ] = 0.0,
    uncertainty_action: Annotated[
        str, typer.Option("--uncertainty-action", help="Beyond the threshold: warn or stop.")
    ] = "warn",
    num_threads: Annotated[int, typer.Option("--num-threads", help="Threads of torch; 0: its own choice.")] = 0,
    connect_timeout: Annotated[float, typer.Option("--connect-timeout", help="Seconds to wait for the server.")] = 60.0,
    reconnect: Annotated[bool, typer.Option("--reconnect", help="When a server is gone, wait for the next.")] = False,
    pes_path: Annotated[bool, typer.Option("--pes-path", help="Print the file that <pes_path> wants.")] = False,
    write_input: Annotated[
        Path | None,
        typer.Option(
            "--write-input", rich_help_panel=_WRITER, help="Write an input for this structure.", metavar="STRUCTURE"
        ),
    ] = None,
    output: Annotated[Path, typer.Option("-o", "--output", rich_help_panel=_WRITER, help="the folder.")] = Path(
        "ipi-run"
    ),
    mode: Annotated[str, typer.Option("--mode", rich_help_panel=_WRITER, help="direct, unix, inet or shm.")] = "direct",
    motion: Annotated[
        str, typer.Option("--motion", rich_help_panel=_WRITER, help="nvt, nve, remd, geop or instanton.")
    ] = "nvt",
    nbeads: Annotated[int, typer.Option("--nbeads", rich_help_panel=_WRITER, help="beads; 1 is classical.")] = 32,
    temperature: Annotated[float, typer.Option("--temperature", rich_help_panel=_WRITER, help="K.")] = 300.0,
    temperatures: Annotated[
        str,
        typer.Option("--temperatures", rich_help_panel=_WRITER, help="With --motion remd: K, for example 300,350,410."),
    ] = "",
    thermostat: Annotated[
        str, typer.Option("--thermostat", rich_help_panel=_WRITER, help="pile_l, pile_g or gle.")
    ] = "pile_l",
    time: Annotated[str, typer.Option("--time", rich_help_panel=_WRITER, help="length, for example 5ps.")] = "1ps",
    timestep: Annotated[str, typer.Option("--timestep", rich_help_panel=_WRITER, help="Time step.")] = "0.25fs",
    steps: Annotated[int, typer.Option("--steps", rich_help_panel=_WRITER, help="steps, instead of --time.")] = 0,
    seed: Annotated[int, typer.Option("--seed", rich_help_panel=_WRITER, help="same seed, same trajectory.")] = 0,
    contract: Annotated[
        int, typer.Option("--contract", rich_help_panel=_WRITER, help="evaluate the model on so many beads only.")
    ] = 0,
    reference: Annotated[
        str,
        typer.Option(
            "--reference",
            rich_help_panel=_WRITER,
            help="With --contract: a cheaper model for all beads.",
            metavar="FILE",
        ),
    ] = "",
    exit_on_disconnect: Annotated[
        bool, typer.Option("--exit-on-disconnect", rich_help_panel=_WRITER, help="i-PI stops when a client is lost.")
    ] = False,
) -> None:
    """Path integrals and more: nyff inside i-PI.

    As a client: nyff ipi --unix -a NAME --model MODEL. Inside i-PI: nyff ipi --pes-path. An input to start from:
    nyff ipi --write-input STRUCTURE --model MODEL -o DIR.
    """
    if pes_path:
        from nyff.ipi.template import PES_PATH

        typer.echo(str(PES_PATH))
        return
    given = {
        "model": model,
        "template": template,
        "device": device,
        "committee": committee,
        "uncertainty": uncertainty,
        "uncertainty_threshold": uncertainty_threshold,
        "uncertainty_action": uncertainty_action if uncertainty_action != "warn" else "",
        "num_threads": num_threads,
    }
    given = {name: value for name, value in given.items() if value}
    if write_input is None:
        _serve(given, "shm" if shm else "unix" if unix else "inet", address, port, prefix, connect_timeout, reconnect)
        return
    from nyff.errors import InputError
    from nyff.ipi.options import InputOptions
    from nyff.ipi.parameters import Parameters
    from nyff.ipi.writer import write_input as write
    from nyff.md.options import parse_time

    try:
        ladder = tuple(float(word) for word in temperatures.split(",") if word.strip())
    except ValueError:
        raise InputError(f"--temperatures must be numbers joined by commas, got {temperatures!r}") from None
    options = InputOptions(
        motion=motion,
        nbeads=nbeads,
        temperature=temperature,
        temperatures=ladder,
        thermostat=thermostat,
        mode=mode,
        time=parse_time(time),
        timestep=parse_time(timestep, "timestep"),
        steps=steps,
        seed=seed,
        address=address,
        port=port,
        contract=contract,
        reference=reference,
        exit_on_disconnect=exit_on_disconnect,
    )
    written = write(write_input, Parameters().updated(given), output, options)
    typer.echo(f"wrote {written.input} and {written.start}. Now:")
    for command in (f"cd {output}", *written.commands):
        typer.echo(f"  {command}")


def _serve(
    given: dict[str, Any], mode: str, address: str, port: int, prefix: str, connect_timeout: float, reconnect: bool
) -> None:
    import logging

    from nyff.errors import InputError
    from nyff.ipi.client import Endpoint, serve
    from nyff.ipi.load import EvaluatorSource

    logging.getLogger("nyff.ipi").setLevel(logging.INFO)
    logging.basicConfig(format="nyff ipi: %(message)s")
    if mode != "inet" and not address:
        raise InputError("a UNIX socket needs a name; pass -a with the <address> in i-PI's input")
    endpoint = Endpoint(mode, address or "localhost", port, prefix)
    served = serve(endpoint, EvaluatorSource(given), connect_timeout=connect_timeout, reconnect=reconnect)
    typer.echo(
        f"nyff ipi: answered {served.requests} requests with {served.structures} structures "
        f"in {served.seconds:.2f} s of computing"
    )
