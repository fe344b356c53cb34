// An input that is measured again and again: one row for each reading, with its value, unit and time.
import { h } from "./dom.js";
import { codeOf, Field, judge, lateWords, parseNumber, undated, unitPicker } from "./fields.js";
import { duration, nameOf, t } from "./texts.js";
import { TimeField } from "./times.js";
import { unitPlace } from "./wasm.js";

class Reading {
  constructor(field) {
    const { input, moment } = field;
    this.input = input;
    this.code = codeOf(input);
    const check = () => field.later();
    const place = () => field.rows.indexOf(this) + 1 || field.rows.length + 1;
    const label = (key) => () => t(key, { input: nameOf(input), n: place() });
    this.control = h("input", { type: "text", inputmode: "decimal", autocomplete: "off", class: "value",
      "aria-label": label("form.valueOf"), "aria-describedby": `${field.id}-hint ${field.id}-note`, onchange: check });
    this.unit = unitPicker(input, label("form.unitOf"), () => {
      field.usualHint.textContent = field.usual(this.unit.place);
      check();
    });
    // Today's, unless the user says otherwise.
    this.time = new TimeField(moment, { days: label("form.daysOf"), date: label("form.dateOf") }, check, 0);
    this.remove = h("button", { type: "button", class: "quiet", "aria-label": () => t("form.removeReading"),
      title: () => t("form.removeReading"), onclick: () => field.removeRow(this) }, "×");
    this.element = h("div", { class: "reading" }, this.control, this.unit.element, this.time.element, this.remove);
  }

  write({ code, value, unit, days_before: days }) {
    this.code = code ?? codeOf(this.input);
    this.control.value = value ?? "";
    this.time.write(days ?? null);
    this.unit.choose(unitPlace(this.input, unit));
  }

  parse(field) {
    const { value, problem } = parseNumber(this.control.value);
    if (problem) return { problem, control: this.control };
    // A time without a value is a slip; a row that was only added is none.
    if (value === undefined) return this.time.untouched ? {} : { problem: t("value.needed"), control: this.control };
    const place = this.unit.place();
    const judged = judge(field.model, field.input, value, place);
    if (judged.problem) return { ...judged, control: this.control };
    const { days, problem: late } = this.time.read();
    if (late) return { problem: late, control: this.time.control };
    if (undated(field.input, days) !== null) {
      return { problem: t("date.needed", { time: duration(field.input.window) }), control: this.time.control };
    }
    return { value, place, days, warning: judged.warning };
  }
}

export class ReadingsField extends Field {
  constructor(input, model, moment) {
    super(input, model, "readings");
    this.moment = moment;
    this.rows = [];
    this.list = h("div", { class: "rows" });
    this.usualHint = h("span", {}, () => this.usual(() => this.rows[0]?.unit.place() ?? 0));
    this.element.setAttribute("role", "group");
    this.element.setAttribute("aria-labelledby", `${this.id}-title`);
    const add = h("button", { type: "button", class: "quiet add", onclick: () => this.addRow().control.focus() },
      "+ ", () => t("form.addReading"));
    this.element.append(h("div", { class: "line" }, h("div", { class: "naming" }, this.title("span"),
      this.hint([this.usualHint, () => this.describe()])), add), this.list, this.note);
    this.addRow();
  }

  addRow() {
    const row = new Reading(this);
    this.rows.push(row);
    this.list.append(row.element);
    this.tidy();
    return row;
  }

  removeRow(row) {
    row.time.forget();
    row.element.remove();
    this.rows.splice(this.rows.indexOf(row), 1);
    if (!this.rows.length) this.addRow();
    this.check();
    this.tidy();
    this.rows.at(-1).control.focus();
  }

  tidy() {
    this.list.classList.toggle("single", this.rows.length === 1);
  }

  check(whole = false) {
    let shown = {};
    const given = [];
    for (const row of this.rows) {
      const { value, days, problem, warning, control } = row.parse(this);
      if (value !== undefined) given.push(days);
      for (const one of [row.control, row.time.control]) one.removeAttribute("aria-invalid");
      if (problem) control.setAttribute("aria-invalid", "true");
      shown = { problem: shown.problem ?? problem, warning: shown.warning ?? warning };
    }
    const empty = this.rows.every((row) => row.control.value.trim() === "");
    if (whole && this.input.required && empty) {
      return this.show({ problem: t("number.missing") }, this.rows[0].control);
    }
    const warnings = [lateWords(this.input, given), shown.warning].filter(Boolean).join(". ");
    return this.show({ ...shown, warning: warnings || null });
  }

  read(patient) {
    for (const row of this.rows) {
      const { value, place, days } = row.parse(this);
      if (value === undefined) continue;
      const unit = this.input.units[place]?.label;
      patient.events.push({ code: row.code, days_before: days, value, ...(unit ? { unit } : {}) });
    }
  }

  load(patient) {
    const own = this.eventsOf(patient);
    while (this.rows.length > 1) this.removeLast();
    this.rows[0].write({ days_before: 0 });
    own.forEach((event, place) => (place ? this.addRow() : this.rows[0]).write(event));
    this.check();
    this.tidy();
  }

  removeLast() {
    const row = this.rows.pop();
    row.time.forget();
    row.element.remove();
  }

  focus() {
    (this.element.querySelector("[aria-invalid]") ?? this.rows[0].control).focus();
  }
}
