// The page: checks its model, builds the form, predicts, shows.
import { fromBase64, sha256OfMany } from "./digest.js";
import { download, h, say } from "./dom.js";
import { fhir } from "./export.js";
import { checkPatient, Form } from "./form.js";
import { assess } from "./predict.js";
import { EcgRecording, Picture } from "./recordings.js";
import { announcement, resultView, wordsFor } from "./result.js";
import { bind, language, local, message, setLanguage, t } from "./texts.js";
import { checkedModel, owner, Refusal } from "./wasm.js";

const place = (id) => document.getElementById(id);

async function readData() {
  const data = (id) => JSON.parse(place(id).textContent);
  try {
    const bytes = fromBase64(data("wasm"));
    const fingerprint = await sha256OfMany(bytes);
    return { schema: data("schema"), golden: data("golden"), facts: data("facts"), bytes, fingerprint };
  } catch {
    throw new Refusal("check.data");
  }
}

/** Give the page's own words to the elements of index.html that name them. */
function fillTexts() {
  for (const element of document.querySelectorAll("[data-text]")) {
    bind(element, () => { element.textContent = t(element.dataset.text); });
  }
}

function languageSwitch(changed) {
  const buttons = ["en", "de"].map((code) => h("button", {
    type: "button", lang: code, "aria-pressed": () => String(language() === code),
    "aria-label": code === "en" ? "English" : "Deutsch", onclick: () => { setLanguage(code); changed(); },
  }, code.toUpperCase()));
  place("language").append(...buttons);
  place("language").setAttribute("aria-label", "Language / Sprache");
}

function tellModel({ schema, facts, fingerprint }) {
  bind(place("title"), () => {
    place("title").textContent = local(schema.title);
    document.title = local(schema.title);
  });
  place("question").textContent = schema.question ?? "";
  const row = (key, value) => h("div", {}, h("dt", {}, () => t(key)), h("dd", {}, value));
  place("identity").append(
    row("about.model", `${schema.study} / ${schema.endpoint} / ${schema.experiment}`),
    row("about.version", facts.version),
    row("about.fingerprint", h("code", { title: fingerprint }, fingerprint.slice(0, 12))));
  for (const key of ["intended_use", "not_for"]) {
    const texts = schema[key];
    if (texts && Object.keys(texts).length) {
      place("uses").append(h("p", {}, h("strong", {}, () => `${t(`about.${key}`)}: `), () => local(texts)));
    }
  }
}

/** The part of the page that needs a model that passed its checks. */
class App {
  constructor({ schema, facts, fingerprint }, model) {
    Object.assign(this, { schema, facts, model, fingerprint, last: null });
    const changed = () => this.stale();
    this.form = new Form(model, changed);
    this.recordings = {
      ecg: schema.ecg && new EcgRecording(model, changed, this.form.moment),
      image: schema.image && new Picture(model, changed, this.form.moment),
    };
    place("fields").append(this.form.element, ...this.kinds().map((kind) => this.recordings[kind].element));
    place("predict").disabled = false;
    place("form").addEventListener("submit", (event) => {
      event.preventDefault();
      this.predict();
    });
    place("clear").addEventListener("click", () => this.clear());
    place("save").addEventListener("click", () => this.save());
    place("load").addEventListener("change", (event) => this.load(event.target));
    place("tools").hidden = false;
  }

  kinds() {
    return ["ecg", "image"].filter((kind) => this.recordings[kind]);
  }

  check() {
    return this.form.check(this.kinds().map((kind) => this.recordings[kind]));
  }

  given() {
    const value = (kind) => this.recordings[kind]?.value ?? null;
    const { moment } = this.form;
    const recordings = { ecg: value("ecg"), image: value("image") };
    const patient = this.form.patient();
    this.kinds().forEach((kind) => this.recordings[kind].date(patient));
    return { patient, recordings, moment, date: moment.date.value };
  }

  // Say whether the result that is shown is of other inputs than those that stand in the form.
  stale() {
    place("alert").hidden = true;
    if (!this.last) return;
    const [now, then] = [this.given(), this.last.given];
    const same = JSON.stringify(now.patient) === JSON.stringify(then.patient) && now.date === then.date
      && this.kinds().every((kind) => now.recordings[kind] === then.recordings[kind]);
    this.last.stale = !same;
    place("stale").hidden = same;
    place("result").classList.toggle("stale", !same);
    place("exports").hidden = !same;
  }

