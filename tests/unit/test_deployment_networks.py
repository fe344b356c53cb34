"""Networks in C against torch in double precision and ONNX Runtime; faster loops against the plain ones, bit by bit."""

import copy
import os
import re
import subprocess
import sys

import numpy as np
import onnxruntime
import pytest
import torch
import wasmtime
from torch import nn

from riskweave.deployment.compile import compile_wasm, library
from riskweave.deployment.generated import GeneratedError, generate, parse
from riskweave.deployment.linking import link
from riskweave.deployment.loops import Convolution
from riskweave.deployment.networks import networks_source, to_onnx
from riskweave.errors import StudyError
from riskweave.networks.cnn import CNN, SmallCNN
from riskweave.networks.mlp import MLP
from riskweave.networks.tcn import TCN
from riskweave.survival.encoding.network import Ensemble, Member
from riskweave.survival.heads import make_head
from riskweave.survival.training.task import Whole

LARGEST = 64 * 64


def shaken(module, seed):
    """Return a module with random weights and statistics, as if it had been trained, in evaluation mode."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for each in module.parameters():
            spread = 1 / each[0].numel() ** 0.5 if each.ndim > 1 else 0.1
            each.copy_(spread * torch.randn(each.shape, generator=generator))
        for name, each in module.named_buffers():
            if name.endswith(("running_mean", "scale.mean")):
                each.copy_(0.2 * torch.randn(each.shape, generator=generator))
            elif name.endswith(("running_var", "scale.std")):
                each.copy_(0.5 + torch.rand(each.shape, generator=generator))
    return module.eval()


def head(kind, features, *, causes=2):
    options = {} if kind == "deep_surv" else {"intervals": 6}
    made = make_head(kind, causes=causes, **options)
    made.learnt["cuts"] = [100.0 * place for place in range(7)]
    made.connect(features)
    return made


def ensemble(make, members):
    """Return the encoder of a fold: networks that read inputs scaled alike."""
    made = []
    for seed in range(members):
        net = make()
        each = shaken(Member(net, head("logistic_hazard", net.features), null=torch.tensor([-3.0, -2.0])), seed)
        each.matrix.copy_(torch.randn(each.matrix.shape, generator=torch.Generator().manual_seed(seed)))
        each.net.scale.load_state_dict((made or [each])[0].net.scale.state_dict())
        made.append(each)
    width = made[0].features
    both = {"centre": torch.linspace(-1, 1, width), "factor": torch.linspace(1, 2, width)}
    return Ensemble(made, **both, signal=True, prepared={}).eval()


def whole(kind):
    return shaken(Whole(MLP(9, hidden=(16, 8), dropout=0.2), head(kind, 8)), 5)


class Odd(nn.Module):
    """Convolutions in groups, of one dimension, without bias, of single places, with all taps outside at the edge."""

    def __init__(self):
        super().__init__()
        self.maps = nn.Sequential(
            nn.Conv2d(1, 6, 3, stride=2, padding=2, bias=False),
            nn.Conv2d(6, 12, (3, 2), padding=(5, 1), dilation=(5, 2), groups=3),
            nn.Conv2d(12, 12, 5, padding=2, groups=12),
            nn.Conv2d(12, 7, 1),
            nn.Conv2d(7, 5, 1, stride=3),
        )
        self.rows = nn.Conv1d(5, 6, 4, stride=2, padding=3)

    def forward(self, x):
        return self.rows(self.maps(x.unsqueeze(1)).flatten(2)).amax(dim=2)


def tcn(**options):
    return TCN(12, **{"channels": 8, "blocks": 2, "kernel_size": 5, "embedding": 4, "dropout": 0.1, **options})


@pytest.fixture(scope="module")
def networks():
    """Return networks and the shapes of their inputs."""
    return {
        "recording": (ensemble(tcn, 3), (1, 12, 250)),
        "causal": (ensemble(lambda: tcn(kernel_size=4, causal=True, stride=3), 1), (1, 12, 101)),
        "picture": (ensemble(lambda: SmallCNN(embedding=4, dropout=0.1), 2), (1, 64, 64)),
        "odd": (shaken(Odd(), 3), (1, 21, 19)),
        **{kind: (whole(kind), (1, 9)) for kind in ("logistic_hazard", "mtlr", "deep_surv")},
    }


@pytest.fixture(scope="module")
def graphs(networks):
    return {name: to_onnx(module, {"input": torch.zeros(shape)}) for name, (module, shape) in networks.items()}


@pytest.fixture(scope="module")
def programs(graphs):
    return dict(zip(graphs, generate(graphs.values()), strict=True))


class Host:
    """A module with these networks alone."""

    def __init__(self, source, names, folder):
        glue = [f"static float input[{LARGEST}], output[64];"]
        export = '__attribute__((export_name("{0}")))'
        glue += [export.format(name) + f" float *get_{name}(void) {{ return {name}; }}" for name in ("input", "output")]
        for name in names:
            glue.append(f"void {name}(const float *, float *);")
            glue.append(export.format(f"run_{name}") + f" void run_{name}(void) {{ {name}(input, output); }}")
        shared = {name: text for name, text in library().items() if name.startswith("convolution.")}
        self.wasm = compile_wasm({**shared, "networks.c": source, "glue.c": "\n".join(glue) + "\n"}, folder)
        self.store = wasmtime.Store()
        self.module = wasmtime.Module(self.store.engine, self.wasm)
        self.exports = wasmtime.Instance(self.store, self.module, []).exports(self.store)
        self.exports["_initialize"](self.store)

    def __call__(self, name, values, count):
        memory = self.exports["memory"]
        memory.write(self.store, values.astype("<f4").tobytes(), self.exports["input"](self.store))
        self.exports[f"run_{name}"](self.store)
        place = self.exports["output"](self.store)
        return np.frombuffer(memory.read(self.store, place, place + 4 * count), "<f4").copy()


@pytest.fixture(scope="module")
def host(programs, tmp_path_factory):
    return Host(link(programs, prefix="all"), programs, tmp_path_factory.mktemp("networks"))


def inputs(shape, count=3):
    rng = np.random.default_rng(7)
    return [np.zeros(shape, np.float32), *(rng.normal(size=shape).astype(np.float32) for _ in range(count))]


def network_source(module, shape, name):
    """Return a C file with one network."""
    return networks_source({name: (module, shape)}, prefix=name)


def test_networks_agree_with_torch_in_double_precision_and_with_onnx_runtime(networks, graphs, host):
    for name, (module, shape) in networks.items():
        double, session = copy.deepcopy(module).double(), onnxruntime.InferenceSession(graphs[name].SerializeToString())
        for values in inputs(shape):
            with torch.no_grad():
                expected = double(torch.from_numpy(values).double()).numpy().ravel()
            found = host(name, values, len(expected))
            np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6, err_msg=name)
            other = session.run(None, {"input": values})[0].ravel()
            np.testing.assert_allclose(found, other, rtol=2e-6, atol=2e-6, err_msg=name)


def test_faster_loops_give_the_bits_of_the_plain_ones(networks, programs, host, tmp_path):
    plain = link(programs, prefix="all", plain=True)
    slow = Host(plain, programs, tmp_path)
    assert plain.count("oc_global = ") >= 15
    assert "oc_global" not in link(programs, prefix="all")
    for name, (module, shape) in networks.items():
        for values in inputs(shape):
            with torch.no_grad():
                count = module(torch.from_numpy(values)).numel()
            assert host(name, values, count).tobytes() == slow(name, values, count).tobytes(), name


def test_the_module_imports_nothing_and_is_little_more_than_the_weights(networks, host):
    weights = sum(each.numel() for module, _ in networks.values() for each in module.parameters())
    assert not list(host.module.imports)
    assert len(host.wasm) < 4 * weights + 60_000


def test_members_share_code_memory_and_the_scaling_of_their_input(programs):
    def counts(source):
        kinds = (r"\bstatic void \w+_f\d+\(", r"\bstatic _Alignas\(16\) float \w+\[(\d+)\]")
        functions, room = (re.findall(kind, source) for kind in kinds)
        return len(functions), [int(size) for size in room]

    three = programs["recording"]
    source = link({"a": three}, prefix="a")
    functions, (room,) = counts(source)
    assert functions < len(three.functions) / 2
    assert counts(link({"a": three, "b": three, "c": three}, prefix="a")) == (functions, [room])
    assert room < 5 * 12 * 250
    # The three members read one recording, scaled once.
    assert source[source.index("void a(const float *input") :].count("(const void *)input") == 1


def test_the_largest_kernels_and_every_size_of_a_convolution(tmp_path):
    """Against loops of the test's own, at random sizes."""
    rng = np.random.default_rng(3)
    sizes = [case for case in (convolution(rng) for _ in range(120)) if case is not None]
    assert len(sizes) > 60
    largest = max(each.scratch for each in sizes)
    source = PLAIN.format(
        count=len(sizes), sizes=",\n".join(each.literal() for each in sizes), scratch=largest, room=200_000
    )
    shared = {name: text for name, text in library().items() if name.startswith("convolution.")}
    wasm = compile_wasm({**shared, "check.c": source}, tmp_path)
    store = wasmtime.Store()
    exports = wasmtime.Instance(store, wasmtime.Module(store.engine, wasm), []).exports(store)
    differ = [sizes[place] for place in range(len(sizes)) if exports["differ"](store, place)]
    assert not differ


