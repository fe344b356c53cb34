// The result as people read it.
import { causeClass, curve, sampleLine } from "./curve.js";
import { h, newId, s } from "./dom.js";
import { icons, outOf100, samplePerson } from "./people.js";
import { duration, local, nameOf, number, percent, points, span, t, unitWord } from "./texts.js";

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

// Building blocks.
const part = (key, ...children) => h("section", {}, h("h3", {}, t(key)), children);
const folded = (summary, ...children) => h("details", {}, h("summary", {}, summary), children);
const hint = (text) => h("p", { class: "hint" }, text);
const plainList = (texts) => h("ul", { class: "plain" }, texts.map((text) => h("li", {}, text)));

// A table: titles of its columns, and rows whose first cell names them. `marked(i)` says which stand out.
function table(titles, rows, marked = () => false) {
  const head = h("tr", {}, titles.map((title) => h("th", { scope: "col" }, title)));
  const body = rows.map(([name, ...cells], i) => h("tr", { class: marked(i) && "marked" },
    h("th", { scope: "row" }, name), cells.map((cell) => h("td", {}, cell))));
  return h("div", { class: "scroll" }, h("table", {}, h("thead", {}, head), h("tbody", {}, body)));
}

function headline(schema, result) {
  const [target] = schema.causes;
  const numbers = schema.horizons.map((days) => h("li", {},
    h("strong", {}, percent(riskOf(result, target.name, days))),
    h("span", {}, t("result.within", { time: duration(days) }))));
  return h("div", { class: "headline" },
    h("p", { class: "target" }, t("result.of", { target: local(schema.target) })),
    h("ul", { class: "numbers" }, numbers));
}

function sentencesOf(schema, counts, days) {
  const [first, ...others] = counts;
  const facts = { n: first, time: duration(days), target: local(schema.target) };
  const competing = others.map((n, place) => (
    t("result.competing", { n, cause: local(schema.causes[place + 1].label) })));
  return [t(first ? "result.of100" : "result.less1", facts), ...competing].join(" ");
}

function iconPart(schema, result, days) {
  const counts = outOf100(schema.causes.map(({ name }) => riskOf(result, name, days)));
  const text = sentencesOf(schema, counts, days);
  const none = 100 - counts.reduce((sum, count) => sum + count, 0);
  const kinds = schema.causes.map(({ label }, place) => [causeClass(place), counts[place], local(label)]);
  const legend = [...kinds, ["none", none, t("result.none")]].map(([kind, count, words]) => (
    h("li", {}, samplePerson(kind), `${count}: ${words}`)));
  return h("div", { class: "hundred" }, icons(counts, text),
    h("div", {}, h("p", {}, text), h("ul", { class: "legend" }, legend)));
}

function hundred(schema, result) {
  const { horizons } = schema;
  const place = h("div", {});
  const show = (days) => place.replaceChildren(iconPart(schema, result, days));
  const name = newId("horizon");
  const choice = (days) => h("label", {}, h("input", {
    type: "radio", name, checked: days === horizons.at(-1), onchange: () => show(days),
  }), span(days));
  show(horizons.at(-1));
  return part("result.icons", horizons.length > 1 && h("fieldset", { class: "choices" },
    h("legend", {}, t("result.horizon")), horizons.map(choice)), place);
}

function curvePart(schema, result) {
  const { causes, horizons } = schema;
  const { days, risks } = result.curve;
  const legend = causes.map(({ label }, place) => h("span", {}, sampleLine(place), local(label)));
  const rows = days.map((day, place) => [number(day), ...causes.map(({ name }) => percent(risks[name][place]))]);
  const titles = [t("result.daysHead"), ...causes.map(({ label }) => local(label))];
  return part("result.curve",
    h("figure", {}, curve(result, causes, horizons), h("figcaption", { class: "legend" }, legend)),
    folded(t("result.curveTable"), table(titles, rows, (i) => horizons.includes(days[i]))));
}

