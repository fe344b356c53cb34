// A recording in a text table: one column a lead, one row a sample. The same tables as the command line reads.
import { LEADS, leadPlace, millivolts } from "./leads.js";
import { Refusal } from "./wasm.js";

const TIME = /^(?:time|t|zeit)? ?(s|sec|seconds|ms|msec|milliseconds)?$/;
const SECONDS = { s: 1, sec: 1, seconds: 1, ms: 1e-3, msec: 1e-3, milliseconds: 1e-3 };
const MISSING = new Set(["", "nan", "na", "n/a", "null", "none", "-"]);
const NUMBER = /^[-+]?(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d+)?$/i;
// Steps between samples, in s or in ms, of rates from 50 to 10,000 Hz: the two ranges are apart.
const STEPS = [1e-4, 0.02];
// mV off the middle that no ECG reaches at the skin: the unit must be another one.
const LARGEST_VOLTAGE = 50;

const cells = (line, separator) => line.split(separator).map((cell) => cell.trim().replace(/^"(.*)"$/, "$1").trim());

// "V1 (uV)" and "V1 [uV]" name a column and its unit.
function parseTitle(title) {
  const [, name, unit] = /^(.*?)\s*(?:[([]\s*([^)\]]*?)\s*[)\]])?$/.exec(title);
  return { name, unit: unit ?? "" };
}

function findColumns(titles) {
  const leads = [];
  let time = null;
  titles.forEach((title, column) => {
    const place = leadPlace(title.name);
    const found = TIME.exec(title.name.toLowerCase());
    if (place >= 0) {
      if (leads.some((lead) => lead.place === place)) throw new Refusal("csv.twice", { lead: LEADS[place] });
      leads.push({ column, place, unit: title.unit });
    } else if (!time && title.name && found) {
      const unit = (title.unit || found[1] || "").toLowerCase();
      if (unit && !SECONDS[unit]) throw new Refusal("csv.timeUnit", { unit });
      time = { column, seconds: SECONDS[unit] };
    }
  });
  if (!leads.length) throw new Refusal("ecg.noLeads");
  return { leads, time };
}

function parseRows(lines, separator, columns, titles) {
  const width = Math.max(...columns) + 1;
  const values = new Map(columns.map((column) => [column, new Float64Array(lines.length)]));
  lines.forEach((line, row) => {
    const found = cells(line, separator);
    if (found.length < width) throw new Refusal("csv.ragged", { line: row + 2 });
    for (const column of columns) {
      const text = separator === "," ? found[column] : found[column].replace(",", ".");
      const missing = MISSING.has(text.toLowerCase());
      if (!missing && !NUMBER.test(text)) throw new Refusal("csv.text", { line: row + 2, column: titles[column].name });
      values.get(column)[row] = missing ? NaN : Number(text);
    }
  });
  return values;
}

// Rounded times have unequal steps, though never of none or of two samples.
function rateOfTimes(times, seconds) {
  const mean = (times.at(-1) - times[0]) / (times.length - 1);
  const steps = times.subarray(1).map((time, i) => time - times[i]);
  const even = steps.every((step) => step > 0.5 * mean && step < 1.5 * mean);
  if (!(mean > 0) || !even) throw new Refusal("csv.times");
  const unit = seconds ?? (mean >= STEPS[0] && mean <= STEPS[1] ? 1 : 1e-3);
  const rate = 1 / (mean * unit);
  return Math.abs(rate - Math.round(rate)) < 5e-4 * rate ? Math.round(rate) : rate;
}

function checkUnit(values, unit, place) {
  const known = values.filter(Number.isFinite).sort();
  const middle = known[Math.floor(known.length / 2)];
  const off = known.map((value) => Math.abs(value - middle)).sort();
  if (off[Math.floor(0.95 * (off.length - 1))] * (millivolts(unit) ?? 0) > LARGEST_VOLTAGE) {
    throw new Refusal("csv.voltage", { lead: LEADS[place], unit });
  }
}

/**
 * Read a table of leads.
 *
 * The first line names the columns: leads ("I", "V1 (uV)"), and where there is one a column of times ("time (s)",
 * "time (ms)"); others are passed over. Cells are separated by commas, semicolons or tabs. `settings`: {rate (Hz) or
 * NaN, unit} for what the table does not say itself. Returns {rate, signals: [{name, unit, values, differs: false}]}.
 */
export function readCsv(text, settings) {
  const lines = text.replace(/^\uFEFF/, "").split(/\r\n|\r|\n/).filter((line) => line.trim());
  if (lines.length < 3) throw new Refusal("csv.empty");
  const count = (separator) => lines[0].split(separator).length;
  const separator = [",", ";", "\t"].reduce((best, one) => (count(one) > count(best) ? one : best));
  const titles = cells(lines[0], separator).map(parseTitle);
  const { leads, time } = findColumns(titles);
  const columns = [...leads.map(({ column }) => column), ...(time ? [time.column] : [])];
  const values = parseRows(lines.slice(1), separator, columns, titles);
  const rate = time ? rateOfTimes(values.get(time.column), time.seconds) : settings.rate;
  if (!(rate > 0)) throw new Refusal("csv.rate");
  const signals = leads.map(({ column, place, unit: own }) => {
    const unit = own || settings.unit;
    checkUnit(values.get(column), unit, place);
    return { name: LEADS[place], unit, values: values.get(column), differs: false };
  });
  return { rate, signals };
}
