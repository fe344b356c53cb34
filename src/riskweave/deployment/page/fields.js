// One control for each input of the schema. A field shows its own messages and says what a patient.json would hold.
import { h, newId, say } from "./dom.js";
import { duration, language, local, nameOf, number, rangeWords, t, unitWord, unusualWords, withUnit } from "./texts.js";
import { owner, STATUS, unitPlace } from "./wasm.js";

/** Read what a user wrote as a number: {value}, {} where it is empty, or {problem}. */
export function parseNumber(text) {
  const plain = text.trim().replace(/^[\u2212\u2013]/, "-");
  if (plain === "") return {};
  const ambiguous = language() === "en" && /^-?\d{1,3},\d{3}$/.exec(plain);
  if (ambiguous) {
    const [one, other] = [plain.replace(",", ""), plain.replace(",", ".")];
    return { problem: t("number.separator", { one, other }) };
  }
  const value = Number(plain.replace(",", "."));
  const good = Number.isFinite(value) && /^[-+.,\deE]+$/.test(plain);
  return good ? { value } : { problem: t("number.text") };
}

// Milliseconds that a click takes, generously.
const SETTLE = 300;

const bounded = (range) => (range ?? []).some((bound) => bound !== null);

/** What the module says to a value: {problem} or {warning} or neither. */
export function judge(model, input, value, place) {
  const status = model.check(input.name, value, place);
  const unit = input.units[place];
  if (status === STATUS.impossible) {
    return { problem: t("status.2", { value: withUnit(value, unit), range: rangeWords(input.limits, unit) }) };
  }
  if (status === STATUS.unusual) return { warning: t("warning.unit", { said: unusualWords(value, unit, input) }) };
  return status === STATUS.ok ? {} : { problem: t(`status.${status}`, { input: nameOf(input), unit: "", units: "" }) };
}

/** A choice of units; a plain word where there is only one. */
export function unitPicker(input, label, changed) {
  if (input.units.length < 2) {
    const word = h("span", { class: "unit" }, () => unitWord(input.units[0]?.label ?? ""));
    return { element: word, place: () => 0, choose: () => {} };
  }
  const element = h("select", { class: "unit", "aria-label": label, onchange: changed },
    input.units.map((unit, place) => h("option", { value: place }, () => unitWord(unit.label))));
  return { element, place: () => Number(element.value), choose: (place) => { element.value = place; } };
}

const asGiven = (input, value, place) => (
  input.units[place]?.label ? { value, unit: input.units[place].label } : { value });

/** What fields have in common: a frame with a label, a hint and a place for messages. */
export class Field {
  constructor(input, model, kind) {
    this.input = input;
    this.model = model;
    this.id = newId("input");
    this.note = h("p", { id: `${this.id}-note`, class: "message", hidden: true });
    this.element = h("div", { class: `field ${kind}` });
    this.problem = null;
    this.timer = null;
  }

  /**
   * Check soon. At once, a message would push away the control that the user is about to click: leaving a field comes
   * before the click, which then meets another place.
   */
  later() {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.check(), SETTLE);
  }

  title(tag = "label") {
    const { input, id } = this;
    const code = nameOf(input) === input.name ? "" : input.name;
    return h(tag, tag === "label" ? { for: id, title: code } : { id: `${id}-title`, title: code }, () => nameOf(input),
      input.required && [" ", h("span", { class: "required" }, () => t("form.required"))]);
  }

  name() {
    return nameOf(this.input);
  }

  hint(text) {
    return h("p", { class: "hint", id: `${this.id}-hint` }, text);
  }

  usual(place) {
    const { usual, units } = this.input;
    return bounded(usual) ? t("form.usual", { range: rangeWords(usual, units[place()], 3) }) : "";
  }

  /** What the study says of the input, and how far back the model looks. */
  describe() {
    const { description, window } = this.input;
    const said = local(description);
    const parts = [said === nameOf(this.input) ? "" : said];
    if (window) parts.push(t("form.window", { time: duration(window) }));
    return parts.filter(Boolean).join("; ");
  }

  show({ problem = null, warning = null }, control) {
    clearTimeout(this.timer);
    this.problem = problem;
    say(this.note, problem ? "error" : "warning", problem ?? warning);
    if (problem) control?.setAttribute("aria-invalid", "true");
    else control?.removeAttribute("aria-invalid");
    return !problem;
  }

  /** The events of a patient that are entered here. */
  eventsOf({ events }) {
    return (events ?? []).filter(({ code }) => owner(this.model.schema.inputs, code) === this.input);
  }

  matches(words) {
    const { name, label, description } = this.input;
    const text = [name, ...Object.values(label ?? {}), ...Object.values(description ?? {})].join(" ").toLowerCase();
    return words.every((word) => text.includes(word));
  }
}

