// From a user's files to the twelve leads that the module reads, in mV.
import { readCsv } from "./csv.js";
import { checkFiles } from "./files.js";
import { LEADS, leadPlace, millivolts } from "./leads.js";
import { Refusal } from "./wasm.js";
import { readWfdb } from "./wfdb.js";

// Measurements are made from ten seconds whatever encoders read, and filters need some signal behind the end.
const MEASURED_SECONDS = 10;
const MARGIN_SECONDS = 2;

/** Whether all samples that are there have one value. */
function isStill(values) {
  const first = values.find(Number.isFinite);
  return first !== undefined && values.every((value) => value === first || Number.isNaN(value));
}

/**
 * Choose the standard leads and bring them to mV.
 *
 * Returns {rate, samples, leads: 12 Float64Array (NaN where there is nothing), present, missing, flat: names,
 * seconds: of the whole recording, notes: keys of the texts}.
 */
function standardLeads({ rate, signals }, seconds) {
  if (!(rate >= 50 && rate <= 10000)) throw new Refusal("status.33", { rate });
  const samples = signals[0]?.values.length ?? 0;
  if (samples < rate) throw new Refusal("status.32");
  const kept = Math.min(samples, Math.ceil((Math.max(seconds, MEASURED_SECONDS) + MARGIN_SECONDS) * rate));
  let named = 0;
  const present = [];
  const notes = new Set();
  const leads = LEADS.map((lead, place) => {
    const signal = signals.find(({ name }) => leadPlace(name) === place);
    if (!signal) return new Float64Array(kept).fill(NaN);
    const factor = millivolts(signal.unit);
    if (!factor) throw new Refusal("ecg.unit", { lead, unit: signal.unit });
    named += 1;
    if (signal.differs) notes.add("ecg.checksum");
    const values = new Float64Array(kept);
    for (let i = 0; i < kept; i++) {
      const voltage = signal.values[i] * factor;
      values[i] = Number.isFinite(voltage) ? voltage : NaN;
    }
    if (values.some(Number.isFinite)) present.push(lead);
    return values;
  });
  if (!named) throw new Refusal("ecg.noLeads");
  if (!present.length) throw new Refusal("status.34");
  const missing = LEADS.filter((lead) => !present.includes(lead));
  const flat = LEADS.filter((_, place) => isStill(leads[place]));
  return { rate, samples: kept, leads, present, missing, flat, seconds: samples / rate, notes: [...notes] };
}

const suffix = (name) => name.slice(name.lastIndexOf(".") + 1).toLowerCase();

async function readFiles(files, settings) {
  const header = files.find((file) => suffix(file.name) === "hea");
  if (header) {
    if (files.filter((file) => suffix(file.name) === "hea").length > 1) throw new Refusal("wfdb.several");
    const others = files.filter((file) => file !== header);
    const contents = await Promise.all(others.map(async (file) => new Uint8Array(await file.arrayBuffer())));
    return readWfdb(await header.text(), new Map(others.map((file, place) => [file.name, contents[place]])));
  }
  if (files.length === 1 && ["csv", "tsv", "txt"].includes(suffix(files[0].name))) {
    return readCsv(await files[0].text(), settings);
  }
  if (files.some((file) => ["dat", "mat"].includes(suffix(file.name)))) throw new Refusal("wfdb.noHeader");
  throw new Refusal("ecg.kind");
}

/** Read the files that a user chose: a WFDB record or a table. `seconds`: of the recording that the model reads. */
export async function readEcg(files, settings, seconds) {
  checkFiles(files);
  const read = standardLeads(await readFiles(files, settings), seconds);
  return { ...read, file: files.map((file) => file.name).join(", ") };
}
