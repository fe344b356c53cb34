// WFDB records: a header (.hea) and its signal files, as PhysioNet describes them in header(5) and signal(5).
import { Refusal } from "./wasm.js";

// Bytes of a signal file for so many samples of all its signals, and the value that stands for "missing".
const FORMATS = {
  8: { bytes: (n) => n, missing: null, read: readDifferences },
  16: { bytes: (n) => 2 * n, missing: -32768, read: each((view, i) => view.getInt16(2 * i, true)) },
  24: {
    bytes: (n) => 3 * n,
    missing: -8388608,
    read: each((view, i) => view.getUint16(3 * i, true) + 65536 * view.getInt8(3 * i + 2)),
  },
  32: { bytes: (n) => 4 * n, missing: -2147483648, read: each((view, i) => view.getInt32(4 * i, true)) },
  61: { bytes: (n) => 2 * n, missing: -32768, read: each((view, i) => view.getInt16(2 * i)) },
  80: { bytes: (n) => n, missing: -128, read: each((view, i) => view.getUint8(i) - 128) },
  160: { bytes: (n) => 2 * n, missing: -32768, read: each((view, i) => view.getUint16(2 * i, true) - 32768) },
  212: { bytes: (n) => Math.ceil(1.5 * n), missing: -2048, read: each(packed) },
  // Three samples of 10 bits in four bytes. The third's bits of 310 lie between those of the first two.
  310: { bytes: (n) => Math.ceil((4 * (n % 3 === 2 ? n + 1 : n)) / 3), missing: -512, read: each(packed310) },
  311: { bytes: (n) => Math.ceil((4 * n) / 3), missing: -512, read: each(packed311) },
};

// Plain loops over arrays of their full length: `from` with a function takes twenty times as long.
function filled(count, value) {
  const all = new Float64Array(count);
  for (let i = 0; i < count; i++) all[i] = value(i);
  return all;
}

function each(sample) {
  return (view, count) => filled(count, (i) => sample(view, i));
}

// Two samples of 12 bits in three bytes.
function packed(view, i) {
  const at = 3 * (i >> 1);
  const middle = view.getUint8(at + 1);
  const value = i % 2 ? view.getUint8(at + 2) + ((middle & 0xf0) << 4) : view.getUint8(at) + ((middle & 0x0f) << 8);
  return value > 2047 ? value - 4096 : value;
}

const signed10 = (value) => (value > 511 ? value - 1024 : value);

// The bytes of the block that a sample lies in; 0 beyond the end.
function block(view, i) {
  const at = 4 * Math.floor(i / 3);
  return [0, 1, 2, 3].map((k) => (at + k < view.byteLength ? view.getUint8(at + k) : 0));
}

function packed310(view, i) {
  const [a, b, c, d] = block(view, i);
  return signed10([(a >> 1) | ((b & 7) << 7), (c >> 1) | ((d & 7) << 7), (b >> 3) | ((d >> 3) << 5)][i % 3]);
}

function packed311(view, i) {
  const [a, b, c, d] = block(view, i);
  return signed10([a | ((b & 3) << 8), (b >> 2) | ((c & 15) << 6), (c >> 4) | ((d & 63) << 4)][i % 3]);
}

function readDifferences(view, count, signals) {
  const last = signals.map((signal) => signal.initial);
  return filled(count, (i) => {
    last[i % signals.length] += view.getInt8(i);
    return last[i % signals.length];
  });
}

