// The standard leads, in the order of the module, and the units of voltage.

export const LEADS = ["I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6"];

const MILLIVOLTS = { v: 1e3, mv: 1, uv: 1e-3, "µv": 1e-3, "μv": 1e-3, nv: 1e-6 };

/** The name of a signal as leads are compared: "Lead aVF " and "AVF" are the same. */
const leadName = (name) => name.toLowerCase().replace("lead", "").replace("_", " ").trim();

/** The place of the lead of this name, or -1. */
export const leadPlace = (name) => LEADS.findIndex((lead) => lead.toLowerCase() === leadName(name));

/** How many mV a unit is; undefined where it is none of voltage. */
export const millivolts = (unit) => MILLIVOLTS[unit.trim().toLowerCase()];
