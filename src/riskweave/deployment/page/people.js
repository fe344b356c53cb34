// A hundred people, of whom some have the event.
import { causeClass } from "./curve.js";
import { s } from "./dom.js";

const HEAD = "M5 0.6a2 2 0 1 1 0 4a2 2 0 1 1 0-4z";
const BODY = "M1.6 11.4v-3.1c0-2 1.2-3 3.4-3s3.4 1 3.4 3v3.1z";
const STRIPES = { cause1: "M2 10.6L7.6 6.4M2 7.9L4.6 5.9M4.4 11.4L8.4 8.6", cause2: "M5 5.6V11.2M2 8.4H8" };

/** One person: the first kind is full, further ones are striped, those without an event are an outline. */
function person(kind, x, y) {
  return s("g", { class: `person ${kind}`, transform: `translate(${x} ${y})` }, s("path", { d: HEAD }),
    s("path", { d: BODY }), STRIPES[kind] && s("path", { class: "stripe", d: STRIPES[kind] }));
}

/** A sample of each person, for the legend. */
export const samplePerson = (kind) => s("svg", {
  class: "key person-key", viewBox: "0 0 10 12", "aria-hidden": "true",
}, person(kind, 0, 0));

/** How many of 100 have each cause: rounded so that together they are not over 100. */
export function outOf100(risks) {
  let left = 100;
  return risks.map((risk) => {
    const count = Math.min(Math.round(100 * risk), left);
    left -= count;
    return count;
  });
}

/** A hundred people, of whom `counts[k]` have cause k. */
export function icons(counts, label) {
  const drawing = s("svg", { class: "icons", viewBox: "0 0 126 136", role: "img", "aria-label": label });
  const kinds = counts.flatMap((count, place) => Array(count).fill(causeClass(place)));
  for (let i = 0; i < 100; i++) {
    drawing.append(person(kinds[i] ?? "none", 1 + (i % 10) * 12.6, 1 + Math.floor(i / 10) * 13.6));
  }
  return drawing;
}