def convolution(rng):
    """Return a random convolution, or None where no output is left."""
    pick = lambda low, high: int(rng.integers(low, high + 1))  # noqa: E731
    taps, strides, dilations = (pick(1, 4), pick(1, 9)), (pick(1, 3), pick(1, 4)), (pick(1, 3), pick(1, 5))
    pads, size = (pick(0, 5), pick(0, 20)), (pick(1, 9), pick(1, 40))
    result = tuple(
        (size[axis] + 2 * pads[axis] - dilations[axis] * (taps[axis] - 1) - 1) // strides[axis] + 1 for axis in (0, 1)
    )
    channels = (pick(1, 3), pick(1, 5), pick(1, 9))
    return (
        Convolution(*channels, size, result, taps, strides, dilations, pads, bool(pick(0, 1)))
        if min(result) > 0
        else None
    )


PLAIN = """
#include <stdint.h>
#include <string.h>
#include "convolution.h"
static const rw_convolution_sizes sizes[{count}] = {{
{sizes}
}};
static float input[{room}], weights[{room}], bias[{room}], output[{room}], expected[{room}], scratch[{scratch} + 1];
static float packed[{room}], packed_bias[{room}];
static uint32_t state = 1;
static float draw(void) {{
  state = state * 1664525u + 1013904223u;
  return ((int32_t)state >> 8) / 1e6f;
}}
__attribute__((export_name("differ"))) int differ(int which) {{
  const rw_convolution_sizes *s = &sizes[which];
  const int all = s->groups * s->outputs;
  for (int i = 0; i < {room}; ++i) input[i] = draw(), weights[i] = draw(), bias[i] = draw(), output[i] = 7;
  for (int i = 0; i <= {scratch}; ++i) scratch[i] = 3;
  const int block = s->outputs < RW_BLOCK ? 1 : RW_BLOCK, taps = s->inputs * s->taps_y * s->taps_x;
  for (int i = 0; i < {room}; ++i) packed[i] = packed_bias[i] = 0;
  for (int c = 0; c < all; ++c) {{
    const int own = c % s->outputs, padded = (s->outputs + block - 1) / block * block;
    const int place = c / s->outputs * padded + own / block * block;
    packed_bias[place + own % block] = bias[c];
    for (int t = 0; t < taps; ++t) packed[(place * taps) + t * block + own % block] = weights[c * taps + t];
  }}
  for (int biased = 0; biased < 2; ++biased) {{
    for (int c = 0; c < all; ++c)
      for (int y = 0; y < s->rows; ++y)
        for (int x = 0; x < s->columns; ++x) {{
          float sum = biased ? bias[c] : 0.0f;
          for (int i = 0; i < s->inputs; ++i)
            for (int j = 0; j < s->taps_y; ++j)
              for (int k = 0; k < s->taps_x; ++k) {{
                const int v = y * s->stride_y + j * s->dilation_y - s->pad_y;
                const int u = x * s->stride_x + k * s->dilation_x - s->pad_x;
                if (v < 0 || v >= s->height || u < 0 || u >= s->width) continue;
                const int channel = c / s->outputs * s->inputs + i;
                sum += input[(channel * s->height + v) * s->width + u] *
                       weights[((c * s->inputs + i) * s->taps_y + j) * s->taps_x + k];
              }}
          expected[(c * s->rows + y) * s->columns + x] = sum;
        }}
    rw_convolution(s, input, packed, biased ? packed_bias : 0, output, scratch);
    if (memcmp(output, expected, sizeof(float) * all * s->rows * s->columns)) return 1;
    if (output[all * s->rows * s->columns] != 7 || scratch[{scratch}] != 3) return 2;
  }}
  return 0;
}}
"""


