// What the page says, in its two languages, and how it writes numbers and times.
import { ENGLISH } from "./english.js";
import { GERMAN } from "./german.js";

export const TEXTS = { en: ENGLISH, de: GERMAN };
const DAYS_PER_YEAR = 365.25;

let current = "en";
const bound = new Set();

export const language = () => current;

/** Call something now and after each change of language, for as long as its element is on the page. */
export function bind(element, write) {
  bound.add({ element, write });
  write();
}

export function setLanguage(next) {
  current = next;
  document.documentElement.lang = next;
  for (const one of bound) {
    if (one.element.isConnected) one.write();
    else bound.delete(one);
  }
}

/** A text of the page with what goes between its braces. */
export function t(key, values = {}) {
  const text = TEXTS[current][key] ?? ENGLISH[key] ?? key;
  return text.replace(/\{(\w+)\}/g, (whole, name) => (name in values ? String(values[name]) : whole));
}

/** A text of the schema: {en, de}, or empty. */
export const local = (texts) => texts?.[current] ?? texts?.en ?? "";

/** What a user calls an input. */
export const nameOf = (input) => local(input.label) || input.name;

/** A unit as people write it: the few that are words have one in each language. */
export function unitWord(label) {
  const key = `unit.${label}`;
  return key in ENGLISH ? t(key) : label;
}

/** A number with at most so many digits that count. */
export function number(value, digits = 4) {
  const size = Math.abs(value);
  const large = size >= 10 ** digits;
  return new Intl.NumberFormat(current, large ? { maximumFractionDigits: 0, useGrouping: size >= 10000 }
    : { maximumSignificantDigits: digits, useGrouping: false }).format(value);
}

/** A number with its unit. */
export const withUnit = (value, unit) => `${number(value, 6)} ${unitWord(unit.label)}`.trimEnd();

/** A range in words, as a unit has it; null for a side without end. */
export function rangeWords([low, high], unit, digits = 4) {
  const turn = (value) => (value === null ? null : number((value - unit.offset) / unit.factor, digits));
  const key = low === null ? (high === null ? "all" : "upTo") : high === null ? "from" : "between";
  // A unit stands once, behind the number that it ends with.
  const label = unit.label && key !== "all" ? ` ${unitWord(unit.label)}` : "";
  const ends = { low: turn(low) + (key === "from" ? label : ""), high: turn(high) + label };
  return t(`range.${key}`, ends);
}

/** What is said of an unusual value of an input or a column: the words of the command line and the server. */
export const unusualWords = (value, unit, of) => t("warning.unusual", {
  value: withUnit(value, unit), share: number(100 * of.usual_share, 2), range: rangeWords(of.usual, unit),
});

const percentage = (value, digits) => new Intl.NumberFormat(current, {
  style: "percent", minimumFractionDigits: digits, maximumFractionDigits: digits,
}).format(value);

/** A risk in percent; the smallest and the largest are not rounded to never and always. */
export function percent(risk) {
  if (risk > 0 && risk < 0.001) return `< ${percentage(0.001, 1)}`;
  if (risk < 1 && risk > 0.999) return `> ${percentage(0.999, 1)}`;
  return percentage(risk, 1);
}

/** A difference of risks in points of percent. */
export function points(change) {
  const size = Math.abs(change) * 100;
  const sign = size < 0.05 ? "±" : change > 0 ? "+" : "−";
  const format = { minimumFractionDigits: 1, maximumFractionDigits: 1 };
  return sign + new Intl.NumberFormat(current, format).format(size);
}

function inWords(days, form) {
  const years = days / DAYS_PER_YEAR;
  if (Math.abs(years - Math.round(years)) < 0.005 && years > 0.9) {
    return t(`${form}.${Math.round(years) === 1 ? "year" : "years"}`, { n: Math.round(years) });
  }
  return t(`${form}.${days === 1 ? "day" : "days"}`, { n: number(days) });
}

/** A time in years where it is a round number of them, for a sentence: "within 3 years". */
export const duration = (days) => inWords(days, "time");

/** The same on its own: German has another word for it. */
export const span = (days) => inWords(days, "span");

/** The message of an error: a `Refusal` in the user's words, anything else as a fault of the page. */
export function message(error, label = (name) => name) {
  if (!error.key) return t("fault", { detail: String(error.message ?? error) });
  const { input } = error.values;
  return t(error.key, input === undefined ? error.values : { ...error.values, input: label(input) });
}
