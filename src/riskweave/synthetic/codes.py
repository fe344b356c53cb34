"""Vocabulary of the demo cohort's events."""

from dataclasses import dataclass

__all__ = ["CODES", "NOTES", "Code"]


@dataclass(frozen=True)
class Code:
    """A code of an event: its meaning, its unit where it has values, and its code in a public vocabulary."""

    code: str
    description: str
    unit: str | None = None
    parent: str | None = None


CODES = (
    Code("MEDS_BIRTH", "Birth"),
    Code("MEDS_DEATH", "Death from any cause"),
    Code("GENDER//F", "Female sex (static, without a time)"),
    Code("GENDER//M", "Male sex (static, without a time)"),
    Code("VISIT//OUTPATIENT", "Outpatient visit"),
    Code("VISIT//INPATIENT", "Admission to hospital"),
    Code("VITAL//SBP", "Systolic blood pressure", "mmHg", "LOINC/8480-6"),
    Code("VITAL//DBP", "Diastolic blood pressure", "mmHg", "LOINC/8462-4"),
    Code("VITAL//BMI", "Body mass index", "kg/m2", "LOINC/39156-5"),
    Code("LAB//LDL", "Low-density lipoprotein cholesterol in serum", "mmol/L", "LOINC/22748-8"),
    Code("LAB//HDL", "High-density lipoprotein cholesterol in serum", "mmol/L", "LOINC/14646-4"),
    Code("LAB//TRIGLYCERIDES", "Triglycerides in serum", "mmol/L", "LOINC/14927-8"),
    Code("LAB//HBA1C", "Glycated haemoglobin in blood (IFCC)", "mmol/mol", "LOINC/59261-8"),
    Code("LAB//EGFR", "Estimated glomerular filtration rate", "mL/min/1.73m2", "LOINC/98979-8"),
    Code("LAB//CREATININE", "Creatinine in serum", "umol/L", "LOINC/14682-9"),
    Code("LAB//CRP", "C-reactive protein in serum, high sensitivity", "mg/L", "LOINC/30522-7"),
    Code("LAB//HAEMOGLOBIN", "Haemoglobin in blood (no signal)", "g/dL", "LOINC/718-7"),
    Code("LAB//POTASSIUM", "Potassium in serum (no signal)", "mmol/L", "LOINC/2823-3"),
    Code("ICD10//I10", "Essential hypertension"),
    Code("ICD10//E78", "Disorders of lipoprotein metabolism"),
    Code("ICD10//E11", "Type 2 diabetes mellitus"),
    Code("ICD10//N18", "Chronic kidney disease"),
    Code("ICD10//F17", "Tobacco use"),
    Code("ICD10//J44", "Chronic obstructive pulmonary disease"),
    Code("ICD10//J06", "Acute upper respiratory infection (no signal)"),
    Code("ICD10//M54", "Back pain (no signal)"),
    Code("ICD10//I21", "Acute myocardial infarction: the target event, and prevalent cases before the index time"),
    Code("ICD10//I25.2", "Old myocardial infarction: recorded after a myocardial infarction"),
    Code("ICD10//I50", "Heart failure: recorded after a myocardial infarction in some subjects"),
    Code("ATC//C09AA05", "Ramipril"),
    Code("ATC//C10AA05", "Atorvastatin"),
    Code("ATC//A10BA02", "Metformin"),
    Code("ATC//B01AC06", "Acetylsalicylic acid: after a myocardial infarction, and in some subjects before"),
    Code("ATC//N02BE01", "Paracetamol (no signal)"),
)

NOTES = (
    Code("NOTE//CLINIC", "Letter of an outpatient clinic", parent="LOINC/34108-1"),
    Code("NOTE//NURSE", "Note of a nurse's review", parent="LOINC/34746-8"),
    Code("NOTE//TELEPHONE", "Note of a telephone encounter", parent="LOINC/34748-4"),
)
"""Codes of the notes, among the events where notes are generated."""
