"""A folder in the format of MIMIC-IV, MIMIC-IV-ECG and MIMIC-CXR-JPG: two people and a third without a stay."""

import gzip
from pathlib import Path

import numpy as np
from PIL import Image

from riskweave.synthetic.wfdb_files import write_record

__all__ = ["MIMIC", "write_cxr", "write_ecg", "write_mimic", "write_table"]

# Invented rows under the columns of MIMIC-IV 3.1.
MIMIC = {
    "hosp/patients": """\
subject_id,gender,anchor_age,anchor_year,anchor_year_group,dod
10000001,F,52,2180,2014 - 2016,
10000002,M,91,2150,2011 - 2013,2151-03-09
10000003,F,30,2140,2008 - 2010,
""",
    "hosp/admissions": """\
subject_id,hadm_id,admittime,dischtime,deathtime,admission_type,admit_provider_id,admission_location,discharge_location,\
insurance,language,marital_status,race,edregtime,edouttime,hospital_expire_flag
10000001,20000001,2180-05-06 22:23:00,2180-05-07 17:15:00,,URGENT,P1,TRANSFER FROM HOSPITAL,HOME,Medicaid,English,,\
WHITE,2180-05-06 19:17:00,2180-05-06 23:30:00,0
10000001,20000002,2182-01-10 08:00:00,2182-01-12 09:00:00,,EW EMER.,P1,EMERGENCY ROOM,,Medicaid,English,,WHITE,,,0
10000002,20000003,2151-03-01 01:00:00,2151-03-09 06:30:00,2151-03-09 06:30:00,EW EMER.,P2,EMERGENCY ROOM,DIED,Medicare,\
English,WIDOWED,WHITE,,,1
""",
    "hosp/diagnoses_icd": """\
subject_id,hadm_id,seq_num,icd_code,icd_version
10000001,20000001,1,0389,9
10000001,20000002,1,I214,10
10000002,20000003,1,I2102,10
""",
    "hosp/procedures_icd": """\
subject_id,hadm_id,seq_num,chartdate,icd_code,icd_version
10000001,20000002,1,2182-01-10,0270346,10
""",
    "hosp/drgcodes": """\
subject_id,hadm_id,drg_type,drg_code,description,drg_severity,drg_mortality
10000001,20000002,HCFA,247,PERC CARDIOVASC PROC,,
""",
    "hosp/hcpcsevents": """\
subject_id,hadm_id,chartdate,hcpcs_cd,seq_num,short_description
10000001,20000001,2180-05-07,G0378,1,Hospital observation
""",
    "hosp/emar": """\
subject_id,hadm_id,emar_id,emar_seq,poe_id,pharmacy_id,enter_provider_id,charttime,medication,event_txt,scheduletime,storetime
10000001,20000002,1,1,1,1,P1,2182-01-10 10:00:00,Aspirin,Administered,2182-01-10 10:00:00,2182-01-10 10:01:00
""",
    "hosp/pharmacy": """\
subject_id,hadm_id,pharmacy_id,starttime,stoptime,medication
10000001,20000002,1,2182-01-10 09:00:00,2182-01-12 09:00:00,Aspirin
""",
    "hosp/prescriptions": """\
subject_id,hadm_id,pharmacy_id,starttime,stoptime,drug_type,drug,ndc,dose_val_rx,dose_unit_rx
10000001,20000002,1,2182-01-10 09:00:00,2182-01-12 09:00:00,MAIN,Aspirin,00904404073,81,mg
10000001,20000002,2,2182-01-10 09:00:00,,MAIN,Heparin,0,"25,000",UNIT
10000001,20000002,3,2182-01-11 09:00:00,,MAIN,Oxycodone,,1-2,TAB
""",
    "hosp/labevents": """\
labevent_id,subject_id,hadm_id,specimen_id,itemid,order_provider_id,charttime,storetime,value,valuenum,valueuom,\
ref_range_lower,ref_range_upper,flag,priority,comments
1,10000001,20000002,1,51003,P1,2182-01-10 08:30:00,2182-01-10 10:15:00,0.35,0.35,ng/mL,0,0.01,abnormal,STAT,\
"seen, called"
2,10000001,,2,50912,P1,2180-05-07 06:00:00,,___,,mg/dL,0.4,1.1,,ROUTINE,
""",
    "hosp/microbiologyevents": """\
microevent_id,subject_id,hadm_id,micro_specimen_id,chartdate,charttime,spec_type_desc,storedate,storetime,org_name,ab_name,\
interpretation,comments
1,10000002,20000003,1,2151-03-02 00:00:00,2151-03-02 05:00:00,BLOOD CULTURE,2151-03-04 00:00:00,2151-03-04 09:00:00,\
ESCHERICHIA COLI,CEFTRIAXONE,S,"two
lines"
2,10000002,20000003,1,2151-03-02 00:00:00,2151-03-02 05:00:00,BLOOD CULTURE,2151-03-04 00:00:00,2151-03-04 09:00:00,\
ESCHERICHIA COLI,AMPICILLIN,R,
""",
    "hosp/omr": """\
subject_id,chartdate,seq_num,result_name,result_value
10000001,2179-04-30,1,Blood Pressure,128/84
10000001,2179-04-30,1,BMI (kg/m2),23.6
10000001,2179-04-30,1,eGFR,>60
""",
    "hosp/services": """\
subject_id,hadm_id,transfertime,prev_service,curr_service
10000001,20000002,2182-01-10 08:01:00,,CMED
""",
    "hosp/transfers": """\
subject_id,hadm_id,transfer_id,eventtype,careunit,intime,outtime
10000001,20000002,1,admit,Coronary Care Unit (CCU),2182-01-10 08:00:00,2182-01-12 09:00:00
""",
    "icu/icustays": """\
subject_id,hadm_id,stay_id,first_careunit,last_careunit,intime,outtime,los
10000001,20000002,30000001,Coronary Care Unit (CCU),Coronary Care Unit (CCU),2182-01-10 08:00:00,2182-01-11 20:00:00,1.5
""",
    "icu/chartevents": """\
subject_id,hadm_id,stay_id,caregiver_id,charttime,storetime,itemid,value,valuenum,valueuom,warning
10000001,20000002,30000001,1,2182-01-10 08:10:00,2182-01-10 08:12:00,220045,96,96,bpm,0
10000001,20000002,30000001,1,2182-01-10 08:10:00,2182-01-10 08:12:00,220048,AF (Atrial Fibrillation),,,0
""",
    "icu/inputevents": """\
subject_id,hadm_id,stay_id,starttime,endtime,itemid,amount,amountuom,rate,rateuom,patientweight
10000001,20000002,30000001,2182-01-10 08:20:00,2182-01-10 12:20:00,221906,2.4,mg,0.1,mcg/kg/min,71.5
""",
    "icu/outputevents": """\
subject_id,hadm_id,stay_id,caregiver_id,charttime,storetime,itemid,value,valueuom
10000001,20000002,30000001,1,2182-01-10 14:00:00,2182-01-10 14:01:00,226559,250,mL
""",
    "icu/procedureevents": """\
subject_id,hadm_id,stay_id,caregiver_id,starttime,endtime,storetime,itemid,value,valueuom
10000001,20000002,30000001,1,2182-01-10 09:30:00,2182-01-10 10:30:00,2182-01-10 10:30:00,225792,60,min
""",
}


