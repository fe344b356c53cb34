// The result as people read it.
import { curve, icons, outOf100, sampleLine, samplePerson } from "./draw.js";
import { h, newId, s } from "./dom.js";
import { duration, language, local, nameOf, number, percent, points, span, t, unitWord } from "./texts.js";

// Further contributions fold away.
const SHOWN = 10;

/** The words for an input, a column or a modality. */
export function wordsFor(schema, name) {
  const input = schema.inputs.find((one) => one.name === name);
  if (input) return nameOf(input);
  const column = schema.columns.find((one) => one.name === name);
  if (column) return columnWords(schema, column);
  return schema.modalities.includes(name) ? t(`modality.${name}`) : name;
}

function columnWords(schema, column) {
  const input = column.input === null ? null : schema.inputs[column.input];
  if (!input) return column.description || column.name;
  if (column.made === "static") return nameOf(input);
  const [, days] = /@(\d+)d$/.exec(column.name) ?? [];
  const window = days ? `, ${t("result.window", { time: duration(Number(days)) })}` : "";
  return `${nameOf(input)}: ${t(`made.${column.made}`)}${window}`;
}

const riskOf = (result, cause, days) => (
  result.risks.find((one) => one.cause === cause && one.horizon_days === days).risk);

function headline(schema, result) {
  const [target] = schema.causes;
  return h("div", { class: "headline" }, h("p", { class: "target" }, t("result.of", { target: local(schema.target) })),
    h("ul", { class: "numbers" }, schema.horizons.map((days) => h("li", {},
      h("strong", {}, percent(riskOf(result, target.name, days))), h("span", {}, t("result.within", { time: duration(days) }))))));
}

function iconPart(schema, result, days) {
  const counts = outOf100(schema.causes.map(({ name }) => riskOf(result, name, days)));
  const facts = { n: counts[0], time: duration(days), target: local(schema.target) };
  const sentences = [t(counts[0] ? "result.of100" : "result.less1", facts),
    ...schema.causes.slice(1).map(({ label }, place) => t("result.competing", { n: counts[place + 1], cause: local(label) }))];
  const none = 100 - counts.reduce((sum, count) => sum + count, 0);
  const legend = [...schema.causes.map(({ label }, place) => [`cause${Math.min(place, 2)}`, local(label), counts[place]]),
    ["none", t("result.none"), none]];
  return h("div", { class: "hundred" }, icons(counts, sentences.join(" ")),
    h("div", {}, h("p", {}, sentences.join(" ")),
      h("ul", { class: "legend" }, legend.map(([kind, text, count]) => h("li", {}, samplePerson(kind), `${count}: ${text}`)))));
}

function hundred(schema, result) {
  const place = h("div", {});
  const show = (days) => place.replaceChildren(iconPart(schema, result, days));
  const group = newId("horizon");
  show(schema.horizons.at(-1));
  const choices = schema.horizons.map((days) => h("label", {}, h("input", {
    type: "radio", name: group, checked: days === schema.horizons.at(-1), onchange: () => show(days),
  }), span(days)));
  return h("section", {}, h("h3", {}, t("result.icons")),
    schema.horizons.length > 1 && h("fieldset", { class: "choices" }, h("legend", {}, t("result.horizon")), choices), place);
}

function curveTable(schema, result) {
  const { days, risks } = result.curve;
  const head = [t("result.daysHead"), ...schema.causes.map(({ label }) => local(label))];
  return h("details", {}, h("summary", {}, t("result.curveTable")), h("div", { class: "scroll" }, h("table", {},
    h("thead", {}, h("tr", {}, head.map((title) => h("th", { scope: "col" }, title)))),
    h("tbody", {}, days.map((day, place) => h("tr", { class: schema.horizons.includes(day) && "marked" },
      h("th", { scope: "row" }, number(day)), schema.causes.map(({ name }) => h("td", {}, percent(risks[name][place])))))))));
}

function curvePart(schema, result) {
  return h("section", {}, h("h3", {}, t("result.curve")), h("figure", {}, curve(result, schema.causes, schema.horizons, language()),
    h("figcaption", { class: "legend" }, schema.causes.map(({ label }, place) => h("span", {}, sampleLine(place), local(label))))),
  curveTable(schema, result));
}

function bar(change, largest) {
  const width = (Math.abs(change) / largest) * 50;
  const kind = change < 0 ? "lower" : "higher";
  return s("svg", { class: "change", viewBox: "0 0 100 10", preserveAspectRatio: "none", "aria-hidden": "true" },
    s("rect", { class: kind, x: change < 0 ? 50 - width : 50, y: 1.5, width, height: 7 }), s("path", { class: "zero", d: "M50 0V10" }));
}

function contributionPart(schema, { contributions }) {
  const sorted = [...contributions].sort((a, b) => Math.abs(b.change) - Math.abs(a.change));
  const largest = Math.max(1e-12, ...sorted.map(({ change }) => Math.abs(change)));
  const row = ({ input, change }) => h("tr", {}, h("th", { scope: "row" }, wordsFor(schema, input)),
    h("td", { class: "bars" }, bar(change, largest)), h("td", { class: "number" }, t("result.points", { n: points(change) })));
  const table = (some) => h("table", { class: "contributions" }, h("tbody", {}, some.map(row)));
  const facts = { time: duration(schema.horizons.at(-1)) };
  return h("section", {}, h("h3", {}, t("result.contributions")),
    h("p", { class: "hint" }, sorted.length ? t("result.contributionsNote", facts) : t("result.noContributions")),
    sorted.length > 0 && table(sorted.slice(0, SHOWN)),
    sorted.length > SHOWN && h("details", {}, h("summary", {}, t("result.further", { n: sorted.length - SHOWN })), table(sorted.slice(SHOWN))));
}

