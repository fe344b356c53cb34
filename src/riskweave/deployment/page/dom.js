// Elements whose words follow the language: a child or an attribute that is a function is asked again after a change.
import { bind } from "./texts.js";

const SVG = "http://www.w3.org/2000/svg";

function setAttribute(element, name, value) {
  if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
  else if (typeof value === "function") bind(element, () => setAttribute(element, name, value()));
  else if (value === false || value === null || value === undefined) element.removeAttribute(name);
  else element.setAttribute(name, value === true ? "" : value);
}

function append(element, child) {
  if (child === null || child === undefined || child === false) return;
  if (Array.isArray(child)) child.forEach((one) => append(element, one));
  else if (typeof child === "function") {
    const text = document.createTextNode("");
    element.append(text);
    bind(element, () => { text.data = child(); });
  } else element.append(child);
}

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes ?? {})) setAttribute(element, name, value);
  children.forEach((child) => append(element, child));
  return element;
}

/** An HTML element. Attributes named on… are listeners; children are elements, texts, functions or lists of them. */
export const h = (tag, attributes, ...children) => fill(document.createElement(tag), attributes, children);

/** An SVG element. */
export const s = (tag, attributes, ...children) => fill(document.createElementNS(SVG, tag), attributes, children);

/** Show a message at a field, or none. `kind`: "error" or "warning". */
export function say(place, kind, text) {
  place.className = `message ${kind}`;
  place.textContent = text ?? "";
  place.hidden = !text;
}

let last = 0;

/** An id that no other element has. */
export function newId(prefix) {
  last += 1;
  return `${prefix}-${last}`;
}

/** Hand a text to the user as a file. */
export function download(name, text, kind = "application/json") {
  const url = URL.createObjectURL(new Blob([text], { type: kind }));
  h("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 10000);
}
