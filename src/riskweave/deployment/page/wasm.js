// The host of model.wasm: the interface of riskweave.h, from the names and units of schema.json to risks.
import { fromBase64, hexOfDouble, sha256OfDoubles } from "./digest.js";

export const STATUS = { ok: 0, unusual: 1, impossible: 2, required: 16 };
const ABI = 2;

/** Something that stops the model or refuses an input: a key of the texts, and what goes into the text. */
export class Refusal extends Error {
  constructor(key, values = {}) {
    super(key);
    this.key = key;
    this.values = values;
  }
}

/** Does an event of this code count for this input? A code of the input that ends in "$" is a whole code. */
export function counts(input, code) {
  return (input.codes ?? []).some((own) => (own.endsWith("$") ? code === own.slice(0, -1) : code.startsWith(own)));
}

/**
 * The input that an event is entered under in a form: the one with this very code, else the first that it counts for.
 * Undefined where the model does not use it.
 */
export function owner(inputs, code) {
  const own = inputs.filter((input) => input.kind === "events" && counts(input, code));
  return own.find((input) => input.codes[0].replace(/\$$/, "") === code) ?? own[0];
}

/** The place of a unit, by its label or UCUM code; 0 (the model's own) where none is said. */
export function unitPlace(input, unit) {
  if (unit === undefined || unit === null || unit === "") return 0;
  const labelled = input.units.findIndex((one) => one.label === unit);
  const place = labelled < 0 ? input.units.findIndex((one) => one.ucum === unit) : labelled;
  if (place < 0) {
    throw new Refusal("status.4", { input: input.name, unit, units: input.units.map((one) => one.label).join(", ") });
  }
  return place;
}

export class Model {
  constructor(exports, schema) {
    this.c = exports;
    this.schema = schema;
    this.places = new Map(schema.inputs.map((input, place) => [input.name, place]));
  }

  /** Start a module. Throws `Refusal` where it is not a module of this interface. */
  static async start(bytes, schema) {
    const { instance } = await WebAssembly.instantiate(bytes, {});
    instance.exports._initialize?.();
    if (instance.exports.rw_abi() !== ABI || schema.abi !== ABI) throw new Refusal("check.abi");
    return new Model(instance.exports, schema);
  }

  /** Copy doubles out of the module; its memory may have moved since the last call. */
  doubles(offset, count) {
    return new Float64Array(this.c.memory.buffer, offset, count).slice();
  }

  /** What the module would answer to a value, without storing it. */
  check(name, value, unit = 0) {
    return this.c.rw_check(this.places.get(name), value, unit);
  }

  setValue(name, given) {
    const place = this.places.get(name);
    const input = this.schema.inputs[place];
    if (!input || input.kind === "events") throw new Refusal("status.3", { input: name });
    const value = given !== null && typeof given === "object" ? given.value : given;
    if (value === null || value === undefined) return STATUS.ok;
    if (input.kind === "category") {
      const category = input.categories.findIndex((one) => one.name === value);
      if (category < 0) throw new Refusal("status.5", { input: name });
      return this.c.rw_category(place, category);
    }
    if (typeof value !== "number") throw new Refusal("number.text", { input: name });
    return this.c.rw_number(place, value, unitPlace(input, given?.unit));
  }

  takes(input, code) {
    return input.kind === "events" && counts(input, code);
  }

  /** Give an event to one input. Returns the module's answer. */
  addEvent(input, event) {
    const valued = input.values && typeof event.value === "number";
    const unit = valued ? unitPlace(input, event.unit) : 0;
    return this.c.rw_event(this.places.get(input.name), event.days_before ?? NaN, valued ? event.value : NaN, unit);
  }

  /** Give all that a patient has of one input; whatever it was given before is forgotten. Returns the worst answer. */
  give(patient, input) {
    this.c.rw_clear(this.places.get(input.name));
    const answers = [STATUS.ok];
    if (input.kind !== "events" && input.name in patient.values) {
      answers.push(this.setValue(input.name, patient.values[input.name]));
    }
    for (const event of patient.events) {
      if (this.takes(input, event.code)) answers.push(this.addEvent(input, event));
    }
    return Math.max(...answers);
  }

  /**
   * Forget the last patient and take in this one (the form of patient.json).
   * Returns the names of the inputs with unusual values; throws `Refusal` for a value that cannot be.
   */
  setPatient(patient) {
    this.c.rw_reset();
    const whole = { values: patient.values ?? {}, events: patient.events ?? [] };
    for (const name of Object.keys(whole.values)) {
      if (!this.places.has(name)) throw new Refusal("status.3", { input: name });
    }
    return this.schema.inputs.flatMap((input) => {
      const status = this.give(whole, input);
      if (status > STATUS.unusual) throw new Refusal(`status.${status}`, { input: input.name });
      return status === STATUS.unusual ? [input.name] : [];
    });
  }

