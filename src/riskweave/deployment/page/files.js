// What holds for every file that a user chooses.
import { Refusal } from "./wasm.js";

// Larger ones would take the browser's memory before anything could be said about them.
const LARGEST = 64 * 1024 * 1024;

/** Refuse files that are too large or empty. */
export function checkFiles(files) {
  if (files.some((file) => file.size > LARGEST)) throw new Refusal("file.large", { megabytes: LARGEST / 1024 ** 2 });
  if (files.some((file) => file.size === 0)) throw new Refusal("file.empty");
}