function bar(change, largest) {
  const width = (Math.abs(change) / largest) * 50;
  const x = change < 0 ? 50 - width : 50;
  return s("svg", { class: "change", viewBox: "0 0 100 10", preserveAspectRatio: "none", "aria-hidden": "true" },
    s("rect", { class: change < 0 ? "lower" : "higher", x, y: 1.5, width, height: 7 }),
    s("path", { class: "zero", d: "M50 0V10" }));
}

function contributionPart(schema, { contributions }) {
  if (!contributions.length) return part("result.contributions", hint(t("result.noContributions")));
  const sorted = [...contributions].sort((a, b) => Math.abs(b.change) - Math.abs(a.change));
  const largest = Math.abs(sorted[0].change) || 1;
  const rows = sorted.map(({ input, change }) => h("tr", {}, h("th", { scope: "row" }, wordsFor(schema, input)),
    h("td", { class: "bars" }, bar(change, largest)),
    h("td", { class: "number" }, t("result.points", { n: points(change) }))));
  const listed = (some) => h("table", { class: "contributions" }, h("tbody", {}, some));
  const further = rows.slice(SHOWN);
  return part("result.contributions",
    hint(t("result.contributionsNote", { time: duration(schema.horizons.at(-1)) })),
    listed(rows.slice(0, SHOWN)),
    further.length > 0 && folded(t("result.further", { n: further.length }), listed(further)));
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
  if (!words.length) return hint(t("result.complete"));
  const list = plainList(words);
  const many = words.length > 2 * SHOWN;
  return part("result.imputed", hint(t("result.imputedNote")),
    many ? folded(t("result.further", { n: words.length }), list) : list);
}

function warningPart(schema, { warnings, absent }) {
  const list = absent.map((name) => wordsFor(schema, name)).join(", ");
  const texts = [...(list ? [t("result.absentNote", { list })] : []),
    ...warnings.map(({ input, message }) => `${wordsFor(schema, input)}: ${message}`)];
  return texts.length > 0 && h("section", { class: "mind" }, h("h3", {}, t("result.warnings")),
    h("ul", {}, texts.map((text) => h("li", {}, text))));
}

function columnPart(schema, columns) {
  const rows = schema.columns.flatMap((column, place) => {
    if (column.input !== null && schema.inputs[column.input].kind === "category") return [];
    const value = columns[place];
    const shown = Number.isNaN(value) ? t("result.unknown") : `${number(value)} ${unitWord(column.unit)}`.trim();
    return [[columnWords(schema, column), shown]];
  });
  return folded(t("about.columns"), table([t("result.columnName"), t("result.columnValue")], rows));
}

function madePart(schema, members) {
  if (members.length < 2) return hint(t("result.made.refit"));
  const facts = { n: members.length, low: percent(Math.min(...members)), high: percent(Math.max(...members)),
    time: duration(schema.horizons.at(-1)) };
  return hint(`${t("result.made.ensemble", facts)} ${t("result.spread", facts)}`);
}

// A value as it was entered: no digit that a double holds is dropped.
const written = ({ value, unit }) => (
  value === undefined ? "" : `: ${number(value, 15)} ${unitWord(unit ?? "")}`.trimEnd());

function enteredWords(input, patient) {
  const given = patient.values[input.name];
  if (input.kind === "category" && given !== undefined) {
    return [`${nameOf(input)}: ${nameOf(input.categories.find(({ name }) => name === given))}`];
  }
  if (given !== undefined) return [nameOf(input) + written(given)];
  return patient.events.filter((event) => event.of === input.name).map((event) => {
    const days = event.days_before;
    const when = days === null ? "" : ` (${t("result.daysBefore", { n: number(days) })})`;
    return nameOf(input) + written(event) + when;
  });
}

// What was entered, for whoever reads the print.
function inputPart(schema, { patient, recordings, moment }) {
  const date = moment.dateBefore(0);
  const texts = date ? [`${t("form.moment")}: ${date}`] : [];
  for (const input of schema.inputs) texts.push(...enteredWords(input, patient));
  for (const kind of ["ecg", "image"]) if (recordings[kind]) texts.push(t(`modality.${kind}`));
  return h("section", { class: "entered" }, h("h3", {}, t("form.title")), plainList(texts));
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
    hint(t("research.note")));
}
