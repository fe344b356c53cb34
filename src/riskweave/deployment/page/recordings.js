// The ECG and the picture: chosen, read, tried by the module, and shown before they are used.
import { h, newId, say } from "./dom.js";
import { readEcg } from "./ecg.js";
import { parseNumber } from "./fields.js";
import { isDated } from "./form.js";
import { traces } from "./paper.js";
import { drawPicture, readPicture } from "./picture.js";
import { message, number, t } from "./texts.js";
import { TimeField } from "./times.js";

const SHOWN_EDGE = 320;

class Recording {
  constructor(kind, model, changed, moment, { accept, multiple = false }) {
    Object.assign(this, { kind, model, changed, data: null, error: null, busy: 0, problem: null });
    this.window = model.schema[kind].window;
    const id = newId(kind);
    this.choice = h("input", { type: "file", id, accept, multiple,
      "aria-describedby": `${id}-hint ${id}-note ${id}-old`, onchange: () => this.chosen([...this.choice.files]) });
    this.note = h("p", { id: `${id}-note`, class: "message", role: "status", hidden: true });
    this.old = h("p", { id: `${id}-old`, class: "message", role: "status", hidden: true });
    const check = () => {
      this.check();
      changed();
    };
    this.used = h("input", { type: "checkbox", id: `${id}-use`, checked: true, onchange: check });
    const label = (asDate) => t(`${kind}.${asDate ? "date" : "days"}`);
    // Where any age will do there is no reason to ask for it.
    this.time = isDated(model.schema[kind])
      && new TimeField(moment, { days: () => label(false), date: () => label(true), caption: label }, check, 0);
    this.preview = h("div", { class: "preview" });
    this.after = h("div", { hidden: true }, h("div", { class: "line" },
      h("span", { class: "tick" }, this.used, h("label", { for: this.used.id }, () => t("file.use"))),
      h("button", { type: "button", class: "quiet", onclick: () => this.remove() }, () => t("file.remove"))),
    this.time && this.time.element);
    this.element = h("section", { class: `inputs ${kind}` }, h("h3", {}, () => t(`${kind}.title`)),
      h("label", { for: id }, () => t(`${kind}.choose`)),
      h("p", { class: "hint", id: `${id}-hint` }, () => t(`${kind}.hint`), " ", () => this.age()),
      this.settings?.() ?? null, this.choice, this.note, this.after, this.old, this.preview);
  }

  name() {
    return t(`${this.kind}.title`);
  }

  /** How old it may be. */
  age() {
    return this.time ? t("file.window", { days: number(this.window) }) : t("file.anyAge");
  }

  /** Say when its time cannot be, or lies where the model did not look; return whether it is good. */
  check() {
    const { days, problem } = this.value && this.time ? this.time.read() : { days: null };
    const old = days !== null && days >= this.window;
    this.problem = problem ?? (old ? t("file.old", { days: number(days, 6), window: number(this.window) }) : null);
    say(this.old, "error", this.problem);
    if (this.problem) this.time.control.setAttribute("aria-invalid", "true");
    else if (this.time) this.time.control.removeAttribute("aria-invalid");
    return !this.problem;
  }

  focus() {
    this.time.control.focus();
  }

  /** Write into a patient when the recording that takes part was made. */
  date(patient) {
    const days = this.value && this.time ? this.time.read().days ?? null : null;
    if (days !== null) patient[this.kind] = { days_before: days };
  }

  /** Take from a patient when it was made: the recording itself is in none. */
  load(patient) {
    if (this.time) this.time.write(patient[this.kind]?.days_before ?? 0);
    this.check();
  }

  /** What takes part in the prediction: the data, or null. */
  get value() {
    return this.data && this.used.checked ? this.data : null;
  }

  retell() {
    this.check();
    if (this.error) say(this.note, "error", message(this.error));
    else if (this.data) this.show();
  }

  remove() {
    this.choice.value = "";
    this.forget();
    this.changed();
    this.choice.focus();
  }

  forget() {
    this.data = null;
    this.error = null;
    this.after.hidden = true;
    this.preview.replaceChildren();
    say(this.note, "", "");
    this.check();
  }

