"""Units that a study writes, in UCUM (https://ucum.org), and others that mean the same for any quantity."""

from riskweave.deployment.recipe import Unit

__all__ = ["known_units", "ucum_of"]

_UCUM = {
    "years": "a", "year": "a", "months": "mo", "weeks": "wk", "days": "d", "day": "d", "h": "h", "min": "min", "s": "s",
    "ms": "ms", "mmHg": "mm[Hg]", "kPa": "kPa", "1/min": "/min", "bpm": "/min", "/min": "/min", "%": "%",
    "kg/m2": "kg/m2", "kg/m²": "kg/m2", "kg": "kg", "g": "g", "cm": "cm", "m": "m", "mm": "mm", "lb": "[lb_av]",
    "in": "[in_i]", "mg/dL": "mg/dL", "mg/L": "mg/L", "g/dL": "g/dL", "g/L": "g/L", "ug/L": "ug/L", "µg/L": "ug/L",
    "ng/L": "ng/L", "ng/mL": "ng/mL", "pg/mL": "pg/mL", "mmol/L": "mmol/L", "umol/L": "umol/L", "µmol/L": "umol/L",
    "nmol/L": "nmol/L", "mmol/mol": "mmol/mol", "U/L": "U/L", "IU/L": "[IU]/L", "mU/L": "mU/L",
    "mL/min/1.73m2": "mL/min/{1.73_m2}", "mL/min/1.73 m2": "mL/min/{1.73_m2}", "10^9/L": "10*9/L", "K/uL": "10*3/uL",
    "°C": "Cel", "C": "Cel", "°F": "[degF]", "F": "[degF]", "mV": "mV",
}  # fmt: skip

# Unit to others with factor and offset: value * factor + offset is the value in the first.
_SAME: dict[str, tuple[tuple[str, float, float], ...]] = {
    "mmHg": (("kPa", 7.500616827041697, 0.0),),
    "kPa": (("mmHg", 0.133322387415, 0.0),),
    "kg": (("lb", 0.45359237, 0.0),),
    "cm": (("in", 2.54, 0.0), ("m", 100.0, 0.0)),
    "m": (("cm", 0.01, 0.0), ("in", 0.0254, 0.0)),
    "years": (("months", 1.0 / 12.0, 0.0),),
    "mg/dL": (("mg/L", 0.1, 0.0), ("g/L", 100.0, 0.0)),
    "mg/L": (("mg/dL", 10.0, 0.0),),
    "g/dL": (("g/L", 0.1, 0.0),),
    "g/L": (("g/dL", 10.0, 0.0), ("mg/dL", 0.01, 0.0)),
    "mmol/L": (("umol/L", 0.001, 0.0),),
    "umol/L": (("mmol/L", 1000.0, 0.0),),
    "°C": (("°F", 5.0 / 9.0, -160.0 / 9.0),),
    "°F": (("°C", 1.8, 32.0),),
}


def ucum_of(unit: str) -> str:
    """Return the UCUM code of a unit as studies write it; empty where it is none that is known."""
    return _UCUM.get(unit, "")


def known_units(unit: str) -> tuple[Unit, ...]:
    """Return other units of the same dimension, whatever is measured: conversions by molar mass are not among them."""
    return tuple(Unit(label, ucum_of(label), factor, offset) for label, factor, offset in _SAME.get(unit, ()))
