"""Which tables of MIMIC-IV are read, which of their columns, and which events their rows become.

Codes are spelt as the public ETL from MIMIC-IV to MEDS spells them where it reads the table
(github.com/Medical-Event-Data-Standard/MIMIC_IV_MEDS), so that code lists serve both. What it does not read
(prescriptions, microbiology, services, the socio-demographic columns of admissions, the numbers in omr) is spelt in its
manner. ``UNK`` stands for an empty part.

When an event is dated decides whether it may predict:

- diagnoses and DRG are billed after the stay, and dated at its discharge;
- a laboratory result is dated when it was stored: before, nobody knew it (at charttime where storetime is empty);
- organisms and resistances are dated when the culture was reported, cultures when the specimen was taken;
- procedures_icd, hcpcsevents and omr know a day only: their midnight covers the whole day, as everywhere.
"""

from dataclasses import dataclass

__all__ = ["TABLES", "Event", "RawTable"]


@dataclass(frozen=True)
class Event:
    """An event that each row of a table becomes; the fields are SQL expressions over its columns.

    Attributes
    ----------
    time, code : str
        Rows without a time or a code become no event.
    number, text, unit : str
        Measured value, value in words, unit.
    where : str
        Which rows.
    distinct : bool
        Whether equal events are one.
    """

    time: str
    code: str
    number: str = "NULL"
    text: str = "NULL"
    unit: str = "NULL"
    where: str = "true"
    distinct: bool = False


@dataclass(frozen=True)
class RawTable:
    """A table of MIMIC-IV.

    Attributes
    ----------
    name, module : str
        As distributed: ``<module>/<name>.csv.gz``.
    times, numbers, identifiers, texts : tuple of str
        The columns that are read, by what they hold. Identifiers beside subject_id are whole numbers.
    events : tuple of Event
        What its rows become.
    alias : str or None
        Another name of its file.
    keyed : bool
        Whether each row needs a stay (hadm_id) that admissions holds, because that dates it.
    """

    name: str
    module: str
    times: tuple[str, ...] = ()
    numbers: tuple[str, ...] = ()
    identifiers: tuple[str, ...] = ()
    texts: tuple[str, ...] = ()
    events: tuple[Event, ...] = ()
    alias: str | None = None
    keyed: bool = False

    @property
    def columns(self) -> tuple[str, ...]:
        """All columns that are read."""
        return ("subject_id", *self.identifiers, *self.times, *self.numbers, *self.texts)


def _code(*parts: str) -> str:
    """Join words (in quotes) and columns to a code; an empty column reads UNK."""
    spelt = [part if part.startswith("'") else f"coalesce({part}, 'UNK')" for part in parts]
    return " || '//' || ".join(spelt)


def _described(column: str) -> Event:
    return Event("admittime", f"'{column.upper()}//' || {column}")


# Numbers in words: "120/80", "63.5", "> 60".
_NUMBER = "TRY_CAST(result_value AS FLOAT)"
_PRESSURE = r"regexp_extract(result_value, '^\s*(\d+)\s*/\s*(\d+)\s*$', {})"
_OMR_UNIT = (
    "CASE WHEN result_name LIKE 'BMI%' THEN 'kg/m2' WHEN result_name LIKE 'Weight%' THEN 'lb' "
    "WHEN result_name LIKE 'Height%' THEN 'in' END"
)
_OMR = r"NOT regexp_matches(result_value, '^\s*\d+\s*/\s*\d+\s*$')"


def _pressure(which: str, group: int) -> Event:
    taken = _PRESSURE.format(group)
    return Event(
        "chartdate", f"result_name || '//{which}'", f"TRY_CAST({taken} AS FLOAT)", unit="'mmHg'", where=f"NOT ({_OMR})"
    )


# A dose is a number, one with thousands separators (25,000), or words such as 1-2, which stay words.
_THOUSANDS = r"regexp_matches(dose_val_rx, '^\d{1,3}(,\d{3})+(\.\d+)?$')"
_PLAIN_DOSE = f"CASE WHEN {_THOUSANDS} THEN replace(dose_val_rx, ',', '') ELSE dose_val_rx END"
_DOSE = f"TRY_CAST({_PLAIN_DOSE} AS FLOAT)"