  async chosen(files) {
    this.forget();
    this.changed();
    if (!files.length) return;
    // A file that is still being read when the next is chosen must not come in after it.
    const turn = ++this.busy;
    say(this.note, "", t("file.reading"));
    try {
      const data = await this.read(files);
      if (turn !== this.busy) return;
      this.model.c.rw_reset();
      this.hand(data);
      this.model.encode();
      this.data = data;
      this.used.checked = true;
      this.check();
      this.show();
    } catch (error) {
      if (turn !== this.busy) return;
      this.error = error;
      this.choice.value = "";
      say(this.note, "error", message(error));
    } finally {
      if (turn === this.busy) this.model.c.rw_reset();
    }
    this.changed();
  }
}

export class EcgRecording extends Recording {
  constructor(model, changed, moment) {
    super("ecg", model, changed, moment, { accept: ".hea,.dat,.mat,.csv,.tsv,.txt", multiple: true });
  }

  settings() {
    const [rate, unit] = [newId("rate"), newId("unit")];
    this.rate = h("input", { id: rate, type: "text", inputmode: "decimal", autocomplete: "off", class: "short" });
    this.unit = h("select", { id: unit }, ["mV", "µV"].map((name) => h("option", { value: name }, name)));
    return h("details", {}, h("summary", {}, () => t("ecg.settings")), h("div", { class: "pair" },
      h("div", {}, h("label", { for: rate }, () => t("ecg.rate")), this.rate),
      h("div", {}, h("label", { for: unit }, () => t("ecg.tableUnit")), this.unit)));
  }

  read(files) {
    const rate = parseNumber(this.rate.value).value ?? NaN;
    return readEcg(files, { rate, unit: this.unit.value }, this.model.schema.ecg.seconds);
  }

  hand(data) {
    this.model.setEcg(data);
  }

  /** Which leads are missing or still: as in training they count as silent, and none is made from others. */
  remarks() {
    const { missing, flat } = this.data;
    return Object.entries({ missing, flat }).filter(([, leads]) => leads.length).map(([what, leads]) => (
      t(`ecg.${what}${leads.length > 1 ? "s" : ""}`, { n: leads.length, leads: leads.join(", ") })));
  }

  /** The same for the result: [{input, message}]. */
  warnings() {
    return this.value ? this.remarks().map((message) => ({ input: "ecg", message })) : [];
  }

  show() {
    const { data } = this;
    const { seconds } = this.model.schema.ecg;
    const lines = [t("ecg.facts", {
      file: data.file, leads: data.present.length, rate: number(data.rate), seconds: number(data.seconds, 3),
    })];
    if (data.seconds > seconds + 0.01) lines.push(t("ecg.part", { seconds: number(seconds) }));
    const warnings = [...data.notes.map((key) => t(key)), ...this.remarks().map((remark) => `${remark}.`)];
    say(this.note, warnings.length ? "warning" : "", [...lines, ...warnings].join(" "));
    this.after.hidden = false;
    this.preview.replaceChildren(traces(data));
  }
}

export class Picture extends Recording {
  constructor(model, changed, moment) {
    const accept = ".png,.jpg,.jpeg,.dcm,.dicom,image/png,image/jpeg,application/dicom";
    super("image", model, changed, moment, { accept });
  }

  read([file]) {
    return readPicture(file);
  }

  hand(data) {
    this.model.setImage(data);
  }

  show() {
    const { data } = this;
    if (!this.prepared || this.prepared.of !== data) this.prepared = { of: data, pixels: this.model.preparedImage() };
    const blank = this.prepared.pixels.every((value) => value === 0);
    say(this.note, blank ? "warning" : "", [t("image.facts", data), blank ? t("image.blank") : ""].join(" ").trim());
    const { size } = this.model.schema.image;
    const read = { width: size, height: size, format: 0, pixels: this.prepared.pixels };
    const shown = [["image.shown", data], ["image.read", read]];
    this.after.hidden = false;
    this.preview.replaceChildren(h("div", { class: "pictures" }, shown.map(([key, picture]) => {
      const canvas = h("canvas", { role: "img", "aria-label": t(key) });
      drawPicture(canvas, picture, SHOWN_EDGE);
      return h("figure", {}, canvas, h("figcaption", {}, t(key)));
    })));
  }
}
