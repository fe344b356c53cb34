// PNG, decoded here: a browser's own decoder reduces 16 bits to 8, applies colour profiles and premultiplies alpha.
import { Refusal } from "./wasm.js";

const CHANNELS = { 0: 1, 2: 3, 3: 1, 4: 2, 6: 4 };
// First column and row of each pass of an interlaced picture, and the steps.
const PASSES = [[0, 0, 8, 8], [4, 0, 8, 8], [0, 4, 4, 8], [2, 0, 4, 4], [0, 2, 2, 4], [1, 0, 2, 2], [0, 1, 1, 2]];
const MAGIC = [137, 80, 78, 71, 13, 10, 26, 10];

const CRC = Int32Array.from({ length: 256 }, (_, byte) => {
  let value = byte;
  for (let bit = 0; bit < 8; bit++) value = value & 1 ? (value >>> 1) ^ 0xedb88320 : value >>> 1;
  return value;
});

function crc(bytes) {
  let value = -1;
  for (let i = 0; i < bytes.length; i++) value = CRC[(value ^ bytes[i]) & 255] ^ (value >>> 8);
  return ~value >>> 0;
}

export const isPng = (bytes) => MAGIC.every((byte, place) => bytes[place] === byte);

function* chunks(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  for (let at = 8; ;) {
    if (at + 12 > bytes.length) throw new Refusal("image.short");
    const length = view.getUint32(at);
    if (at + 12 + length > bytes.length) throw new Refusal("image.short");
    const kind = String.fromCharCode(...bytes.subarray(at + 4, at + 8));
    if (crc(bytes.subarray(at + 4, at + 8 + length)) !== view.getUint32(at + 8 + length)) {
      throw new Refusal("image.broken");
    }
    yield { kind, data: bytes.subarray(at + 8, at + 8 + length) };
    if (kind === "IEND") return;
    at += 12 + length;
  }
}

function parseHead(data) {
  const view = new DataView(data.buffer, data.byteOffset, data.length);
  const head = { width: view.getUint32(0), height: view.getUint32(4), depth: data[8], colour: data[9] };
  const good = CHANNELS[head.colour] && [1, 2, 4, 8, 16].includes(head.depth) && data[10] === 0 && data[12] < 2;
  if (!good) throw new Refusal("image.broken");
  return { ...head, interlaced: data[12] === 1, channels: CHANNELS[head.colour] };
}

function parts({ width, height, interlaced }) {
  if (!interlaced) return [{ x: 0, y: 0, dx: 1, dy: 1, columns: width, rows: height }];
  return PASSES.map(([x, y, dx, dy]) => ({
    x, y, dx, dy, columns: Math.ceil((width - x) / dx), rows: Math.ceil((height - y) / dy),
  })).filter(({ columns, rows }) => columns > 0 && rows > 0);
}

const rowBytes = ({ depth, channels }, columns) => Math.ceil((columns * channels * depth) / 8);

/** Inflate a zlib stream to exactly so many bytes: a stream that holds more is stopped, not unpacked. */
async function inflate(pieces, length) {
  const stream = new Blob(pieces).stream().pipeThrough(new DecompressionStream("deflate"));
  const whole = new Uint8Array(length);
  let at = 0;
  try {
    const reader = stream.getReader();
    for (let step = await reader.read(); !step.done && at < length; step = await reader.read()) {
      const room = step.value.subarray(0, length - at);
      whole.set(room, at);
      at += room.length;
    }
    reader.cancel().catch(() => {});
  } catch {
    throw new Refusal("image.broken");
  }
  if (at < length) throw new Refusal("image.short");
  return whole;
}

function paeth(a, b, c) {
  const p = a + b - c;
  const [pa, pb, pc] = [Math.abs(p - a), Math.abs(p - b), Math.abs(p - c)];
  if (pa <= pb && pa <= pc) return a;
  return pb <= pc ? b : c;
}

function unfilter(kind, row, above, step) {
  if (kind > 4) throw new Refusal("image.broken");
  for (let i = 0; kind && i < row.length; i++) {
    const left = i >= step ? row[i - step] : 0;
    const up = above ? above[i] : 0;
    const corner = above && i >= step ? above[i - step] : 0;
    if (kind === 1) row[i] += left;
    else if (kind === 2) row[i] += up;
    else if (kind === 3) row[i] += (left + up) >> 1;
    else row[i] += paeth(left, up, corner);
  }
}

// Sample `i` of a row.
function sample(row, i, depth) {
  if (depth === 8) return row[i];
  if (depth === 16) return (row[2 * i] << 8) | row[2 * i + 1];
  const bit = i * depth;
  return (row[bit >> 3] >> (8 - depth - (bit & 7))) & ((1 << depth) - 1);
}

// What becomes of a pixel: one grey, or red, green and blue of 8 bits.
function writer(head, palette, pixels) {
  const { depth, colour, channels, width } = head;
  const shift = depth === 16 ? 8 : 0;
  if (colour === 0) {
    const scale = depth < 8 ? 255 / ((1 << depth) - 1) : 1;
    return (row, i, x, y) => { pixels[y * width + x] = sample(row, i, depth) * scale; };
  }
  return (row, i, x, y) => {
    const at = 3 * (y * width + x);
    if (colour === 3) {
      const entry = 3 * sample(row, i, depth);
      if (entry >= palette.length) throw new Refusal("image.broken");
      pixels.set(palette.subarray(entry, entry + 3), at);
      return;
    }
    for (let k = 0; k < 3; k++) {
      pixels[at + k] = sample(row, i * channels + (colour === 4 ? 0 : k), depth) >> shift;
    }
  };
}

function unpack(head, raw, palette) {
  const { width, height, depth, channels, colour } = head;
  const grey = colour === 0;
  const pixels = grey ? new Float32Array(width * height) : new Uint8Array(3 * width * height);
  const write = writer(head, palette, pixels);
  const step = Math.max((channels * depth) >> 3, 1);
  let at = 0;
  for (const { x, y, dx, dy, columns, rows } of parts(head)) {
    const length = rowBytes(head, columns);
    let above = null;
    for (let row = 0; row < rows; row++, at += length + 1) {
      const bytes = raw.subarray(at + 1, at + 1 + length);
      unfilter(raw[at], bytes, above, step);
      for (let i = 0; i < columns; i++) write(bytes, i, x + i * dx, y + row * dy);
      above = bytes;
    }
  }
  return { width, height, format: grey ? 0 : 1, pixels };
}

/**
 * Decode a PNG as the Python pipeline does: greys keep their 16 bits, colours of 16 bits keep the upper 8, transparency
 * is left out. `checkSize(width, height)` may refuse before anything is unpacked.
 * Returns {width, height, format: 0 grey floats or 1 RGB bytes, pixels, exif: bytes or null}.
 */
export async function decodePng(bytes, checkSize) {
  let head = null;
  let palette = new Uint8Array(0);
  let exif = null;
  const pieces = [];
  for (const { kind, data } of chunks(bytes)) {
    if (kind === "IHDR") {
      head = parseHead(data);
      checkSize(head.width, head.height);
    } else if (kind === "PLTE") palette = data;
    else if (kind === "IDAT") pieces.push(data);
    else if (kind === "eXIf") exif = data;
  }
  if (!head || !pieces.length) throw new Refusal("image.broken");
  const length = parts(head).reduce((sum, { columns, rows }) => sum + rows * (rowBytes(head, columns) + 1), 0);
  return { ...unpack(head, await inflate(pieces, length), palette), exif };
}
