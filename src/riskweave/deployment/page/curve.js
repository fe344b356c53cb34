// The curve of the risk over time, with the horizons marked.
import { s } from "./dom.js";
import { language, local, percent, span, t } from "./texts.js";

const SIZE = { width: 400, height: 250, left: 46, right: 12, top: 26, bottom: 40 };
const DAYS_OF_YEAR = 365.25;

/** The class of a cause: the first three have their own colour and pattern. */
export const causeClass = (place) => `cause${Math.min(place, 2)}`;

// The smallest round number that is not below the value.
function roundUp(value) {
  const size = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 5, 10].map((step) => step * size).find((one) => one >= value * 0.999999);
}

function riskAxis(most) {
  const step = roundUp(Math.max(most, 0.0004) / 5);
  const count = Math.ceil(Math.max(most, 0.0004) / step - 1e-9);
  const digits = step >= 0.01 ? 0 : step >= 0.001 ? 1 : 2;
  const format = { style: "percent", minimumFractionDigits: digits, maximumFractionDigits: digits };
  const written = new Intl.NumberFormat(language(), format);
  const ticks = Array.from({ length: count + 1 }, (_, i) => [step * i, written.format(step * i)]);
  return { ticks, highest: step * count };
}

function timeAxis(longest) {
  const inYears = longest >= 2 * DAYS_OF_YEAR;
  const unit = inYears ? DAYS_OF_YEAR : 1;
  const step = Math.max(roundUp(longest / unit / 6), inYears ? 0.5 : 1);
  const written = new Intl.NumberFormat(language(), { maximumFractionDigits: 1 });
  const count = Math.floor((longest * 1.001) / unit / step);
  const ticks = Array.from({ length: count + 1 }, (_, i) => [step * i * unit, written.format(step * i)]);
  return { ticks, title: t(inYears ? "time.axisYears" : "time.axisDays") };
}

function axes({ x, y }, risk, time) {
  const { width, height, left, right, bottom } = SIZE;
  return [
    ...risk.ticks.flatMap(([value, text]) => [
      s("path", { class: "guide", d: `M${left} ${y(value)}H${width - right}` }),
      s("text", { class: "tick-y", x: left - 7, y: y(value) + 4 }, text),
    ]),
    ...time.ticks.map(([day, text]) => s("text", { class: "tick-x", x: x(day), y: height - bottom + 17 }, text)),
    s("text", { class: "axis", x: (left + width - right) / 2, y: height - 4 }, time.title),
  ];
}

function horizonMark({ x }, day, longest) {
  // The last one's words would hang over the edge.
  const end = day > 0.8 * longest;
  const { top, height, bottom } = SIZE;
  return [
    s("path", { class: "horizon", d: `M${x(day)} ${top - 4}V${height - bottom}` }),
    s("text", { class: end ? "mark end" : "mark", x: x(day) + (end ? 4 : 0), y: top - 10 }, span(day)),
  ];
}

function line({ x, y }, days, risks, place, horizons) {
  const points = days.map((day, i) => `L${x(day).toFixed(1)} ${y(risks[i]).toFixed(1)}`).join("");
  const dot = (day) => ({ cx: x(day), cy: y(risks[days.indexOf(day)]), r: 4 });
  return [
    s("path", { class: `line ${causeClass(place)}`, d: `M${x(0)} ${y(0)}${points}` }),
    ...horizons.map((day) => s("circle", { class: `dot ${causeClass(place)}`, ...dot(day) })),
  ];
}

/** The curve of each cause over time. `causes`, `horizons`: of the schema. */
export function curve(result, causes, horizons) {
  const { width, height, left, right, top, bottom } = SIZE;
  const { days, risks } = result.curve;
  const longest = days.at(-1);
  const risk = riskAxis(Math.max(...causes.flatMap(({ name }) => risks[name])));
  const scale = {
    x: (day) => left + (day / longest) * (width - left - right),
    y: (value) => height - bottom - (value / risk.highest) * (height - top - bottom),
  };
  const spoken = causes.map(({ name, label }) => {
    const values = horizons.map((day) => `${percent(risks[name][days.indexOf(day)])} (${span(day)})`);
    return `${local(label)}: ${values.join(", ")}`;
  });
  const named = { role: "img", "aria-label": `${t("result.curve")}. ${spoken.join(". ")}` };
  return s("svg", { class: "curve", viewBox: `0 0 ${width} ${height}`, ...named },
    axes(scale, risk, timeAxis(longest)),
    horizons.map((day) => horizonMark(scale, day, longest)),
    causes.map(({ name }, place) => line(scale, days, risks[name], place, horizons)));
}

/** A sample of each line, for the legend. */
export const sampleLine = (place) => s("svg", { class: "key", viewBox: "0 0 28 10", "aria-hidden": "true" },
  s("path", { class: `line ${causeClass(place)}`, d: "M1 5H27" }));