export class NumberField extends Field {
  constructor(input, model) {
    super(input, model, "number");
    this.control = h("input", {
      id: this.id, type: "text", inputmode: "decimal", autocomplete: "off", "aria-required": input.required && "true",
      "aria-describedby": `${this.id}-hint ${this.id}-note`, onchange: () => this.later(),
    });
    this.unit = unitPicker(input, () => t("form.unit", { input: nameOf(input) }), () => {
      this.usualHint.textContent = this.usual(this.unit.place);
      this.check();
    });
    this.usualHint = h("span", {}, () => this.usual(this.unit.place));
    this.element.append(this.title(), h("div", { class: "entry" }, this.control, this.unit.element),
      this.hint([this.usualHint, () => this.describe()]), this.note);
  }

  parse() {
    const parsed = parseNumber(this.control.value);
    if (parsed.value === undefined) return parsed;
    return { ...parsed, ...judge(this.model, this.input, parsed.value, this.unit.place()) };
  }

  check(whole = false) {
    const parsed = this.parse();
    const missing = whole && this.input.required && parsed.value === undefined && !parsed.problem;
    return this.show(missing ? { problem: t("number.missing") } : parsed, this.control);
  }

  read(patient) {
    const { value } = this.parse();
    if (value !== undefined) patient.values[this.input.name] = asGiven(this.input, value, this.unit.place());
  }

  load({ values }) {
    const given = values?.[this.input.name];
    const value = typeof given === "object" ? given?.value : given;
    this.control.value = value === undefined || value === null ? "" : String(value);
    this.unit.choose(unitPlace(this.input, given?.unit));
    this.check();
  }

  focus() {
    this.control.focus();
  }
}

export class CategoryField extends Field {
  constructor(input, model) {
    super(input, model, "category");
    this.control = h("select", {
      id: this.id, "aria-required": input.required && "true", "aria-describedby": `${this.id}-hint ${this.id}-note`,
      onchange: () => this.check(),
    }, h("option", { value: "" }, () => t(input.required ? "form.chooseRequired" : "form.choose")),
    input.categories.map((one) => h("option", { value: one.name }, () => nameOf(one))));
    this.element.append(this.title(), h("div", { class: "entry" }, this.control), this.hint(() => this.describe()),
      this.note);
  }

  check(whole = false) {
    const missing = whole && this.input.required && this.control.value === "";
    return this.show(missing ? { problem: t("number.missing") } : {}, this.control);
  }

  read(patient) {
    if (this.control.value !== "") patient.values[this.input.name] = this.control.value;
  }

  load({ values }) {
    const given = values?.[this.input.name];
    this.control.value = (typeof given === "object" ? given?.value : given) ?? "";
    if (this.control.selectedIndex < 0) this.control.value = "";
    this.check();
  }

  focus() {
    this.control.focus();
  }
}

/** The code under which an input's own events are written down. */
export const codeOf = (input) => input.codes[0].replace(/\$$/, "");

/** What is said where events of so many days before are none that the model looks at; null where it looks at all. */
export function lateWords({ window }, days) {
  const n = window === null || window === undefined ? 0 : days.filter((one) => one !== null && one >= window).length;
  return n ? t(n === 1 ? "warning.late" : "warning.lates", { n, days: number(window) }) : null;
}

/** The days within which an event has to be dated to count at all; null where any will do, or one is given. */
export function undated(input, days) {
  return days === null && input.window !== null && input.window !== undefined ? input.window : null;
}
