// The result for other programs: an HL7 FHIR R4 RiskAssessment.
import { local, nameOf, t } from "./texts.js";
import { owner } from "./wasm.js";

const UCUM = "http://unitsofmeasure.org";

function quantity(input, { value, unit }) {
  const known = input.units.find(({ label, ucum }) => label === unit || ucum === unit) ?? input.units[0];
  const coded = known?.ucum ? { system: UCUM, code: known.ucum } : {};
  return { value, ...(known?.label ? { unit: known.label } : {}), ...coded };
}

const observation = (place, text, rest) => (
  { resourceType: "Observation", id: `input-${place}`, status: "final", code: { text }, ...rest });

// What the assessment was made from. File names stay out: they often name the patient.
function observations(schema, { patient, recordings, moment }) {
  const made = [];
  const add = (text, rest) => made.push(observation(made.length + 1, text, rest));
  for (const input of schema.inputs) {
    const given = patient.values[input.name];
    if (given === undefined) continue;
    if (input.kind === "category") {
      const chosen = input.categories.find(({ name }) => name === given);
      add(nameOf(input), { valueCodeableConcept: { text: nameOf(chosen) } });
    } else add(nameOf(input), { valueQuantity: quantity(input, given) });
  }
  for (const event of patient.events) {
    const input = owner(schema.inputs, event.code);
    const date = event.days_before === null ? "" : moment.dateBefore(event.days_before);
    const value = event.value === undefined ? { valueBoolean: true } : { valueQuantity: quantity(input, event) };
    add(nameOf(input), { ...(date ? { effectiveDateTime: date } : {}), ...value });
  }
  const { ecg, image } = recordings;
  const dated = (kind) => {
    const date = patient[kind] ? moment.dateBefore(patient[kind].days_before) : "";
    return date ? { effectiveDateTime: date } : {};
  };
  const seconds = ecg && { value: ecg.seconds, unit: "s", system: UCUM, code: "s" };
  if (ecg) add(t("modality.ecg"), { ...dated("ecg"), valueQuantity: seconds });
  if (image) add(t("modality.image"), { ...dated("image"), valueString: `${image.width} × ${image.height}` });
  return made;
}

function predictions(schema, result, moment) {
  const start = moment.dateBefore(0);
  return result.risks.map(({ cause, horizon_days: days, risk }) => {
    const { label } = schema.causes.find(({ name }) => name === cause);
    // A Range would be one of ages (R4: "timeframe or age range"); a time frame from a day on is a Period.
    const when = start ? { whenPeriod: { start, end: moment.dateBefore(-days) } } : {};
    return {
      outcome: { text: local(label) },
      // R4 counts in percent.
      probabilityDecimal: Math.min(100, Number((100 * risk).toPrecision(6))),
      ...when,
      rationale: t("export.rationale", { days }),
    };
  });
}

/** The RiskAssessment of a result. `given`: {patient, recordings, moment}; `facts`: of the bundle. */
export function fhir(schema, result, given, facts, fingerprint) {
  const contained = observations(schema, given);
  const date = given.moment.dateBefore(0);
  const notes = [t("research.only"), ...result.warnings.map(({ input, message }) => `${input}: ${message}`)];
  const device = {
    resourceType: "Device",
    id: "model",
    identifier: [{ system: "urn:ietf:rfc:3986", value: `urn:hash:sha256:${fingerprint}` }],
    status: "active",
    deviceName: [{ name: local(schema.title), type: "model-name" }],
    modelNumber: `${schema.study}/${schema.endpoint}/${schema.experiment}`,
    version: [{ value: `${facts.version}, ${fingerprint.slice(0, 12)}` }],
    note: [{ text: t("research.only") }],
  };
  return {
    resourceType: "RiskAssessment",
    contained: [device, ...contained],
    status: "final",
    method: { text: `${local(schema.title)} (${schema.experiment}, ${fingerprint.slice(0, 12)})` },
    subject: { display: t("export.subject") },
    ...(date ? { occurrenceDateTime: date } : {}),
    performer: { reference: "#model" },
    ...(contained.length ? { basis: contained.map(({ id }) => ({ reference: `#${id}` })) } : {}),
    prediction: predictions(schema, result, given.moment),
    note: notes.map((text) => ({ text })),
  };
}
