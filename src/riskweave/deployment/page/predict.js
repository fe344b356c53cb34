// From a patient and recordings to the result: the JSON that the command line and the server give as well.
import { unusualWords } from "./texts.js";

// Leave out one input; one that is required takes its typical value instead. False where neither can be.
function without(model, input, place) {
  if (input.required && (input.kind !== "number" || input.typical === null)) return false;
  model.c.rw_clear(place);
  if (input.required) model.c.rw_number(place, input.typical, 0);
  return true;
}

/** What each given input and recording changes in the target's risk at the last horizon, the largest change first. */
function contributions(model, patient, recordings, risk) {
  const { schema } = model;
  const last = schema.times.indexOf(schema.horizons.at(-1));
  const changes = [];
  const given = new Set(Object.keys(patient.values));
  schema.inputs.forEach((input, place) => {
    const there = input.kind === "events" ? patient.events.some(({ code }) => model.takes(input, code))
      : given.has(input.name);
    if (!there || !without(model, input, place)) return;
    changes.push({ input: input.name, change: risk[last] - model.predict()[last] });
    model.give(patient, input);
  });
  for (const kind of ["ecg", "image"]) {
    if (!recordings[kind]) continue;
    model.c[`rw_use_${kind}`](0);
    changes.push({ input: schema[kind].modality, change: risk[last] - model.predict()[last] });
    model.c[`rw_use_${kind}`](1);
  }
  return changes;
}

function columnWarnings(schema, columns) {
  return schema.columns.flatMap((column, place) => {
    const [low, high] = column.usual;
    const value = columns[place];
    const outside = (low !== null && value < low) || (high !== null && value > high);
    if (column.input !== null || !outside) return [];
    const unit = { label: column.unit, factor: 1, offset: 0 };
    return [{ input: column.name, message: unusualWords(Number(value.toPrecision(4)), unit, column) }];
  });
}

/**
 * Predict.
 *
 * `patient`: the content of patient.json; `recordings`: {ecg, image} as the readers give them, null where there is
 * none; `warnings`: {form, recordings} of [{input, message}]. Throws `Refusal`.
 * Returns {result: the JSON, columns: Float64Array, members: risks of the target at the last horizon by member}.
 */
export function assess(model, fingerprint, patient, recordings, warnings) {
  const { schema } = model;
  model.setPatient(patient);
  if (recordings.ecg) model.setEcg(recordings.ecg);
  if (recordings.image) model.setImage(recordings.image);
  const risks = model.predict();
  const columns = model.columns();
  const present = model.present();
  const last = schema.times.indexOf(schema.horizons.at(-1));
  const members = model.members().map((one) => one[last]);
  const count = schema.times.length;
  const at = (cause, place) => risks[cause * count + place];
  const result = {
    model: {
      study: schema.study, endpoint: schema.endpoint, experiment: schema.experiment,
      fingerprint: fingerprint.slice(0, 12),
    },
    risks: schema.causes.flatMap(({ name }, cause) => schema.horizons.map((days) => (
      { cause: name, horizon_days: days, risk: at(cause, schema.times.indexOf(days)) }))),
    curve: {
      days: [...schema.times],
      risks: Object.fromEntries(schema.causes.map(({ name }, cause) => (
        [name, schema.times.map((_, place) => at(cause, place))]))),
    },
    warnings: [...warnings.form, ...columnWarnings(schema, columns), ...warnings.recordings],
    imputed: schema.columns.filter(({ modality }, place) => Number.isNaN(columns[place]) && present.includes(modality))
      .map(({ name }) => name),
    absent: schema.modalities.filter((name) => !present.includes(name)),
    contributions: contributions(model, patient, recordings, risks),
    research_use_only: true,
  };
  model.c.rw_reset();
  return { result, columns, members };
}
