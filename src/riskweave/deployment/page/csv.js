// A recording in a text table: one column a lead, one row a sample.
import { Refusal } from "./wasm.js";

const TIME = /^(?:time|t|seconds|sec|s|ms|milliseconds)$/;
const NOTHING = /^(?:|na|n\/a|nan|null|none)$/i;

function cells(line, separator) {
  return line.split(separator).map((cell) => cell.trim().replace(/^"(.*)"$/, "$1").trim());
}

// "V1 (uV)", "V1 [uV]" and "V1_uV" name a column and its unit.
function parseTitle(title) {
  const [, name, inBrackets, behind] = /^(.*?)(?:\s*[([]\s*([^)\]]*?)\s*[)\]]|_(m?s|[mun]?v))?$/i.exec(title);
  return { name, unit: inBrackets ?? behind ?? "" };
}

function rateOfTimes(times, unitsPerSecond) {
  const step = (times.at(-1) - times[0]) / (times.length - 1);
  const even = times.every((time, i) => Math.abs(time - times[0] - i * step) <= 0.51 * step);
  if (!(step > 0) || !even) throw new Refusal("csv.times");
  // Times are written with few digits: 0.002 s means 500 Hz, not 499.99.
  const rate = unitsPerSecond / step;
  return Math.abs(rate - Math.round(rate)) < 1e-3 * rate ? Math.round(rate) : rate;
}

function parseRows(lines, separator, titles) {
  const columns = titles.map(() => new Float64Array(lines.length));
  lines.forEach((line, row) => {
    const values = cells(line, separator);
    if (values.length !== titles.length) throw new Refusal("csv.ragged", { line: row + 2 });
    values.forEach((text, place) => {
      const number = separator === "," ? text : text.replace(",", ".");
      const value = NOTHING.test(text) ? NaN : Number(number);
      if (Number.isNaN(value) && !NOTHING.test(text)) {
        throw new Refusal("csv.text", { line: row + 2, column: titles[place].name });
      }
      columns[place][row] = value;
    });
  });
  return columns;
}

/**
 * Read a table of leads.
 *
 * The first line names the columns: leads ("I", "V1 (uV)"), and where there is one a column of times ("time", in
 * seconds, or "time (ms)"). Cells are separated by commas, semicolons or tabs. `settings`: {rate (Hz) or NaN, unit}
 * for what the table does not say itself. Returns {rate, signals: [{name, unit, values, differs: false}]}.
 */
export function readCsv(text, settings) {
  const lines = text.replace(/^\uFEFF/, "").split(/\r?\n/).filter((line) => line.trim());
  if (lines.length < 3) throw new Refusal("csv.empty");
  const separator = [";", "\t", ","].find((one) => lines[0].includes(one)) ?? ",";
  const titles = cells(lines[0], separator).map(parseTitle);
  const columns = parseRows(lines.slice(1), separator, titles);
  const time = titles.findIndex(({ name }) => TIME.test(name.toLowerCase()));
  let { rate } = settings;
  if (time >= 0) {
    const milliseconds = titles[time].unit.toLowerCase() === "ms" || /^m/.test(titles[time].name.toLowerCase());
    rate = rateOfTimes(columns[time], milliseconds ? 1000 : 1);
  }
  if (!(rate > 0)) throw new Refusal("csv.rate");
  const signals = titles.map(({ name, unit }, place) => ({
    name, unit: unit || settings.unit, values: columns[place], differs: false,
  }));
  return { rate, signals: signals.filter((_, place) => place !== time) };
}