def test_text_of_another_form_is_left_as_it_is_or_refused(programs):
    functions = programs["causal"].functions.values()
    known = [each for each in functions if Convolution.of(each) is not None]
    assert len(known) == 3
    for before, after in ((" += ", " -= "), ("ic_global = g * ", "ic_global = 0 * "), ("float acc", "double acc")):
        other = copy.copy(known[0])
        object.__setattr__(other, "body", known[0].body.replace(before, after))
        assert other.body != known[0].body
        assert Convolution.of(other) is None
    with pytest.raises(GeneratedError, match="no head"):
        parse("int main(void) { return 0; }\n")
    with pytest.raises(GeneratedError, match="unknown part"):
        parse("#ifndef A\n#define A\n#endif\n\nint main(void) { return 0; }\n")


def test_a_bias_of_minus_zero_keeps_the_plain_loops():
    module = nn.Conv1d(2, 3, 3, padding=1).eval()
    with torch.no_grad():
        module.bias.copy_(torch.tensor([0.0, 1.0, -0.0]))
    source = network_source(module, (1, 2, 9), "rw")
    assert "oc_global" in source
    assert "-0x0.0p+0f" in source


def test_diverged_networks_are_refused():
    module = nn.Linear(2, 3)
    with torch.no_grad():
        module.bias[1] = torch.nan
    with pytest.raises(ValueError, match="not finite"):
        network_source(module, (1, 2), "rw")


