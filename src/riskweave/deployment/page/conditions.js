// Events without values: there or not, and when; several times where the model counts them.
import { h } from "./dom.js";
import { codeOf, Field, lateWords, undated } from "./fields.js";
import { duration, nameOf, t } from "./texts.js";
import { TimeField } from "./times.js";

class Occasion {
  constructor(field) {
    const { input, moment } = field;
    const place = () => field.rows.indexOf(this) + 1 || field.rows.length + 1;
    this.code = codeOf(input);
    this.time = new TimeField(moment, {
      days: () => t("form.daysOfCondition", { input: nameOf(input), n: place() }),
      date: () => t("form.dateOfCondition", { input: nameOf(input), n: place() }),
    }, () => field.later());
    const label = () => t("form.removeOccasion");
    this.remove = h("button", { type: "button", class: "quiet", "aria-label": label, title: label,
      onclick: () => field.removeRow(this) }, "×");
    this.element = h("div", { class: "reading" }, this.time.element, this.remove);
  }
}

export class ConditionField extends Field {
  constructor(input, model, moment) {
    super(input, model, "condition");
    this.moment = moment;
    this.rows = [];
    this.control = h("input", { id: this.id, type: "checkbox", "aria-describedby": `${this.id}-hint ${this.id}-note`,
      onchange: () => this.check() });
    this.list = h("div", { class: "rows single" });
    const place = model.schema.inputs.indexOf(input);
    const counted = model.schema.columns.some((column) => column.input === place && column.made === "count");
    this.times = h("div", { class: "times", hidden: true }, this.list, counted && h("button", {
      type: "button", class: "quiet add", onclick: () => this.addRow().time.control.focus(),
    }, "+ ", () => t("form.addOccasion")));
    this.element.append(h("div", { class: "tick" }, this.control, this.title()), this.hint(() => this.describe()),
      this.times, this.note);
    this.addRow();
  }

  addRow() {
    const row = new Occasion(this);
    this.rows.push(row);
    this.list.append(row.element);
    this.list.classList.toggle("single", this.rows.length === 1);
    return row;
  }

  removeRow(row) {
    row.time.forget();
    row.element.remove();
    this.rows.splice(this.rows.indexOf(row), 1);
    this.list.classList.toggle("single", this.rows.length === 1);
    this.check();
    this.rows.at(-1).time.control.focus();
  }

  // What is wrong with a time: a moment that the model does not look at would count for nothing, without a word.
  problemOf({ time }) {
    const { days, problem } = time.read();
    const vague = !problem && undated(this.input, days) !== null;
    return vague ? t("date.needed", { time: duration(this.input.window) }) : problem;
  }

  check() {
    this.times.hidden = !this.control.checked;
    const problems = this.control.checked ? this.rows.map((row) => this.problemOf(row)) : [];
    this.rows.forEach((row, place) => {
      if (problems[place]) row.time.control.setAttribute("aria-invalid", "true");
      else row.time.control.removeAttribute("aria-invalid");
    });
    const days = this.control.checked ? this.rows.map(({ time }) => time.read().days ?? null) : [];
    return this.show({ problem: problems.find(Boolean), warning: lateWords(this.input, days) });
  }

  read(patient) {
    if (!this.control.checked) return;
    patient.events.push(...this.rows.map(({ code, time }) => ({ code, days_before: time.read().days })));
  }

  load(patient) {
    const own = this.eventsOf(patient);
    for (const row of this.rows.splice(0)) {
      row.time.forget();
      row.element.remove();
    }
    for (const { code, days_before: days } of own.length ? own : [{}]) {
      const row = this.addRow();
      row.code = code ?? codeOf(this.input);
      row.time.write(days ?? null);
    }
    this.control.checked = own.length > 0;
    this.check();
  }

  focus() {
    (this.element.querySelector("[aria-invalid]") ?? this.control).focus();
  }
}
