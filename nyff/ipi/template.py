"""The text of an i-PI input, with a comment above every block.

What goes wrong in inputs written by hand, and is settled here: a cluster without a cell (i-PI wants one; it gets a
large one, ignored by the model), wrapping atoms into it (off), a batch size the number of beads is no multiple of
(in direct mode i-PI then waits forever), energies so large that nine printed digits hide the drift (an offset).
"""

from __future__ import annotations

from pathlib import Path
from xml.sax.saxutils import escape

from nyff.errors import InputError
from nyff.ipi.gle import INVERSE_CM, drift_matrix
from nyff.ipi.options import InputOptions
from nyff.ipi.parameters import Parameters
from nyff.units import HARTREE, KB

PES_PATH = Path(__file__).with_name("nyff_ipi_pes.py")
"""The plug-in that ``<pes_path>`` wants."""

SLOWEST_CM = 20.0
FASTEST_CM = 4000.0


class Document:
    """One input file in pieces: head, outputs, force fields, systems.

    ``energies`` (eV) of the start structure, by the model and, with a contraction, by the reference; ``atoms`` is their
    number; ``start`` is the file with the start structure, beside which the input will stand.
    """

    def __init__(
        self, options: InputOptions, parameters: Parameters, energies: list[float], atoms: int, start: Path
    ) -> None:
        self.options = options
        self.atoms = atoms
        self.parameters = parameters
        self.energies = energies
        self.start = start
        default = "localhost" if options.mode == "inet" else f"nyff-{start.parent.resolve().name}"
        self.address = options.address or default
        self._has_members = parameters.committee or parameters.energy_ensemble or parameters.force_virial_ensemble

    def text(self) -> str:
        """The whole file."""
        blocks = [self._head(), self._outputs(), self._force_fields(), self._systems(), "</simulation>\n"]
        return "\n\n".join(blocks)

    def commands(self) -> tuple[str, ...]:
        """What to type, in the folder of the input."""
        if self.options.mode == "direct":
            return ("i-pi input.xml",)
        clients = [f"nyff ipi {self._where(0)} --model {self._model(self.parameters.model)}"]
        if self.options.reference:
            clients = [f"nyff ipi {self._where(i)} --model {self._model(m)}" for i, m in enumerate(self._models())]
        return ("i-pi input.xml &", *clients)

    def _where(self, index: int) -> str:
        if self.options.mode == "inet":
            return f"-a {self.address} -p {self.options.port + index}"
        flag = "--shm" if self.options.mode == "shm" else "--unix"
        return f"{flag} -a {self.address}{index or ''}"

    def _models(self) -> list[str]:
        """The model of every force field that is written, in order."""
        full, cheap = self.parameters.model, self.options.reference
        return [full, cheap, cheap] if cheap else [full]

    def _head(self) -> str:
        o = self.options
        kind = {
            "nvt": f"{'Path-integral' if o.nbeads > 1 else 'Classical'} molecular dynamics at {o.temperature:g} K",
            "nve": f"{'Ring-polymer' if o.nbeads > 1 else 'Classical'} molecular dynamics at constant energy",
            "remd": "Replica exchange at " + ", ".join(f"{t:g}" for t in o.ladder) + " K",
            "geop": "Geometry optimisation",
            "instanton": f"Instanton (tunnelling rate) at {o.temperature:g} K, starting at a transition state",
        }[o.motion]
        threads = " threading='False'" if o.motion == "remd" else ""
        return f"""<!-- {kind}, {o.nbeads} bead{"s" if o.nbeads > 1 else ""}. Run in this folder: i-pi input.xml
     Stop so that it can go on: touch EXIT. Go on: i-pi RESTART.
     All digits are printed, so that it goes on as if it had never stopped. -->
<simulation verbosity='low' floatformat='%24.16e'{threads}>
  <total_steps> {o.total_steps} </total_steps>
  <!-- the same seed gives the same trajectory -->
  <prng> <seed> {o.seed} </seed> </prng>"""

    def _outputs(self) -> str:
        o = self.options
        short = o.total_steps * o.timestep < 1000 or o.motion in ("geop", "instanton")
        every = 1 if short else max(1, o.total_steps // 5000)
        frames = max(1, o.total_steps // 1000, min(20, o.total_steps // 50))
        dynamics = "time{picosecond}, conserved{electronvolt}, temperature{kelvin}, kinetic_cv{electronvolt}, "
        quantities = "step, " + (dynamics if o.motion in ("nvt", "nve", "remd") else "") + "potential{electronvolt}"
        extras = ""
        for wanted, name in (
            (self.parameters.committee or self.parameters.energy_ensemble, "committee_pot"),
            (self.parameters.uncertainty, "force_uncertainty"),
        ):
            if wanted:
                shown = "committee_" + name if self._wrapped and name == "force_uncertainty" else name
                extras += (
                    f"\n    <!-- {name}: in hartree and bohr, one line per structure -->\n"
                    f"    <trajectory filename='{name}' stride='{frames}' flush='20' extra_type='{shown}'>\n"
                    "      extras\n    </trajectory>"
                )
        return f"""  <!-- The energy zero is the start structure, so that nine digits show the drift of the conserved
       quantity. One trajectory file per bead; every flush of a file waits for the disk, so they are rare. -->
  <output prefix='simulation'>
    <properties stride='{every}' flush='{1 if every == 1 else 10}' filename='out'> [ {quantities} ] </properties>
    <trajectory filename='pos' stride='{frames}' flush='20' format='xyz' cell_units='angstrom'>
      positions{{angstrom}}
    </trajectory>{extras}
    <checkpoint filename='checkpoint' stride='{max(1, o.total_steps // 10)}' overwrite='True'/>
  </output>"""

    @property
    def _wrapped(self) -> bool:
        """Whether i-PI's own committee stands around the force field; around a direct one it cannot be restarted."""
        return self._has_members and self.options.mode != "direct"

    def _force_fields(self) -> str:
        o = self.options
        batches = [o.contract or o.nbeads, o.contract, o.nbeads] if o.reference else [o.contract or o.nbeads]
        energies = [self.energies[0]] + [self.energies[-1]] * 2
        names = ["nyff", "reference-contracted", "reference"]
        blocks = []
        for index, (model, batch) in enumerate(zip(self._models(), batches, strict=True)):
            blocks.append(self._force_field(names[index], index, model, batch, energies[index]))
        return "\n".join(blocks)

    def _force_field(self, name: str, index: int, model: str, batch: int, energy: float) -> str:
        o = self.options
        # members of a committee reach i-PI in the extras, past its offset
        zero, offset = energy, ""
        if not self._has_members:
            zero, offset = 0.0, f"\n    <offset> {energy / HARTREE:.12f} </offset>"
        inside = f"""<!-- the energy zero is that of the start structure, in hartree -->{offset}
    <!-- the model, and the file whose atoms must be the model's, in its order -->
    <parameters> {{ {self._parameters(model, zero)} }} </parameters>
    <!-- all beads in one call of the model -->
    <batch_size> {batch} </batch_size>"""
        if o.mode == "direct":
            return f"""  <!-- inside i-PI. pbc is off: wrapping atoms would tear the molecule apart -->
  <ffdirect name='{name}' pbc='false'>
    <pes> custom </pes>
    <pes_path> {escape(_plain(PES_PATH))} </pes_path>
    {inside}
  </ffdirect>"""
        port = f"\n    <port> {o.port + index} </port>" if o.mode == "inet" else ""
        address = self.address if o.mode == "inet" else f"{self.address}{index or ''}"
        block = f"""  <!-- clients connect here: {self._client(index, model)}
       pbc is off: wrapping atoms would tear the molecule apart -->
  <ffsocket name='{name}' mode='{o.mode}' pbc='false'>
    <address> {escape(address)} </address>{port}
    <!-- true: stop, restartably, when a client is lost; false: wait for the next one -->
    <exit_on_disconnect> {o.exit_on_disconnect} </exit_on_disconnect>
    {inside}
  </ffsocket>"""
        if not self._wrapped or index:
            return block
        inner = block.replace(f"name='{name}'", f"name='{name}-members'")
        return (
            "  <!-- the committee's mean drives the dynamics, its spread is printed -->\n"
            f"  <ffcommittee name='{name}'>\n  <parse_json> True </parse_json>\n{inner}\n  </ffcommittee>"
        )

    def _client(self, index: int, model: str) -> str:
        # "--" may not stand in an XML comment; the model comes from the parameters below anyway
        return self._where(index).replace("--unix", "-u").replace("--shm", "(shared memory)")

    def _parameters(self, model: str, zero: float) -> str:
        p = self.parameters
        template = "start.xyz" if self.options.mode == "direct" else _plain(self.start.resolve())
        values: dict[str, object] = {"template": template, "model": self._model(model)}
        for name in ("device", "committee", "energy_ensemble", "force_virial_ensemble", "uncertainty"):
            if getattr(p, name) != getattr(Parameters(), name):
                values[name] = getattr(p, name)
        if p.uncertainty_threshold > 0:
            values |= {"uncertainty_threshold": p.uncertainty_threshold, "uncertainty_action": p.uncertainty_action}
        if p.num_threads:
            values["num_threads"] = p.num_threads
        if zero:
            values["energy_zero"] = f"{zero:.10f}"
        return escape(", ".join(f"{name}: {value}" for name, value in values.items()))

    @staticmethod
    def _model(text: str) -> str:
        return ";".join(_plain(Path(path.strip()).resolve()) for path in text.split(";") if path.strip())

    def _systems(self) -> str:
        o = self.options
        if o.motion != "remd":
            return self._system(f"{o.temperature:g}", "")
        instances = "\n".join(f"    <instance> [ {t:g}, {i} ] </instance>" for i, t in enumerate(o.ladder))
        return f"""  <!-- one system per temperature; every 20 steps neighbours may exchange: simulation.remd_idx -->
  <system_template>
    <labels> [ TEMPERATURE, INDEX ] </labels>
{instances}
    <template>
{self._system("TEMPERATURE", " prefix='INDEX'")}
    </template>
  </system_template>
  <smotion mode='remd'> <remd> <stride> 20 </stride> </remd> </smotion>"""

    def _system(self, temperature: str, attributes: str) -> str:
        o = self.options
        velocities = ""
        if o.motion in ("nvt", "nve", "remd"):
            velocities = f"\n      <velocities mode='thermal' units='kelvin'> {temperature} </velocities>"
        forces = "      <force forcefield='nyff'/>"
        if o.contract:
            forces = (
                f"      <!-- the full model sees {o.contract} beads -->\n"
                f"      <force forcefield='nyff' nbeads='{o.contract}'/>"
            )
        if o.reference:
            forces += (
                "\n      <!-- the cheap reference sees all of them, and is taken away where the full model stands -->"
                "\n      <force forcefield='reference'/>"
                f"\n      <force forcefield='reference-contracted' nbeads='{o.contract}' weight='-1.0'/>"
            )
        return f"""  <!-- what is simulated -->
  <system{attributes}>
    <!-- all beads start at the same place. The cell is large and means nothing: a molecule has none -->
    <initialize nbeads='{o.nbeads}'>
      <file mode='xyz'> start.xyz </file>{velocities}
    </initialize>
    <!-- the virial sent for a molecule is zero: pressures mean nothing, constant pressure is impossible -->
    <forces>
{forces}
    </forces>
    <!-- the temperature that is aimed at -->
    <ensemble> <temperature units='kelvin'> {temperature} </temperature> </ensemble>
{self._motion()}
  </system>"""

    def _motion(self) -> str:
        o = self.options
        if o.motion == "geop":
            return """    <!-- quasi-Newton with a trust radius: one force per step -->
    <motion mode='minimize'>
      <optimizer mode='bfgstrm'>
        <tolerances> <energy> 1e-7 </energy> <force> 1e-5 </force> <position> 1e-4 </position> </tolerances>
      </optimizer>
    </motion>"""
        if o.motion == "instanton":
            size = 3 * self.atoms
            return f"""    <!-- beads spread along the transition state's unstable mode by delta (bohr), then move.
         The Hessian there comes from the model. With a single bead: search for the transition state -->
    <motion mode='instanton'>
      <instanton mode='rate'>
        <alt_out> -1 </alt_out>
        <delta> 0.1 </delta>
        <opt> nichols </opt>
        <hessian mode='file' shape='({size}, {size})'> hessian.txt </hessian>
        <hessian_update> powell </hessian_update>
        <hessian_asr> poly </hessian_asr>
        <biggest_step> 0.1 </biggest_step>
        <tolerances> <energy> 1e-6 </energy> <force> 1e-5 </force> <position> 1e-4 </position> </tolerances>
      </instanton>
    </motion>"""
        thermostat = "" if o.motion == "nve" else "\n" + self._thermostat()
        return f"""    <!-- how it moves: the free ring polymer exactly, the forces with this time step -->
    <motion mode='dynamics'>
      <dynamics mode='{"nve" if o.motion == "nve" else "nvt"}'>
        <timestep units='femtosecond'> {o.timestep:g} </timestep>{thermostat}
      </dynamics>
    </motion>"""

    def _thermostat(self) -> str:
        o = self.options
        if o.thermostat == "gle":
            highest = max(FASTEST_CM, 2 * o.nbeads * KB * max(o.ladder) / HARTREE / INVERSE_CM)
            matrix = drift_matrix(SLOWEST_CM * INVERSE_CM, highest * INVERSE_CM)
            span = f"{SLOWEST_CM:g} to {highest:.0f} cm^-1"
            rows = ",\n            ".join(", ".join(f"{value:.8e}" for value in row) for row in matrix)
            return f"""        <!-- a generalised Langevin equation that samples {span} about equally fast -->
        <thermostat mode='gle'>
          <A shape='({len(matrix)}, {len(matrix)})'>
          [ {rows} ]
          </A>
        </thermostat>"""
        what = "Langevin on every normal mode of the ring polymer"
        if o.thermostat == "pile_g":
            what += ", velocity rescaling on its centre: gentler on the dynamics"
        return f"""        <!-- {what} -->
        <thermostat mode='{o.thermostat}'> <tau units='femtosecond'> 100 </tau> </thermostat>"""


def _plain(path: str | Path) -> str:
    text = str(path)
    if any(character in text for character in ",{}[];\n") or text != text.strip():
        raise InputError(f"i-PI cannot be told the path {text!r}; rename what has commas, semicolons or brackets")
    return text
