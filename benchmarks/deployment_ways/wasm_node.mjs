// The module of a bundle by Node, with the host and the readers of the page.
//
//   node wasm_node.mjs PAGE BUNDLE FOLDER
//
// PAGE: the page's scripts beside a package.json that calls them modules; FOLDER: patient.json, rec.hea, rec.dat,
// image.png. Then it reads lines: a number asks for the times of so many predictions; a path for the risks of the
// patients in a file, each a line in the form of golden.json.
import { readFileSync } from "node:fs";
import { createInterface } from "node:readline";

const [page, bundle, folder] = process.argv.slice(2);
const { goldenRisks, Model } = await import(`${page}/wasm.js`);
const { readEcg } = await import(`${page}/ecg.js`);
const { readPicture } = await import(`${page}/picture.js`);
const { hexOfDouble } = await import(`${page}/digest.js`);

const schema = JSON.parse(readFileSync(`${bundle}/schema.json`, "utf8"));
const model = await Model.start(readFileSync(`${bundle}/model.wasm`), schema);
const file = (name) => new File([readFileSync(`${folder}/${name}`)], name);
const tell = (content) => process.stdout.write(`${JSON.stringify(content)}\n`);

async function predict() {
  model.setPatient(JSON.parse(readFileSync(`${folder}/patient.json`, "utf8")));
  model.setEcg(await readEcg([file("rec.hea"), file("rec.dat")], {}, schema.ecg.seconds));
  model.setImage(await readPicture(file("image.png")));
  return Array.from(model.predict(), hexOfDouble);
}

tell({ risks: await predict() });
for await (const line of createInterface({ input: process.stdin })) {
  if (Number(line)) {
    const ms = [];
    for (let i = 0; i < Number(line); i++) {
      const began = performance.now();
      await predict();
      ms.push(performance.now() - began);
    }
    tell({ ms });
    continue;
  }
  const risks = [];
  for (const each of readFileSync(line, "utf8").split("\n").filter(Boolean)) {
    risks.push(Array.from(goldenRisks(model, JSON.parse(each)).risks, hexOfDouble));
  }
  tell({ risks });
}