TABLES = (
    RawTable(
        "patients", "hosp", times=("dod",), numbers=("anchor_age", "anchor_year"),
        texts=("gender", "anchor_year_group"),
        events=(
            Event("NULL", _code("'GENDER'", "gender"), where="gender IS NOT NULL"),
            Event("make_timestamp(CAST(anchor_year - anchor_age AS BIGINT), 1, 1, 0, 0, 0)", "'MEDS_BIRTH'"),
        ),
    ),
    RawTable(
        "admissions", "hosp", identifiers=("hadm_id",),
        times=("admittime", "dischtime", "deathtime", "edregtime", "edouttime"),
        texts=("admission_type", "admission_location", "discharge_location", "insurance", "language", "marital_status",
               "race"),
        events=(
            Event("edregtime", "'ED_REGISTRATION'"),
            Event("edouttime", "'ED_OUT'"),
            Event("admittime", _code("'HOSPITAL_ADMISSION'", "admission_type", "admission_location")),
            Event("dischtime", _code("'HOSPITAL_DISCHARGE'", "discharge_location")),
            *(_described(column) for column in ("insurance", "language", "marital_status", "race")),
        ),
    ),
    RawTable(
        "diagnoses_icd", "hosp", identifiers=("hadm_id",), texts=("icd_code", "icd_version"), keyed=True,
        events=(Event("dischtime", _code("'DIAGNOSIS//ICD'", "icd_version", "icd_code")),),
    ),
    RawTable(
        "procedures_icd", "hosp", times=("chartdate",), texts=("icd_code", "icd_version"),
        events=(Event("chartdate", _code("'PROCEDURE//ICD'", "icd_version", "icd_code")),),
    ),
    RawTable(
        "drgcodes", "hosp", identifiers=("hadm_id",), texts=("drg_type", "drg_code", "description"), keyed=True,
        events=(Event("dischtime", _code("'DRG'", "drg_type", "drg_code", "description")),),
    ),
    RawTable(
        "hcpcsevents", "hosp", alias="hcpcsevent", times=("chartdate",), texts=("short_description",),
        events=(Event("chartdate", _code("'HCPCS'", "short_description")),),
    ),
    RawTable(
        "emar", "hosp", times=("charttime",), texts=("medication", "event_txt"),
        events=(Event("charttime", _code("'MEDICATION'", "medication", "event_txt")),),
    ),
    RawTable(
        "pharmacy", "hosp", times=("starttime", "stoptime"), texts=("medication",),
        events=(
            Event("starttime", _code("'MEDICATION//START'", "medication")),
            Event("stoptime", _code("'MEDICATION//STOP'", "medication")),
        ),
    ),
    RawTable(
        "prescriptions", "hosp", times=("starttime", "stoptime"), identifiers=("ndc",),
        texts=("drug", "dose_val_rx", "dose_unit_rx"),
        events=(
            Event("starttime", _code("'PRESCRIPTION//START'", "drug"), _DOSE,
                  f"CASE WHEN {_DOSE} IS NULL THEN dose_val_rx END", "dose_unit_rx"),
            Event("stoptime", _code("'PRESCRIPTION//STOP'", "drug")),
            # National drug codes have 11 digits; tables that were numbers once have lost the leading zeros.
            Event("starttime", "'NDC//' || lpad(ndc, 11, '0')", where="ndc IS NOT NULL AND ndc <> '0'"),
        ),
    ),
    RawTable(
        "labevents", "hosp", identifiers=("itemid",), times=("charttime", "storetime"), numbers=("valuenum",),
        texts=("value", "valueuom"),
        events=(
            Event("coalesce(storetime, charttime)", _code("'LAB//RESULT'", "itemid", "valueuom"), "valuenum",
                  "CASE WHEN valuenum IS NULL THEN value END", "valueuom"),
        ),
    ),
    RawTable(
        "microbiologyevents", "hosp", times=("chartdate", "charttime", "storedate", "storetime"),
        texts=("spec_type_desc", "org_name", "ab_name", "interpretation"),
        events=(
            Event("coalesce(charttime, chartdate)", _code("'MICROBIOLOGY//CULTURE'", "spec_type_desc"), distinct=True),
            Event("coalesce(storetime, storedate)", _code("'MICROBIOLOGY//ORGANISM'", "org_name"),
                  where="org_name IS NOT NULL", distinct=True),
            Event("coalesce(storetime, storedate)",
                  _code("'MICROBIOLOGY//ANTIBIOTIC'", "ab_name", "interpretation"), text="org_name",
                  where="ab_name IS NOT NULL", distinct=True),
        ),
    ),
    RawTable(
        "omr", "hosp", times=("chartdate",), texts=("result_name", "result_value"),
        events=(
            Event("chartdate", "result_name", _NUMBER, f"CASE WHEN {_NUMBER} IS NULL THEN result_value END", _OMR_UNIT,
                  where=_OMR),
            _pressure("SYSTOLIC", 1),
            _pressure("DIASTOLIC", 2),
        ),
    ),
    RawTable(
        "services", "hosp", times=("transfertime",), texts=("curr_service",),
        events=(Event("transfertime", _code("'SERVICE'", "curr_service")),),
    ),
    RawTable(
        "transfers", "hosp", times=("intime",), texts=("eventtype", "careunit"),
        events=(Event("intime", _code("'TRANSFER_TO'", "eventtype", "careunit")),),
    ),
    RawTable(
        "icustays", "icu", times=("intime", "outtime"), texts=("first_careunit", "last_careunit"),
        events=(
            Event("intime", _code("'ICU_ADMISSION'", "first_careunit")),
            Event("outtime", _code("'ICU_DISCHARGE'", "last_careunit")),
        ),
    ),
    RawTable(
        "chartevents", "icu", identifiers=("itemid",), times=("charttime",), numbers=("valuenum",),
        texts=("value", "valueuom"),
        events=(
            Event("charttime", _code("'LAB'", "itemid", "valueuom"), "valuenum",
                  "CASE WHEN valuenum IS NULL THEN value END", "valueuom"),
        ),
    ),
    RawTable(
        "procedureevents", "icu", identifiers=("itemid",), times=("starttime", "endtime"),
        events=(
            Event("starttime", _code("'PROCEDURE//START'", "itemid")),
            Event("endtime", _code("'PROCEDURE//END'", "itemid")),
        ),
    ),
    RawTable(
        "inputevents", "icu", identifiers=("itemid",), times=("starttime", "endtime"),
        numbers=("rate", "amount", "patientweight"), texts=("rateuom", "amountuom"),
        events=(
            Event("starttime", _code("'INFUSION_START'", "itemid"), "rate", unit="rateuom"),
            Event("endtime", _code("'INFUSION_END'", "itemid"), "amount", unit="amountuom"),
            Event("starttime", "'SUBJECT_WEIGHT_AT_INFUSION//KG'", "patientweight", unit="'kg'",
                  where="patientweight IS NOT NULL", distinct=True),
        ),
    ),
    RawTable(
        "outputevents", "icu", identifiers=("itemid",), times=("charttime",), numbers=("value",), texts=("valueuom",),
        events=(
            Event("charttime", _code("'SUBJECT_FLUID_OUTPUT'", "itemid", "valueuom"), "value", unit="valueuom"),
        ),
    ),
)  # fmt: skip