  predict() {
    if (!this.check()) return;
    if (this.estimate()) {
      place("announce").textContent = announcement(this.schema, this.last.made.result);
      place("outcome").scrollIntoView({ block: "start" });
      place("outcome").focus({ preventScroll: true });
    }
  }

  estimate() {
    const given = this.given();
    try {
      const warnings = { form: this.form.warnings(), recordings: this.recordings.ecg?.warnings() ?? [] };
      const made = assess(this.model, this.fingerprint, given.patient, given.recordings, warnings);
      this.last = { made, given, stale: false };
    } catch (error) {
      say(place("alert"), "error", message(error, (name) => wordsFor(this.schema, name)));
      return false;
    }
    const events = given.patient.events.map((event) => ({ ...event, of: owner(this.schema.inputs, event.code)?.name }));
    const patient = { ...given.patient, events };
    place("result").replaceChildren(resultView(this.schema, this.last.made, { ...given, patient }), this.exports());
    place("result").classList.remove("stale");
    place("stale").hidden = true;
    place("empty").hidden = true;
    say(place("alert"), "", "");
    return true;
  }

  exports() {
    const { made, given } = this.last;
    const name = `${this.schema.study}-${this.schema.endpoint}`;
    const save = (key, end, content) => h("button", {
      type: "button", onclick: () => download(`${name}.${end}.json`, `${JSON.stringify(content(), null, 1)}\n`),
    }, t(key));
    return h("div", { id: "exports", class: "buttons" },
      save("export.json", "result", () => made.result),
      save("export.fhir", "fhir", () => fhir(this.schema, made.result, given, this.facts, this.fingerprint)),
      h("button", { type: "button", onclick: () => window.print() }, t("export.print")));
  }

  clear() {
    this.form.clear();
    this.kinds().forEach((kind) => this.recordings[kind].remove());
    this.last = null;
    place("result").replaceChildren();
    place("result").classList.remove("stale");
    place("stale").hidden = true;
    place("empty").hidden = false;
    say(place("alert"), "", "");
    window.scrollTo(0, 0);
  }

  save() {
    if (this.check()) download("patient.json", `${JSON.stringify(this.given().patient, null, 1)}\n`);
  }

  async load(choice) {
    const [file] = choice.files;
    if (!file) return;
    this.stale();
    try {
      const patient = JSON.parse(await file.text());
      checkPatient(this.model, patient);
      this.form.load(patient);
      this.kinds().forEach((kind) => this.recordings[kind].load(patient));
      const n = (patient.events ?? []).filter(({ code }) => !owner(this.schema.inputs, code)).length;
      if (n) say(place("alert"), "warning", t("form.loadUnused", { n }));
    } catch (error) {
      const refusal = error instanceof SyntaxError ? new Refusal("form.loadRefused") : error;
      const reason = message(refusal, (name) => wordsFor(this.schema, name));
      say(place("alert"), "error", t("form.loadProblem", { file: file.name, reason }));
    }
    choice.value = "";
  }

  retell() {
    this.form.retell();
    this.kinds().forEach((kind) => this.recordings[kind].retell());
    // What was said before was said in the other language.
    say(place("alert"), "", "");
    place("announce").textContent = "";
    if (this.last && !this.last.stale) this.estimate();
    else if (this.last) this.clearResult();
  }

  clearResult() {
    this.last = null;
    place("result").replaceChildren();
    place("stale").hidden = true;
    place("empty").hidden = false;
  }
}

async function start() {
  let app = null;
  setLanguage((navigator.language ?? "en").toLowerCase().startsWith("de") ? "de" : "en");
  fillTexts();
  languageSwitch(() => app?.retell());
  const status = place("checks");
  try {
    const data = await readData();
    tellModel(data);
    const { model, passed } = await checkedModel(data);
    app = new App(data, model);
    bind(status, () => { status.textContent = t("check.passed", { count: passed }); });
    status.className = "checks good";
  } catch (error) {
    // Nothing can be asked of a model that is not the one that was evaluated.
    status.setAttribute("role", "alert");
    status.className = "checks bad";
    bind(status, () => { status.textContent = `${t("check.failed")} ${message(error)}`; });
    place("form").hidden = true;
    place("outcome").hidden = true;
  }
  document.documentElement.dataset.ready = app ? "yes" : "refused";
}

start();