def write_table(folder: Path, name: str, text: str) -> Path:
    """Write a table as PhysioNet distributes it."""
    path = folder / f"{name}.csv.gz"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(text.encode(), mtime=0))
    return path


def write_mimic(folder: Path, **changed: str | None) -> Path:
    """Write all tables, some of them changed (by their name without hosp/ or icu/) or left out (None)."""
    for name, original in MIMIC.items():
        text = changed.get(name.split("/")[1], original)
        if text is not None:
            write_table(folder, name, text)
    return folder


def write_ecg(folder: Path) -> Path:
    """Write a folder of MIMIC-IV-ECG: two records of the first person, and one of somebody whom MIMIC-IV lacks."""
    lines = ["subject_id,study_id,file_name,ecg_time,path"]
    generator = np.random.default_rng(0)
    for person, study, time in (
        (10000001, 40000001, "2180-05-06 20:01:00"),
        (10000001, 40000002, "2182-01-10 07:55:00"),
        (19999999, 40000003, "2170-01-01 10:00:00"),
    ):
        path = f"files/p{str(person)[:4]}/p{person}/s{study}/{study}"
        lines.append(f"{person},{study},{study},{time},{path}")
        (folder / path).parent.mkdir(parents=True)
        signal = generator.normal(size=(5000, 12)).cumsum(axis=0) / 50
        leads = ("I", "II", "III", "aVR", "aVF", "aVL", "V1", "V2", "V3", "V4", "V5", "V6")
        write_record(path=folder / path, signal=signal, leads=leads, sampling_rate=500, gain=200)
    (folder / "record_list.csv").write_text("\n".join(lines) + "\n")
    return folder


def write_cxr(folder: Path) -> Path:
    """Write a folder of MIMIC-CXR-JPG: a frontal and a lateral view of the first person, and one of somebody else."""
    lines = [
        "dicom_id,subject_id,study_id,PerformedProcedureStepDescription,ViewPosition,Rows,Columns,StudyDate,StudyTime,"
        "ProcedureCodeSequence_CodeMeaning,ViewCodeSequence_CodeMeaning,PatientOrientationCodeSequence_CodeMeaning"
    ]
    generator = np.random.default_rng(1)
    for dicom, person, view, date, time in (
        ("0a1b2c3d-00000001", 10000001, "PA", "21800506", "101.0"),
        ("0a1b2c3d-00000002", 10000001, "LATERAL", "21800506", "101.0"),
        ("0a1b2c3d-00000003", 10000001, "AP", "21820110", "213014.53100000002"),
        ("0a1b2c3d-00000004", 19999999, "AP", "21700101", "80000.0"),
    ):
        path = folder / f"files/p10/p{person}/s5{date[:7]}/{dicom}.jpg"
        lines.append(f'{dicom},{person},5{date[:7]},"CHEST (PA AND LAT)",{view},64,56,{date},{time},,,Erect')
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(generator.integers(0, 255, size=(64, 56), dtype=np.uint8)).save(path, format="JPEG")
    write_table(folder, "mimic-cxr-2.0.0-metadata", "\n".join(lines) + "\n")
    return folder
