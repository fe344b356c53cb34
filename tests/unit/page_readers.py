"""Runs the page's readers of files with node."""

import base64
import json
import shutil
import subprocess
from importlib import resources

import numpy as np
import pytest

NODE = shutil.which("node")
needs_node = pytest.mark.skipif(NODE is None, reason="node is not installed")

RUN = """
import { readEcg } from './ecg.js';
import { readPicture } from './picture.js';
import { TEXTS } from './texts.js';
const input = JSON.parse(await new Response(process.stdin).text());
const bytes64 = (array) => Buffer.from(array.buffer, array.byteOffset, array.byteLength).toString('base64');
const answers = [];
for (const { kind, files, settings } of input) {
  const chosen = Object.entries(files).map(([name, text]) => new File([Buffer.from(text, 'base64')], name));
  try {
    if (kind === 'ecg') {
      const { rate = NaN, unit = 'mV', seconds = 10 } = settings;
      const read = await readEcg(chosen, { rate, unit }, seconds);
      answers.push({ ...read, leads: read.leads.map(bytes64) });
    } else {
      const read = await readPicture(chosen[0]);
      answers.push({ ...read, pixels: bytes64(read.pixels) });
    }
  } catch (error) {
    if (!(error.key in TEXTS.en)) throw error;
    answers.push({ refused: error.key, values: error.values });
  }
}
process.stdout.write(JSON.stringify(answers));
"""


def ask(questions):
    """Return what the page's readers make of (kind, files, settings)."""
    told = [
        {
            "kind": kind,
            "files": {name: base64.b64encode(data).decode() for name, data in files.items()},
            "settings": more,
        }
        for kind, files, more in questions
    ]
    folder = resources.files("riskweave.deployment") / "page"
    command = [NODE, "--no-warnings", "--experimental-default-type=module", "--input-type=module", "-e", RUN]
    done = subprocess.run(command, cwd=str(folder), input=json.dumps(told), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout)


def leads_of(answer):
    return np.stack([np.frombuffer(base64.b64decode(lead), dtype="<f8") for lead in answer["leads"]])


def greys_of(answer):
    """Return the greys that the module makes of the pixels."""
    data = base64.b64decode(answer["pixels"])
    shape = (answer["height"], answer["width"])
    if answer["format"] == 0:
        return np.frombuffer(data, dtype="<f4").reshape(shape)
    rgb = np.frombuffer(data, dtype=np.uint8).reshape(*shape, 3).astype(np.int64)
    return ((rgb @ [19595, 38470, 7471] + 32768) >> 16).astype(np.float32)
