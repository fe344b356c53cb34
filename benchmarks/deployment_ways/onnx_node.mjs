// model.onnx by onnxruntime-web in Node, on one thread, from prepared inputs: it reads neither events nor files.
//
//   node onnx_node.mjs PACKAGE BUNDLE INPUTS
import { readFileSync } from "node:fs";
import { createInterface } from "node:readline";

const [found, bundle, inputs] = process.argv.slice(2);
const ort = await import(`${found}/dist/ort.node.min.mjs`);
ort.env.wasm.numThreads = 1;
ort.env.logLevel = "error";
const session = await ort.InferenceSession.create(new Uint8Array(readFileSync(`${bundle}/model.onnx`)), {
  executionProviders: ["wasm"],
});
const kinds = { float64: Float64Array, float32: Float32Array };
const given = Object.fromEntries(Object.entries(JSON.parse(readFileSync(inputs, "utf8"))).map(
  ([name, { kind, shape, values }]) => [
    name, new ort.Tensor(kind, kinds[kind].from(values, (value) => value ?? NaN), shape)]));
const tell = (content) => process.stdout.write(`${JSON.stringify(content)}\n`);
const first = await session.run(given);
tell({ risks: Array.from(Object.values(first)[0].data) });
for await (const line of createInterface({ input: process.stdin })) {
  const ms = [];
  for (let i = 0; i < Number(line); i++) {
    const began = performance.now();
    await session.run(given);
    ms.push(performance.now() - began);
  }
  tell({ ms });
}