def test_networks_that_are_too_large_for_one_file_are_refused():
    with torch.device("meta"):
        module = nn.Linear(6000, 6000)
    with pytest.raises(StudyError, match=r"36\.0 million weights; up to 25 million"):
        network_source(module, (1, 6000), "rw")


AGAIN = """
import hashlib, torch
from riskweave.deployment.networks import networks_source, to_onnx
torch.manual_seed(1)
module = torch.nn.Sequential(torch.nn.Conv1d(2, 3, 3), torch.nn.Softplus(), torch.nn.Flatten(), torch.nn.Linear(21, 2))
onnx = to_onnx(module.eval(), {"input": torch.zeros(1, 2, 9)}).SerializeToString(deterministic=True)
source = networks_source({"rw": (module, (1, 2, 9))}, prefix="rw").encode()
print(hashlib.sha256(onnx).hexdigest(), hashlib.sha256(source).hexdigest())
"""


def test_another_process_writes_the_same_bytes(capsys, tmp_path):
    exec(compile(AGAIN, "again", "exec"), {})
    run = [sys.executable, "-W", "error::UserWarning", "-c", AGAIN]
    done = subprocess.run(
        run, capture_output=True, text=True, check=True, cwd=tmp_path, env={**os.environ, "PYTHONHASHSEED": "5"}
    )
    assert done.stdout == capsys.readouterr().out
    assert not done.stderr


def test_graphs_tell_nothing_of_the_machine(graphs):
    for graph in graphs.values():
        written = graph.SerializeToString()
        for trace in (b".py", b"File ", os.sep.encode() + b"src", b"torch.ops", b"cu1"):
            assert trace not in written
        assert not any(node.metadata_props or node.doc_string for node in graph.graph.node)


def test_a_network_of_torchvision_is_translated(tmp_path):
    """SqueezeNet has poolings that reach over the edge."""
    module = shaken(CNN("squeezenet1_1", embedding=4, dropout=0.1), 1)
    host = Host(network_source(module, (1, 64, 64), "squeeze"), ["squeeze"], tmp_path)
    values = inputs((1, 64, 64))[1]
    with torch.no_grad():
        expected = module.double()(torch.from_numpy(values).double()).numpy().ravel()
    np.testing.assert_allclose(host("squeeze", values, 4), expected, rtol=1e-5, atol=1e-6)
