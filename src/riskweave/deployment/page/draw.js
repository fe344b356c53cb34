// What is drawn: the ECG on its grid, the curve of the risk, and a hundred people.
import { h, s } from "./dom.js";
import { LEADS } from "./leads.js";
import { local, percent, span, t } from "./texts.js";

// Millimetres of ECG paper: 25 a second, 10 a millivolt.
const SPEED = 25;
const GAIN = 10;
const STRIP_SECONDS = 2.5;

function grid(width, height) {
  const lines = (step) => {
    let path = "";
    for (let x = 0; x <= width; x += step) path += `M${x} 0V${height}`;
    for (let y = 0; y <= height; y += step) path += `M0 ${y}H${width}`;
    return path;
  };
  return [s("path", { class: "small", d: lines(1) }), s("path", { class: "large", d: lines(5) })];
}

// A path through the samples, at most one lowest and one highest point for each fifth of a millimetre.
function tracePath(lead, rate, from, seconds, middle) {
  const [first, end] = [Math.round(from * rate), Math.min(lead.length, Math.round((from + seconds) * rate))];
  const step = Math.max(1, Math.floor(rate / SPEED / 10));
  let path = "";
  let pen = "M";
  for (let i = first; i < end; i += step) {
    const part = lead.subarray(i, Math.min(i + step, end)).filter(Number.isFinite);
    if (!part.length) {
      pen = "M";
      continue;
    }
    const x = ((i - first) / rate) * SPEED;
    for (const value of step > 1 ? [Math.min(...part), Math.max(...part)] : part) {
      path += `${pen}${x.toFixed(2)} ${(middle - value * GAIN).toFixed(2)}`;
      pen = "L";
    }
  }
  return path;
}

function strip(data, place, from, seconds, [low, high]) {
  const [width, height] = [seconds * SPEED, (high - low) * GAIN];
  const name = LEADS[place];
  const path = tracePath(data.leads[place], data.rate, from, seconds, high * GAIN);
  return s("svg", { class: "strip", viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": t("ecg.lead", { lead: name }) },
    grid(width, height), s("path", { class: "trace", d: path }), s("text", { x: 1.5, y: 4.5 }, name));
}

// Of all leads one range, in whole half millivolts, so that heights can be compared.
function range(data) {
  let [low, high] = [-1, 1];
  for (const lead of data.leads) {
    const known = lead.filter(Number.isFinite).sort();
    if (!known.length) continue;
    low = Math.min(low, known[Math.floor(0.001 * known.length)]);
    high = Math.max(high, known[Math.ceil(0.999 * known.length) - 1]);
  }
  return [Math.max(Math.floor(2 * low) / 2, -4), Math.min(Math.ceil(2 * high) / 2, 4)];
}

/** Twelve leads of 2.5 s each, and a long strip of lead II (or the first there is). */
export function traces(data) {
  const bounds = range(data);
  const rhythm = data.present.includes("II") ? "II" : data.present[0];
  const long = Math.min(10, Math.max(STRIP_SECONDS, data.samples / data.rate));
  return h("figure", { class: "ecg-paper" },
    h("div", { class: "leads" }, LEADS.map((_, place) => strip(data, place, 0, STRIP_SECONDS, bounds))),
    h("div", { class: "long" }, strip(data, LEADS.indexOf(rhythm), 0, long, bounds)),
    h("figcaption", {}, () => t("ecg.scale")));
}

const CURVE = { width: 400, height: 250, left: 46, right: 12, top: 26, bottom: 40 };

// The smallest round number that is not below the value.
function roundUp(value) {
  const size = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 5, 10].map((step) => step * size).find((one) => one >= value * 0.999999);
}

function timeTicks(longest) {
  const years = longest / 365.25;
  const unit = years >= 2 ? 365.25 : 1;
  const step = Math.max(roundUp(longest / unit / 6), unit === 1 ? 1 : 0.5);
  const ticks = [];
  for (let at = 0; at * unit <= longest * 1.001; at += step) ticks.push([at * unit, at]);
  return { ticks, inYears: unit !== 1 };
}

