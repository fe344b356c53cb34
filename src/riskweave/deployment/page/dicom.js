// Uncompressed DICOM with one frame: PS3.5 (encoding) and PS3.3 C.7.6.3, C.11.1, C.11.2 (pixels and their meaning).
import { Refusal } from "./wasm.js";

const LITTLE_IMPLICIT = "1.2.840.10008.1.2";
const LITTLE_EXPLICIT = "1.2.840.10008.1.2.1";
const BIG_EXPLICIT = "1.2.840.10008.1.2.2";
const LONG = new Set(["OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV"]);
const UNDEFINED = 0xffffffff;
const ITEM = 0xfffee000;
const ITEM_END = 0xfffee00d;
const SEQUENCE_END = 0xfffee0dd;
const PIXEL_DATA = 0x7fe00010;
const SEQUENCES = new Set([0x00283000, 0x00283010]);

export const isDicom = (bytes) => String.fromCharCode(...bytes.subarray(128, 132)) === "DICM";

class Reader {
  constructor(bytes, at, syntax) {
    this.bytes = bytes;
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    this.at = at;
    this.little = syntax !== BIG_EXPLICIT;
    this.explicit = syntax !== LITTLE_IMPLICIT;
  }

  u16() {
    this.at += 2;
    return this.view.getUint16(this.at - 2, this.little);
  }

  u32() {
    this.at += 4;
    return this.view.getUint32(this.at - 4, this.little);
  }

  /** Tag, representation and length of the next element; stands at its value then. */
  element() {
    const tag = this.u16() * 65536 + this.u16();
    if (!this.explicit || tag === ITEM || tag === ITEM_END || tag === SEQUENCE_END) {
      return { tag, kind: "", length: this.u32() };
    }
    const kind = String.fromCharCode(this.bytes[this.at], this.bytes[this.at + 1]);
    this.at += 2;
    if (!LONG.has(kind)) return { tag, kind, length: this.u16() };
    this.at += 2;
    return { tag, kind, length: this.u32() };
  }

  /** Elements up to an offset or the end of an item: Map of tag to {kind, at, length} or to a list of items. */
  elements(end) {
    const found = new Map();
    while (this.at + 8 <= end) {
      const { tag, kind, length } = this.element();
      if (tag === ITEM_END || tag === SEQUENCE_END) return found;
      const isSequence = kind === "SQ" || SEQUENCES.has(tag) || (length === UNDEFINED && tag !== PIXEL_DATA);
      if (isSequence) found.set(tag, this.items(length));
      else {
        if (length === UNDEFINED) throw new Refusal("dicom.compressed");
        if (this.at + length > this.bytes.length) throw new Refusal("image.short");
        found.set(tag, { kind, at: this.at, length });
        this.at += length;
      }
    }
    return found;
  }

  items(length) {
    const end = length === UNDEFINED ? this.bytes.length : this.at + length;
    const list = [];
    while (this.at + 8 <= end) {
      const item = this.element();
      if (item.tag === SEQUENCE_END) break;
      if (item.tag !== ITEM) throw new Refusal("image.broken");
      const stop = item.length === UNDEFINED ? end : this.at + item.length;
      list.push(this.elements(stop));
      if (item.length !== UNDEFINED) this.at = stop;
    }
    return list;
  }
}

/** The elements of a file and how to read them. */
class Dataset {
  constructor(reader, elements) {
    this.reader = reader;
    this.elements = elements;
  }

  text(tag, fallback = "") {
    const found = this.elements.get(tag);
    if (!found?.length) return fallback;
    const bytes = this.reader.bytes.subarray(found.at, found.at + found.length);
    return String.fromCharCode(...bytes).replace(/[\0 ]+$/, "").trim();
  }

  /** The first of the numbers written as text, or NaN. */
  decimal(tag) {
    const text = this.text(tag).split("\\")[0];
    return text === "" ? NaN : Number(text);
  }

  short(tag, fallback = NaN, place = 0) {
    const found = this.elements.get(tag);
    if (!found || found.length < 2 * place + 2) return fallback;
    return this.reader.view.getUint16(found.at + 2 * place, this.reader.little);
  }

  items(tag) {
    const found = this.elements.get(tag);
    return (Array.isArray(found) ? found : []).map((elements) => new Dataset(this.reader, elements));
  }
}

function parse(bytes) {
  // The file's own part is group 2, always written in the same way; its length is not always told.
  const meta = new Reader(bytes, 132, LITTLE_EXPLICIT);
  const told = new Map();
  while (meta.at + 8 <= bytes.length && meta.view.getUint16(meta.at, true) === 2) {
    const { tag, length } = meta.element();
    told.set(tag, { at: meta.at, length });
    meta.at += length;
  }
  const syntax = new Dataset(meta, told).text(0x00020010);
  if (!syntax) throw new Refusal("image.broken");
  if (![LITTLE_IMPLICIT, LITTLE_EXPLICIT, BIG_EXPLICIT].includes(syntax)) throw new Refusal("dicom.compressed");
  const reader = new Reader(bytes, meta.at, syntax);
  const elements = reader.elements(bytes.length);
  if (!elements.has(PIXEL_DATA) && reader.at < bytes.length) throw new Refusal("image.short");
  return new Dataset(reader, elements);
}

