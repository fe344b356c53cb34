// From a user's file to the pixels that the module reads, and to something to look at.
import { decodeDicom, isDicom } from "./dicom.js";
import { checkFiles } from "./files.js";
import { decodePng, isPng } from "./png.js";
import { Refusal } from "./wasm.js";

const EDGE = 16384;
const PIXELS = 50e6;

function checkSize(width, height) {
  if (Math.min(width, height) < 2 || Math.max(width, height) > EDGE || width * height > PIXELS) {
    throw new Refusal("image.size", { width, height, edge: EDGE, millions: PIXELS / 1e6 });
  }
}

const isJpeg = (bytes) => bytes[0] === 0xff && bytes[1] === 0xd8 && bytes[2] === 0xff;

// Width, height and number of colours of a JPEG, and whether its data come to an end: a browser draws half a picture
// where the other half is missing, and says nothing.
function jpegFacts(bytes) {
  let facts = null;
  let at = 2;
  while (at + 10 < bytes.length && bytes[at] === 0xff) {
    const kind = bytes[at + 1];
    if (kind === 0xff) {
      at += 1;
      continue;
    }
    const length = bytes[at + 2] * 256 + bytes[at + 3];
    if (kind >= 0xc0 && kind <= 0xcf && ![0xc4, 0xc8, 0xcc].includes(kind)) {
      const height = bytes[at + 5] * 256 + bytes[at + 6];
      facts = { height, width: bytes[at + 7] * 256 + bytes[at + 8], channels: bytes[at + 9] };
    }
    at += 2 + length;
    if (kind === 0xda) break;
  }
  if (!facts) throw new Refusal("image.broken");
  for (let end = bytes.length - 1; end > at; end--) if (bytes[end] === 0xd9 && bytes[end - 1] === 0xff) return facts;
  throw new Refusal("image.short");
}

function canvasOf(width, height) {
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [width, height];
  return canvas.getContext("2d", { willReadFrequently: true });
}

// Some browsers add noise to what pages read from pictures, against tracking. The model must not see that.
function checkCanvas() {
  const context = canvasOf(16, 16);
  const picture = context.createImageData(16, 16);
  picture.data.forEach((_, i) => { picture.data[i] = i % 4 === 3 ? 255 : (i * 37) % 256; });
  context.putImageData(picture, 0, 0);
  const { data } = context.getImageData(0, 0, 16, 16);
  if (data.some((value, i) => value !== picture.data[i])) throw new Refusal("image.noise");
}

async function decodeJpeg(bytes) {
  const { width, height, channels } = jpegFacts(bytes);
  checkSize(width, height);
  if (channels > 3) throw new Refusal("image.cmyk");
  checkCanvas();
  let bitmap;
  try {
    bitmap = await createImageBitmap(new Blob([bytes], { type: "image/jpeg" }), { colorSpaceConversion: "none" });
  } catch {
    throw new Refusal("image.broken");
  }
  const context = canvasOf(bitmap.width, bitmap.height);
  context.drawImage(bitmap, 0, 0);
  const { data } = context.getImageData(0, 0, bitmap.width, bitmap.height);
  return { width: bitmap.width, height: bitmap.height, format: 2, pixels: data };
}

// The orientation (1 to 8) that a camera noted; 1 where there is none.
function orientation(exif) {
  if (!exif || exif.length < 14) return 1;
  const view = new DataView(exif.buffer, exif.byteOffset, exif.length);
  const little = exif[0] === 0x49;
  const start = view.getUint32(4, little);
  const entries = start + 2 <= exif.length ? view.getUint16(start, little) : 0;
  for (let at = start + 2; at + 12 <= Math.min(exif.length, start + 2 + 12 * entries); at += 12) {
    if (view.getUint16(at, little) === 0x0112) return view.getUint16(at + 8, little);
  }
  return 1;
}

/** Turn a picture upright: where the pixel of a row and column of the upright one lies in the stored one. */
function upright({ width, height, format, pixels, exif }) {
  const turn = orientation(exif);
  if (turn < 2 || turn > 8) return { width, height, format, pixels };
  const [w, h] = turn > 4 ? [height, width] : [width, height];
  const from = {
    2: (x, y) => [width - 1 - x, y], 3: (x, y) => [width - 1 - x, height - 1 - y], 4: (x, y) => [x, height - 1 - y],
    5: (x, y) => [y, x], 6: (x, y) => [y, height - 1 - x], 7: (x, y) => [width - 1 - y, height - 1 - x],
    8: (x, y) => [width - 1 - y, x],
  }[turn];
  const step = format === 0 ? 1 : 3;
  const turned = new pixels.constructor(pixels.length);
  for (let y = 0; y < h; y++) {
    for (let x = 0; x < w; x++) {
      const [column, row] = from(x, y);
      for (let k = 0; k < step; k++) turned[step * (y * w + x) + k] = pixels[step * (row * width + column) + k];
    }
  }
  return { width: w, height: h, format, pixels: turned };
}

/** Read the picture that a user chose. Returns {width, height, format, pixels, kind, file}. */
export async function readPicture(file) {
  checkFiles([file]);
  const bytes = new Uint8Array(await file.arrayBuffer());
  if (isPng(bytes)) return { ...upright(await decodePng(bytes, checkSize)), kind: "PNG", file: file.name };
  if (isJpeg(bytes)) return { ...await decodeJpeg(bytes), kind: "JPEG", file: file.name };
  if (isDicom(bytes)) return { ...decodeDicom(bytes, checkSize), kind: "DICOM", file: file.name };
  throw new Refusal("image.kind");
}

/** Draw greys or colours into a canvas no wider or higher than `edge`; greys go from their lowest to their highest. */
export function drawPicture(canvas, { width, height, format, pixels }, edge) {
  const scale = Math.min(1, edge / Math.max(width, height));
  [canvas.width, canvas.height] = [Math.max(1, Math.round(width * scale)), Math.max(1, Math.round(height * scale))];
  const context = canvas.getContext("2d");
  const shown = context.createImageData(canvas.width, canvas.height);
  let [low, high] = [Infinity, -Infinity];
  if (format === 0) {
    for (const value of pixels) {
      if (value < low) low = value;
      if (value > high) high = value;
    }
  }
  const step = format === 0 ? 1 : format + 2;
  for (let y = 0; y < canvas.height; y++) {
    for (let x = 0; x < canvas.width; x++) {
      const at = step * (Math.floor((y + 0.5) / canvas.height * height) * width
        + Math.floor((x + 0.5) / canvas.width * width));
      const to = 4 * (y * canvas.width + x);
      for (let k = 0; k < 3; k++) {
        shown.data[to + k] = format === 0 ? (255 * (pixels[at] - low)) / (high - low || 1) : pixels[at + k];
      }
      shown.data[to + 3] = 255;
    }
  }
  context.putImageData(shown, 0, 0);
}