  /** Hand over a recording: {rate, samples, leads: 12 Float64Array in mV, NaN where there is nothing}. */
  setEcg({ rate, samples, leads }) {
    const offset = this.c.rw_ecg(samples, rate);
    if (!offset) throw new Refusal("ecg.size");
    const room = new Float64Array(this.c.memory.buffer, offset, 12 * samples);
    leads.forEach((lead, place) => room.set(lead, place * samples));
  }

  /** Hand over a picture: {width, height, format: 0 grey floats, 1 RGB, 2 RGBA bytes, pixels}. */
  setImage({ width, height, format, pixels }) {
    const offset = this.c.rw_image(width, height, format);
    if (!offset) throw new Refusal("status.48");
    const Room = format === 0 ? Float32Array : Uint8Array;
    new Room(this.c.memory.buffer, offset, pixels.length).set(pixels);
  }

  /** Read the recordings that were handed over; throws `Refusal` where one of them is of no use. */
  encode() {
    const status = this.c.rw_encode();
    if (status !== STATUS.ok) throw new Refusal(`status.${status}`);
  }

  /** Cumulative incidences [causes * times], the target's first. */
  predict() {
    const status = this.c.rw_predict();
    if (status === STATUS.required) {
      throw new Refusal("status.16", { input: this.schema.inputs[this.c.rw_missing()]?.name });
    }
    if (status !== STATUS.ok) throw new Refusal(`status.${status}`);
    return this.doubles(this.c.rw_risks(), this.schema.causes.length * this.schema.times.length);
  }

  /** The modalities that the patient had in the last prediction. */
  present() {
    const there = new Uint8Array(this.c.memory.buffer, this.c.rw_present(), this.schema.modalities.length);
    return this.schema.modalities.filter((_, place) => there[place]);
  }

  /** The risks of each member on its own: a list of arrays as from `predict`. */
  members() {
    const count = this.schema.causes.length * this.schema.times.length;
    const all = this.doubles(this.c.rw_member_risks(), this.schema.members * count);
    return Array.from({ length: this.schema.members }, (_, i) => all.subarray(i * count, (i + 1) * count));
  }

  /** The feature columns as the model has them; NaN is what will be imputed. */
  columns() {
    return this.doubles(this.c.rw_columns(), this.schema.columns.length);
  }

  /** The picture as encoders read it, greys 0 to 1. */
  preparedImage() {
    const { size } = this.schema.image;
    return new Float32Array(this.c.memory.buffer, this.c.rw_image_prepared(), size * size).slice();
  }
}

/** The recording of a golden patient: integers in microvolts, the lowest for missing. */
function goldenEcg({ rate, samples, microvolts }) {
  const bytes = fromBase64(microvolts);
  const view = new DataView(bytes.buffer);
  const all = new Float64Array(12 * samples);
  for (let i = 0; i < all.length; i++) {
    const value = view.getInt16(2 * i, true);
    all[i] = value === -32768 ? NaN : value / 1000;
  }
  const leads = Array.from({ length: 12 }, (_, lead) => all.subarray(lead * samples, (lead + 1) * samples));
  return { rate, samples, leads };
}

function goldenRisks(model, one) {
  try {
    model.setPatient(one.patient);
    if (one.ecg) model.setEcg(goldenEcg(one.ecg));
    if (one.image) {
      const { width, height, pixels } = one.image;
      model.setImage({ width, height, format: 0, pixels: new Float32Array(fromBase64(pixels)) });
    }
    return { status: 0, risks: model.predict() };
  } catch (error) {
    const [, code] = /^status\.(\d+)$/.exec(error.key ?? "") ?? [];
    if (code === undefined) throw error;
    return { status: Number(code), risks: [] };
  }
}

/**
 * Run the golden patients: every bit of every risk has to be what it was when the bundle was made.
 * Throws `Refusal` at the first that differs. Returns how many there are.
 */
function checkGolden(model, golden) {
  const all = [];
  for (const one of golden.patients) {
    const { status, risks } = goldenRisks(model, one);
    const same = status === one.status && risks.length === one.risks.length;
    if (!same || one.risks.some((hex, place) => hex !== hexOfDouble(risks[place]))) {
      throw new Refusal("check.golden", { patient: one.name });
    }
    all.push(...risks);
  }
  if (!all.length || sha256OfDoubles(all) !== golden.sha256) throw new Refusal("check.goldenHash");
  return golden.patients.length;
}

/**
 * Check the module against the manifest's hash and the golden patients. `fingerprint`: the module's own hash.
 * Returns {model, passed: the number of golden patients}.
 */
export async function checkedModel({ bytes, fingerprint, schema, golden, facts }) {
  if (typeof WebAssembly !== "object") throw new Refusal("check.noWasm");
  if (fingerprint !== facts.wasm_sha256) throw new Refusal("check.wasm");
  const model = await Model.start(bytes, schema);
  const passed = checkGolden(model, golden);
  model.c.rw_reset();
  return { model, passed };
}