function describe(data) {
  const head = {
    height: data.short(0x00280010), width: data.short(0x00280011), channels: data.short(0x00280002, 1),
    allocated: data.short(0x00280100), bits: data.short(0x00280101), signed: data.short(0x00280103, 0) === 1,
    planar: data.short(0x00280006, 0) === 1, colour: data.text(0x00280004),
  };
  if (!data.elements.has(PIXEL_DATA)) throw new Refusal("dicom.noPixels");
  if ((data.decimal(0x00280008) || 1) !== 1) throw new Refusal("dicom.frames");
  if (!["MONOCHROME1", "MONOCHROME2", "RGB"].includes(head.colour)) {
    throw new Refusal("dicom.colour", { colour: head.colour || "?" });
  }
  const channels = head.colour === "RGB" ? 3 : 1;
  const good = head.width > 0 && head.height > 0 && head.channels === channels && head.bits <= head.allocated;
  if (!good || !(channels === 3 ? [8] : [8, 16, 32]).includes(head.allocated)) {
    throw new Refusal("dicom.layout", { bits: head.allocated || "?" });
  }
  return head;
}

// Stored values: the lowest `bits` bits of each cell, in two's complement where they are signed.
function storedGreys(data, head) {
  const { at, length } = data.elements.get(PIXEL_DATA);
  const count = head.width * head.height;
  if (length < (count * head.allocated) / 8) throw new Refusal("image.short");
  const { view, little } = data.reader;
  const get = { 8: (i) => view.getUint8(at + i), 16: (i) => view.getUint16(at + 2 * i, little),
    32: (i) => view.getUint32(at + 4 * i, little) }[head.allocated];
  const range = 2 ** head.bits;
  return Float64Array.from({ length: count }, (_, i) => {
    const value = get(i) % range;
    return head.signed && value >= range / 2 ? value - range : value;
  });
}

// Luma of colours, in floats as the pipeline has it for DICOM.
function storedColours(data, head) {
  const { at, length } = data.elements.get(PIXEL_DATA);
  const count = head.width * head.height;
  if (length < 3 * count) throw new Refusal("image.short");
  const bytes = data.reader.bytes.subarray(at, at + 3 * count);
  const [pixel, colour] = head.planar ? [1, count] : [3, 1];
  return Float32Array.from({ length: count }, (_, i) => (
    0.299 * bytes[i * pixel] + 0.587 * bytes[i * pixel + colour] + 0.114 * bytes[i * pixel + 2 * colour]));
}

// A table of values: the entries, the first value it maps, and values outside take its ends.
function applyTable(greys, item, signed) {
  const entries = item.short(0x00283002, 0, 0) || 65536;
  const bits = item.short(0x00283002, 16, 2);
  let first = item.short(0x00283002, 0, 1);
  if (signed && first > 32767) first -= 65536;
  const table = item.elements.get(0x00283006);
  if (!table || table.length < (bits > 8 ? 2 : 1) * entries) throw new Refusal("image.broken");
  const wide = table.length >= 2 * entries;
  const { view, little } = item.reader;
  return greys.map((value) => {
    const place = Math.min(Math.max(Math.trunc(value) - first, 0), entries - 1);
    return wide ? view.getUint16(table.at + 2 * place, little) : view.getUint8(table.at + place);
  });
}

// PS3.3 C.11.2.1.2 and C.11.2.1.3. `low` and `high`: range of the output.
function applyWindow(greys, kind, centre, width, [low, high]) {
  const range = high - low;
  if (kind === "SIGMOID") return greys.map((v) => range / (1 + Math.exp((-4 * (v - centre)) / width)) + low);
  const exact = kind === "LINEAR_EXACT";
  const [c, w] = exact ? [centre, width] : [centre - 0.5, width - 1];
  return greys.map((v) => {
    if (v <= c - w / 2) return low;
    if (v > c + w / 2) return high;
    return ((v - c) / w + 0.5) * range + low;
  });
}

function outputRange(head, slope, intercept) {
  const [low, high] = head.signed ? [-(2 ** (head.bits - 1)), 2 ** (head.bits - 1) - 1] : [0, 2 ** head.bits - 1];
  return [low * slope + intercept, high * slope + intercept];
}

function meaning(data, head) {
  let greys = storedGreys(data, head);
  let range = outputRange(head, 1, 0);
  const [rescaling] = data.items(0x00283000);
  const slope = data.decimal(0x00281053);
  const intercept = data.decimal(0x00281052);
  if (rescaling) {
    greys = applyTable(greys, rescaling, head.signed);
    range = [0, 2 ** rescaling.short(0x00283002, 16, 2) - 1];
  } else if (Number.isFinite(slope) && Number.isFinite(intercept)) {
    greys = greys.map((value) => value * slope + intercept);
    range = outputRange(head, slope, intercept);
  }
  const [window] = data.items(0x00283010);
  if (window) return applyTable(greys, window, head.signed);
  const centre = data.decimal(0x00281050);
  const width = data.decimal(0x00281051);
  if (!Number.isFinite(centre) || !Number.isFinite(width)) return greys;
  const kind = data.text(0x00281056, "LINEAR").toUpperCase();
  if (width <= 0 || (kind === "LINEAR" && width < 1)) throw new Refusal("image.broken");
  return applyWindow(greys, kind, centre, width, range);
}

/**
 * Decode a DICOM file: rescaling, window and polarity (MONOCHROME1 is turned over) are applied.
 * Returns {width, height, format: 0, pixels: Float32Array}.
 */
export function decodeDicom(bytes, checkSize) {
  let data;
  try {
    data = parse(bytes);
  } catch (error) {
    // Reading beyond the end: a file that was cut within an element.
    throw error instanceof RangeError ? new Refusal("image.short") : error;
  }
  const head = describe(data);
  const { width, height } = head;
  checkSize(width, height);
  if (head.colour === "RGB") return { width, height, format: 0, pixels: storedColours(data, head) };
  const sign = head.colour === "MONOCHROME1" ? -1 : 1;
  return { width, height, format: 0, pixels: Float32Array.from(meaning(data, head), (value) => sign * value) };
}