/** The curve of each cause over time, with the horizons marked. `causes`: of the schema. */
export function curve(result, causes, horizons, locale) {
  const { width, height, left, right, top, bottom } = CURVE;
  const { days, risks } = result.curve;
  const longest = days.at(-1);
  const most = Math.max(0.0004, ...causes.flatMap(({ name }) => risks[name]));
  const step = roundUp(most / 5);
  const steps = Math.ceil(most / step - 1e-9);
  const highest = step * steps;
  const x = (day) => left + (day / longest) * (width - left - right);
  const y = (risk) => height - bottom - (risk / highest) * (height - top - bottom);
  const digits = step >= 0.01 ? 0 : step >= 0.001 ? 1 : 2;
  const written = new Intl.NumberFormat(locale, { style: "percent", minimumFractionDigits: digits, maximumFractionDigits: digits });
  const plain = new Intl.NumberFormat(locale, { maximumFractionDigits: 1 });
  const { ticks, inYears } = timeTicks(longest);
  const label = causes.map(({ name, label: text }) => `${local(text)}: ${horizons.map((one) => `${percent(risks[name][days.indexOf(one)])} (${span(one)})`).join(", ")}`);
  const drawing = s("svg", { class: "curve", viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": `${t("result.curve")}. ${label.join(". ")}` });
  for (let i = 0; i <= steps; i++) {
    const risk = step * i;
    drawing.append(s("path", { class: "guide", d: `M${left} ${y(risk)}H${width - right}` }),
      s("text", { class: "tick-y", x: left - 7, y: y(risk) + 4 }, written.format(risk)));
  }
  ticks.forEach(([day, shown]) => drawing.append(s("text", { class: "tick-x", x: x(day), y: height - bottom + 17 }, plain.format(shown))));
  drawing.append(s("text", { class: "axis", x: (left + width - right) / 2, y: height - 4 }, t(inYears ? "time.axisYears" : "time.axisDays")));
  for (const day of horizons) {
    drawing.append(s("path", { class: "horizon", d: `M${x(day)} ${top - 4}V${height - bottom}` }),
      s("text", { class: day > 0.8 * longest ? "mark end" : "mark", x: x(day) + (day > 0.8 * longest ? 4 : 0), y: top - 10 }, span(day)));
  }
  causes.forEach(({ name }, place) => {
    const points = days.map((day, i) => `L${x(day).toFixed(1)} ${y(risks[name][i]).toFixed(1)}`).join("");
    drawing.append(s("path", { class: `line cause${Math.min(place, 2)}`, d: `M${x(0)} ${y(0)}${points}` }));
    for (const day of horizons) {
      drawing.append(s("circle", { class: `dot cause${Math.min(place, 2)}`, cx: x(day), cy: y(risks[name][days.indexOf(day)]), r: 4 }));
    }
  });
  return drawing;
}

/** A sample of each line, for the legend. */
export const sampleLine = (place) => s("svg", { class: "key", viewBox: "0 0 28 10", "aria-hidden": "true" },
  s("path", { class: `line cause${Math.min(place, 2)}`, d: "M1 5H27" }));

const HEAD = "M5 0.6a2 2 0 1 1 0 4a2 2 0 1 1 0-4z";
const BODY = "M1.6 11.4v-3.1c0-2 1.2-3 3.4-3s3.4 1 3.4 3v3.1z";

/** One person: the first kind is full, the second striped, those without an event are an outline. */
function person(kind, x, y) {
  const figure = s("g", { class: `person ${kind}`, transform: `translate(${x} ${y})` }, s("path", { d: HEAD }), s("path", { d: BODY }));
  if (kind === "cause1") figure.append(s("path", { class: "stripe", d: "M2 10.6L7.6 6.4M2 7.9L4.6 5.9M4.4 11.4L8.4 8.6" }));
  if (kind === "cause2") figure.append(s("path", { class: "stripe", d: "M5 5.6V11.2M2 8.4H8" }));
  return figure;
}

/** A sample of each person, for the legend. */
export const samplePerson = (kind) => s("svg", { class: "key person-key", viewBox: "0 0 10 12", "aria-hidden": "true" }, person(kind, 0, 0));

/** How many of 100 have each cause: rounded so that together they are not over 100. */
export function outOf100(risks) {
  let left = 100;
  return risks.map((risk) => {
    const count = Math.min(Math.round(100 * risk), left);
    left -= count;
    return count;
  });
}

/** A hundred people, of whom `counts[k]` have cause k. */
export function icons(counts, label) {
  const drawing = s("svg", { class: "icons", viewBox: "0 0 126 136", role: "img", "aria-label": label });
  const kinds = counts.flatMap((count, place) => Array(count).fill(`cause${Math.min(place, 2)}`));
  for (let i = 0; i < 100; i++) {
    drawing.append(person(kinds[i] ?? "none", 1 + (i % 10) * 12.6, 1 + Math.floor(i / 10) * 13.6));
  }
  return drawing;
}
