// The ECG as it is drawn on paper.
import { h, s } from "./dom.js";
import { LEADS } from "./leads.js";
import { t } from "./texts.js";

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
  const named = { role: "img", "aria-label": t("ecg.lead", { lead: name }) };
  return s("svg", { class: "strip", viewBox: `0 0 ${width} ${height}`, ...named },
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
