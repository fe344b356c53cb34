// When something was: days before the moment of prediction, or a date. One switch for the whole form.
import { h, newId } from "./dom.js";
import { bind, t } from "./texts.js";

const DAY = 86400000;

function today() {
  const now = new Date();
  return new Date(now.getTime() - now.getTimezoneOffset() * 60000).toISOString().slice(0, 10);
}

/** The moment of prediction, and whether times are written as dates. */
export class Moment {
  constructor(sameDay) {
    this.asDates = false;
    this.fields = new Set();
    this.date = h("input", { type: "date", id: newId("moment"), value: today(), onchange: () => this.changed() });
    const group = newId("times");
    const choice = (asDates, key) => h("label", {}, h("input", {
      type: "radio", name: group, checked: asDates === this.asDates, onchange: () => this.choose(asDates),
    }), () => t(key));
    this.element = h("div", { class: "moment" },
      h("div", {}, h("label", { for: this.date.id }, () => t("form.moment")), this.date,
        h("p", { class: "hint" }, () => t(sameDay ? "form.momentNote" : "form.momentHour"))),
      h("fieldset", {}, h("legend", {}, () => t("form.timesAs")), choice(false, "form.asDays"),
        choice(true, "form.asDates")));
  }

  /** The day of prediction as a number of days, NaN where none is given. */
  day() {
    return Date.parse(this.date.value) / DAY;
  }

  /** The ISO date so many days before: of the end of the day, as what is known up to it counts. */
  dateBefore(days) {
    const at = new Date((this.day() - Math.floor(days)) * DAY);
    return Number.isNaN(at.getTime()) ? "" : at.toISOString().slice(0, 10);
  }

  changed() {
    if (this.asDates) this.fields.forEach((field) => field.changed());
  }

  choose(asDates) {
    const days = [...this.fields].map((field) => [field, field.read().days]);
    this.asDates = asDates;
    for (const [field, value] of days) {
      field.arrange();
      field.write(value ?? null);
    }
  }
}

/**
 * A control for one time. `labels`: {days, date} functions, and caption (of whether it is a date) in place of the usual
 * one; `changed` is called after each change.
 */
export class TimeField {
  constructor(moment, labels, changed, start = null) {
    this.moment = moment;
    this.changed = changed;
    this.control = h("input", { class: "time", autocomplete: "off", onchange: changed });
    this.caption = h("span", { class: "caption", "aria-hidden": "true" });
    this.element = h("div", { class: "when" }, this.caption, this.control);
    this.labels = labels;
    this.start = start;
    this.kept = null;
    bind(this.element, () => this.arrange());
    moment.fields.add(this);
    this.write(start);
  }

  arrange() {
    const { asDates } = this.moment;
    this.control.type = asDates ? "date" : "text";
    this.control.inputMode = "decimal";
    this.control.setAttribute("aria-label", asDates ? this.labels.date() : this.labels.days());
    const { caption } = this.labels;
    this.caption.textContent = caption ? caption(asDates) : t(asDates ? "form.date" : "form.days");
  }

  /** {days: number or null where nothing is written} or {problem}. */
  read() {
    const text = this.control.value.trim();
    if (this.control.validity.badInput) return { problem: t("date.text") };
    if (text === "") return { days: null };
    // What was opened or switched is kept to the hour, until somebody changes it: a date has no fractions of days.
    const { kept } = this;
    const same = kept?.text === text && (!this.moment.asDates || kept.day === this.moment.day());
    if (same) return { days: kept.days };
    if (!this.moment.asDates) {
      const days = Number(text.replace(",", "."));
      return days >= 0 && Number.isFinite(days) ? { days } : { problem: t("days.text") };
    }
    const days = this.moment.day() - Date.parse(text) / DAY;
    if (Number.isNaN(days)) return { problem: t(Number.isNaN(this.moment.day()) ? "date.index" : "date.text") };
    return days >= 0 ? { days } : { problem: t("date.future") };
  }

  /** Whether it still says what it said at first. */
  get untouched() {
    const { days } = this.read();
    return days === null || days === this.start;
  }

  write(days) {
    const known = days !== null && days !== undefined;
    const { asDates } = this.moment;
    this.control.value = known ? (asDates ? this.moment.dateBefore(days) : String(days)) : "";
    this.kept = known && this.control.value !== "" ? { text: this.control.value, days, day: this.moment.day() } : null;
  }

  forget() {
    this.moment.fields.delete(this);
  }
}
