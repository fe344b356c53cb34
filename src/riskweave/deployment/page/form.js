// The form: a field for each input of the schema, in sections, with a search where there are many.
import { ConditionField } from "./conditions.js";
import { h, newId } from "./dom.js";
import { CategoryField, NumberField } from "./fields.js";
import { ReadingsField } from "./readings.js";
import { t } from "./texts.js";
import { Moment } from "./times.js";
import { Refusal, STATUS } from "./wasm.js";

// From so many inputs on there is a search box, and long sections can be folded.
const MANY = 12;

const SECTIONS = [
  ["form.static", (input) => input.kind !== "events"],
  ["form.measured", (input) => input.kind === "events" && input.values],
  ["form.conditions", (input) => input.kind === "events" && !input.values],
];

function fieldOf(input, model, moment) {
  if (input.kind === "number") return new NumberField(input, model);
  if (input.kind === "category") return new CategoryField(input, model);
  return new (input.values ? ReadingsField : ConditionField)(input, model, moment);
}

export class Form {
  /** `changed` is called after each change of an entry. */
  constructor(model, changed) {
    this.model = model;
    this.schema = model.schema;
    this.moment = new Moment(this.schema.same_day);
    this.fields = this.schema.inputs.map((input) => fieldOf(input, model, this.moment));
    this.errors = h("div", { class: "errors", role: "alert", tabindex: "-1", hidden: true });
    this.sections = SECTIONS.map(([key, belongs]) => this.section(key, belongs)).filter(Boolean);
    const { ecg, image } = this.schema;
    const dated = this.schema.inputs.some(({ kind }) => kind === "events") || isDated(ecg) || isDated(image);
    this.element = h("div", { class: "form", onchange: changed, oninput: changed },
      this.errors,
      this.schema.inputs.some(({ required }) => required) && h("p", { class: "hint" }, () => t("form.requiredNote")),
      dated && this.moment.element,
      this.schema.inputs.length > MANY && this.search(),
      this.sections.map(({ element }) => element));
  }

  section(key, belongs) {
    const fields = this.fields.filter(({ input }) => belongs(input));
    if (!fields.length) return null;
    const element = h("section", { class: `inputs ${key.split(".")[1]}` }, h("h3", {}, () => t(key)),
      h("div", { class: "fields" }, fields.map((field) => field.element)));
    return { element, fields };
  }

  search() {
    const id = newId("search");
    const found = h("span", { class: "hint", role: "status" });
    const filter = (event) => {
      // Typing here changes no input.
      event.stopPropagation();
      const words = event.target.value.toLowerCase().split(/\s+/).filter(Boolean);
      let shown = 0;
      for (const { element, fields } of this.sections) {
        for (const field of fields) {
          field.element.hidden = !field.matches(words);
          shown += !field.element.hidden;
        }
        element.hidden = fields.every((field) => field.element.hidden);
      }
      found.textContent = words.length ? t("form.found", { n: shown, all: this.fields.length }) : "";
    };
    const quiet = (event) => event.stopPropagation();
    return h("div", { class: "search" }, h("label", { for: id }, () => t("form.search")),
      h("input", { type: "search", id, autocomplete: "off", oninput: filter, onchange: quiet }), found);
  }

  /** Check all fields, and others of their kind. Shows what is wrong and returns false, or returns true. */
  check(others = []) {
    const wrong = [...this.fields, ...others].filter((field) => !field.check(true));
    this.errors.hidden = !wrong.length;
    this.errors.replaceChildren();
    if (!wrong.length) return true;
    const links = wrong.map((field) => h("li", {}, h("button", {
      type: "button", class: "link", onclick: () => this.show(field),
    }, `${field.name()}: ${field.problem}`)));
    this.errors.append(h("p", {}, () => t("form.errors")), h("ul", {}, links));
    this.errors.focus();
    return false;
  }

  show(field) {
    field.element.hidden = false;
    field.element.closest("section").hidden = false;
    field.focus();
  }

  hideErrors() {
    this.errors.hidden = true;
  }

  /** Write the messages of all fields again, in the language of now. */
  retell() {
    this.hideErrors();
    this.fields.forEach((field) => field.check());
  }

  /** The content of patient.json. */
  patient() {
    const patient = { values: {}, events: [] };
    this.fields.forEach((field) => field.read(patient));
    return patient;
  }

  /** What is unusual: [{input, message}]. */
  warnings() {
    return this.fields.filter((field) => !field.note.hidden && field.problem === null)
      .map((field) => ({ input: field.input.name, message: field.note.textContent }));
  }

  load(patient) {
    this.hideErrors();
    this.fields.forEach((field) => field.load(patient));
  }

  clear() {
    this.load({ values: {}, events: [] });
  }
}

/** Whether it matters how old a recording is. `recording`: schema.ecg or schema.image. */
export const isDated = (recording) => (recording?.window ?? null) !== null;

/** Throw a `Refusal` where something is no patient.json for this model: the module itself is asked. */
export function checkPatient(model, patient) {
  const isObject = patient !== null && typeof patient === "object" && !Array.isArray(patient);
  const keys = ["values", "events", ...["ecg", "image"].filter((kind) => model.schema[kind])];
  const known = isObject && Object.keys(patient).every((key) => keys.includes(key));
  const coded = known && Array.isArray(patient.events ?? []) && (patient.events ?? []).every((one) => (
    typeof one?.code === "string"));
  if (!coded) throw new Refusal("form.loadRefused");
  try {
    model.setPatient(patient);
  } catch (error) {
    // What cannot be is shown at its field.
    if (error.key !== `status.${STATUS.impossible}`) throw error;
  } finally {
    model.c.rw_reset();
  }
}