function parseRecordLine(line) {
  const fields = line.split(/\s+/);
  const signals = Number(fields[1]);
  if (fields[0].includes("/")) throw new Refusal("wfdb.segments");
  const rate = Number((fields[2] ?? "250").split(/[/(]/)[0]);
  const samples = fields[3] === undefined || fields[3].includes(":") ? 0 : Number(fields[3]);
  if (!Number.isInteger(signals) || signals < 1 || !(rate > 0) || !Number.isInteger(samples) || samples < 0) {
    throw new Refusal("wfdb.header");
  }
  return { signals, rate, samples };
}

// Gain, baseline and unit: "200(0)/mV", or parts of it. Without a gain it is 200 a mV, as WFDB has it.
const GAIN_FORM = /^(-?(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d+)?)(?:\((-?\d+)\))?(?:\/(\S+))?$/i;

function parseGain(text) {
  const [, gain, baseline, unit] = GAIN_FORM.exec(text ?? "") ?? [];
  if (gain === undefined) return { found: false, gain: 200, baseline: NaN, unit: "mV" };
  return { found: true, gain: Number(gain) || 200, baseline: Number(baseline ?? NaN), unit: unit ?? "mV" };
}

function parseSignalLine(line) {
  const [file, layout, ...rest] = line.split(/\s+/);
  const [, format, perFrame, skew, offset] = /^(\d+)(?:x(\d+))?(?::(\d+))?(?:\+(\d+))?$/.exec(layout ?? "") ?? [];
  if (!format) throw new Refusal("wfdb.header");
  if (!FORMATS[format]) throw new Refusal("wfdb.format", { format });
  if (Number(perFrame ?? 1) !== 1) throw new Refusal("wfdb.frames");
  const { found, gain, baseline, unit } = parseGain(rest[0]);
  if (found) rest.shift();
  // Resolution, zero, first value, checksum, block size: each may be left out, with all that follow it.
  const numbers = [];
  while (numbers.length < 5 && /^-?\d+$/.test(rest[0] ?? "")) numbers.push(Number(rest.shift()));
  const [, zero = 0, initial = zero, checksum = null] = numbers;
  return {
    file, format, gain, unit, initial, checksum, name: rest.join(" "),
    skew: Number(skew ?? 0), offset: Number(offset ?? 0), baseline: Number.isNaN(baseline) ? zero : baseline,
  };
}

/** Read a header's text. */
function parseHeader(text) {
  const lines = text.split(/\r?\n/).map((line) => line.trim()).filter((line) => line && !line.startsWith("#"));
  if (!lines.length) throw new Refusal("wfdb.header");
  const record = parseRecordLine(lines[0]);
  const signals = lines.slice(1, 1 + record.signals).map(parseSignalLine);
  if (signals.length < record.signals) throw new Refusal("wfdb.header");
  return { rate: record.rate, samples: record.samples, signals };
}

function readFile(bytes, signals, samples, file) {
  const { format, offset } = signals[0];
  const { bytes: needed, read, missing } = FORMATS[format];
  if (signals.some((signal) => signal.format !== format)) throw new Refusal("wfdb.header");
  const width = signals.length;
  const room = bytes.length - offset;
  // Where the header does not say how many samples there are, the file's length does.
  const frames = samples || Math.floor((room * width) / needed(width * width));
  if (frames < 1 || room < needed(frames * width)) throw new Refusal("wfdb.short", { file });
  const view = new DataView(bytes.buffer, bytes.byteOffset + offset, room);
  const all = read(view, frames * width, signals);
  return signals.map((signal, place) => physical(signal, missing, frames, (i) => all[i * width + place]));
}

function physical(signal, missing, frames, at) {
  let sum = 0;
  const values = new Float64Array(frames).fill(NaN);
  for (let i = 0; i < frames; i++) {
    const digital = at(i);
    sum = (sum + digital) & 0xffff;
    if (digital !== missing && i >= signal.skew) values[i - signal.skew] = (digital - signal.baseline) / signal.gain;
  }
  const differs = signal.checksum !== null && ((signal.checksum - sum) & 0xffff) !== 0;
  return { name: signal.name, unit: signal.unit, values, differs };
}

/**
 * Read a record.
 *
 * `header`: the text of the .hea file; `files`: Map of file name to Uint8Array.
 * Returns {rate (Hz), signals: [{name, unit, values, differs}]}, NaN where a sample is missing; `differs` says that the
 * samples are not those that the header's checksum was made of.
 */
export function readWfdb(header, files) {
  const { rate, samples, signals } = parseHeader(header);
  const byFile = new Map();
  signals.forEach((signal, place) => {
    if (!byFile.has(signal.file)) byFile.set(signal.file, []);
    byFile.get(signal.file).push({ ...signal, place });
  });
  const read = [];
  for (const [file, own] of byFile) {
    const bytes = files.get(file);
    if (!bytes) throw new Refusal("wfdb.missing", { file });
    readFile(bytes, own, samples, file).forEach((signal, i) => { read[own[i].place] = signal; });
  }
  return { rate, signals: read };
}
