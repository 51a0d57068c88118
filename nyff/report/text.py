"""Numbers as people write them: few digits, real minus signs, units beside them."""

from __future__ import annotations

import math
from collections.abc import Sequence

from nyff.units import KCAL_PER_MOL

_SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
_SUBSCRIPT = str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉")
_NARROW_SPACE = "\u202f"


def number(value: float, digits: int = 3) -> str:
    """``value`` with ``digits`` significant digits; powers of ten where there would be many zeros."""
    if not math.isfinite(value):
        return "not finite"
    if value == 0:
        return "0"
    mantissa, _, exponent = f"{value:.{digits - 1}e}".partition("e")
    power = int(exponent)
    if not -4 <= power < 6:
        return f"{_minus(mantissa)}{_NARROW_SPACE}×{_NARROW_SPACE}{power_of_ten(power)}"
    return _minus(f"{float(f'{mantissa}e{exponent}'):,.{max(0, digits - 1 - power)}f}")


def count(value: int) -> str:
    """An integer with its thousands apart."""
    return _minus(f"{value:,d}")


def plain(value: object) -> str:
    """A setting as it was given: floats without trailing zeros, everything else as text."""
    if isinstance(value, float):
        return f"{value:g}"
    return str(value)


def power_of_ten(power: int) -> str:
    """``10⁻⁴`` and the like."""
    return "10" + str(power).translate(_SUPERSCRIPT)


def force(ev_per_ang: float) -> str:
    """A force error in the field's two units."""
    return f"{number(1e3 * ev_per_ang)} meV/Å ({number(ev_per_ang / KCAL_PER_MOL)} kcal/mol/Å)"


def duration(seconds: float) -> str:
    """Seconds, minutes or hours."""
    if seconds < 120:
        return f"{number(seconds)} s"
    return f"{number(seconds / 60)} min" if seconds < 7200 else f"{number(seconds / 3600)} h"


def subscripts(formula: str) -> str:
    """A chemical formula with its numbers lowered."""
    return formula.translate(_SUBSCRIPT)


def atom_name(symbols: Sequence[str], atom: int) -> str:
    """Element and index, counted from 0, as everywhere in nyff."""
    return f"{symbols[atom]}{atom}"


def _minus(text: str) -> str:
    return text.replace("-", "−").replace(",", _NARROW_SPACE)