// An input is named once where nothing of it is known; else what of it is unknown.
function imputedWords(schema, imputed) {
  const words = imputed.flatMap((name) => {
    const column = schema.columns.find((one) => one.name === name);
    const input = column.input === null ? null : schema.inputs[column.input];
    if (!input) return [columnWords(schema, column)];
    // That an event is not known to have happened is no gap.
    if (input.kind === "events" && !input.values) return [];
    const all = schema.columns.filter((one) => one.input === column.input && !["count", "ever"].includes(one.made));
    return [all.every((one) => imputed.includes(one.name)) ? nameOf(input) : columnWords(schema, column)];
  });
  return [...new Set(words)];
}

function imputedPart(schema, result) {
  const words = imputedWords(schema, result.imputed);
  if (!words.length) return h("p", { class: "hint" }, t("result.complete"));
  const list = h("ul", { class: "plain" }, words.map((one) => h("li", {}, one)));
  return h("section", {}, h("h3", {}, t("result.imputed")), h("p", { class: "hint" }, t("result.imputedNote")),
    words.length > 2 * SHOWN ? h("details", {}, h("summary", {}, t("result.further", { n: words.length })), list) : list);
}

function warningPart(schema, { warnings, absent }) {
  const parts = [];
  if (absent.length) {
    parts.push(h("li", {}, t("result.absentNote", { list: absent.map((name) => wordsFor(schema, name)).join(", ") })));
  }
  for (const { input, message } of warnings) parts.push(h("li", {}, `${wordsFor(schema, input)}: ${message}`));
  return parts.length > 0 && h("section", { class: "mind" }, h("h3", {}, t("result.warnings")), h("ul", {}, parts));
}

function columnPart(schema, columns) {
  const value = (place, { unit }) => (
    Number.isNaN(columns[place]) ? t("result.unknown") : `${number(columns[place])} ${unitWord(unit)}`.trim());
  const categories = ({ input }) => input !== null && schema.inputs[input].kind === "category";
  const rows = schema.columns.map((column, place) => [column, place]).filter(([column]) => !categories(column));
  return h("details", {}, h("summary", {}, t("about.columns")), h("div", { class: "scroll" }, h("table", {},
    h("thead", {}, h("tr", {}, h("th", { scope: "col" }, t("result.columnName")), h("th", { scope: "col" }, t("result.columnValue")))),
    h("tbody", {}, rows.map(([column, place]) => h("tr", {},
      h("th", { scope: "row" }, columnWords(schema, column)), h("td", {}, value(place, column))))))));
}

function madePart(schema, members) {
  if (members.length < 2) return h("p", { class: "hint" }, t("result.made.refit"));
  const facts = { n: members.length, low: percent(Math.min(...members)), high: percent(Math.max(...members)),
    time: duration(schema.horizons.at(-1)) };
  return h("p", { class: "hint" }, `${t("result.made.ensemble", facts)} ${t("result.spread", facts)}`);
}

// As it was entered: no digit is dropped.
const written = (value) => number(value, 17);

// What was entered, for whoever reads the print.
function inputPart(schema, { patient, recordings, moment }) {
  const when = (days) => (days === null ? "" : ` (${t("result.daysBefore", { n: number(days) })})`);
  const date = moment.dateBefore(0);
  const lines = date ? [`${t("form.moment")}: ${date}`] : [];
  lines.push(...schema.inputs.flatMap((input) => {
    const given = patient.values[input.name];
    if (input.kind === "category" && given !== undefined) {
      return [`${nameOf(input)}: ${nameOf(input.categories.find(({ name }) => name === given))}`];
    }
    if (given !== undefined) return [`${nameOf(input)}: ${written(given.value)} ${unitWord(given.unit ?? "")}`.trim()];
    return patient.events.filter((event) => event.of === input.name).map((event) => (
      `${nameOf(input)}${event.value === undefined ? "" : `: ${written(event.value)} ${unitWord(event.unit ?? "")}`.trimEnd()}${when(event.days_before)}`));
  }));
  for (const kind of ["ecg", "image"]) if (recordings[kind]) lines.push(t(`modality.${kind}`));
  return h("section", { class: "entered" }, h("h3", {}, t("form.title")), h("ul", { class: "plain" }, lines.map((line) => h("li", {}, line))));
}

/** The spoken form of the result. */
export function announcement(schema, result) {
  const [target] = schema.causes;
  const list = schema.horizons.map((days) => (
    t("result.sentence", { risk: percent(riskOf(result, target.name, days)), time: duration(days) })));
  return t("result.announce", { target: local(schema.target), list: list.join(", ") });
}

/** All of the result. `given`: {patient, recordings, moment} that it was made from; `made`: from `assess`. */
export function resultView(schema, made, given) {
  const { result, columns, members } = made;
  return h("div", { class: "result" },
    headline(schema, result),
    warningPart(schema, result),
    hundred(schema, result),
    curvePart(schema, result),
    contributionPart(schema, result),
    imputedPart(schema, result),
    columnPart(schema, columns),
    madePart(schema, members),
    inputPart(schema, given),
    h("p", { class: "hint" }, t("research.note")));
}
