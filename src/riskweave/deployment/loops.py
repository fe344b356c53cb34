"""Convolutions of generated C, known by their text, so that faster loops can stand in for theirs.

emx-onnx-cgen writes a convolution as one loop for each output over channels and taps, with a test whether the tap is
inside the input. Compilers do not vectorise that. ``c/convolution.c`` sums the same products of each output in the same
order with neighbouring outputs side by side: many times as fast, and bit for bit the same. It reads the weights in
the order in which it needs them, which is made here.
"""

import math
import re
from dataclasses import dataclass, replace
from itertools import chain

from riskweave.deployment.generated import Constant, Function

__all__ = ["Convolution", "flat", "harmless", "maximum"]

TILE, BLOCK = 8, 4
"""As in ``c/convolution.h``."""

_INDEX = re.compile(r"const idx_t id(\d) = od\1 \* (\d+) \+ kd\1 \* (\d+) - (\d+);")


@dataclass(frozen=True)
class Convolution:
    """A convolution of one input, by axis: (y, x); recordings have one row.

    Attributes
    ----------
    groups : int
    inputs, outputs : int
        Channels of one group.
    size, result : tuple of int
        Places of input and output.
    taps, strides, dilations, pads : tuple of int
        `pads` before the first place.
    biased : bool
    """

    groups: int
    inputs: int
    outputs: int
    size: tuple[int, int]
    result: tuple[int, int]
    taps: tuple[int, int]
    strides: tuple[int, int]
    dilations: tuple[int, int]
    pads: tuple[int, int]
    biased: bool

    @classmethod
    def of(cls, function: Function) -> "Convolution | None":
        """Return what a function convolves, or None unless its text is exactly that of a convolution."""
        names = tuple(each.name for each in function.parameters)
        if names not in {("input0", "weights", "bias", "output"), ("input0", "weights", "output")}:
            return None
        entry, weights, result = function.parameters[0], function.parameters[1], function.parameters[-1]
        axes = len(entry.shape) - 2
        steps = {int(axis): tuple(map(int, rest)) for axis, *rest in _INDEX.findall(function.body)}
        if axes not in {1, 2} or sorted(steps) != list(range(axes)) or entry.shape[0] != 1:
            return None
        if {each.kind for each in function.parameters} != {"float"} or entry.shape[1] % weights.shape[1]:
            return None
        strides, dilations, pads = zip(*(steps[axis] for axis in range(axes)), strict=True)
        groups = entry.shape[1] // weights.shape[1]
        whole = (1,) * (2 - axes)
        found = cls(
            groups=groups,
            inputs=weights.shape[1],
            outputs=weights.shape[0] // groups,
            size=whole + entry.shape[2:],
            result=whole + result.shape[2:],
            taps=whole + weights.shape[2:],
            strides=whole + strides,
            dilations=whole + dilations,
            pads=(0,) * (2 - axes) + pads,
            biased="bias" in names,
        )
        if function.body.split() != _body(found, axes).split():
            return None
        return found._flat() if found.size == found.result and found.taps == (1, 1) == found.strides else found

    def _flat(self) -> "Convolution":
        """Return a convolution of single places as one of a single row: the shorter the rows, the slower the loops."""
        row = (1, self.size[0] * self.size[1])
        return replace(self, size=row, result=row)

    @property
    def scratch(self) -> int:
        """Numbers of four bytes in the memory that it works in."""
        start = -self.pads[1] // self.strides[1]
        end = ((self.taps[1] - 1) * self.dilations[1] - self.pads[1]) // self.strides[1]
        length = -(-self.result[1] // TILE) * TILE + end - start
        return self.inputs * self.taps[0] * (self.taps[1] + self.strides[1] * length)

    def packed(self, weights: Constant) -> Constant:
        """Return weights [channels][inputs][taps], or a bias [channels], by blocks of channels: a block's innermost."""
        each = len(weights.literals) // (self.groups * self.outputs)
        rows = [weights.literals[start : start + each] for start in range(0, len(weights.literals), each)]
        block = 1 if self.outputs < BLOCK else BLOCK
        ordered: list[str] = []
        for first in range(0, len(rows), self.outputs):
            group = rows[first : first + self.outputs]
            group += [("0.0f",) * each] * (-self.outputs % block)
            for start in range(0, len(group), block):
                ordered += chain.from_iterable(zip(*group[start : start + block], strict=True))
        return replace(weights, literals=tuple(ordered))

    def literal(self) -> str:
        """Return it as an ``rw_convolution_sizes`` in C."""
        pairs = (self.taps, self.strides, self.dilations, self.pads)
        channels = (self.groups, self.inputs, self.outputs)
        numbers = (*channels, *self.size, *self.result, *(number for pair in pairs for number in pair))
        return f"{{{', '.join(map(str, numbers))}}}"


def harmless(weights: Constant, bias: Constant | None) -> bool:
    """Tell whether zeros around the input leave every sum as it is: weights finite, and no bias of -0."""
    values = [float.fromhex(each.removesuffix("f")) for each in bias.literals] if bias else []
    infinite = {"INFINITY", "-INFINITY", "NAN"}.intersection(weights.literals)
    return not infinite and not any(value == 0 and math.copysign(1, value) < 0 for value in values)


def flat(function: Function) -> Function:
    """Return an operator of single numbers as one loop over all of them, and any other function as it is.

    Compilers write short inner loops out, and then find no vectors in them.
    """
    parameters = function.parameters
    if tuple(each.name for each in parameters) != ("input0", "output"):
        return function
    entry, result = parameters
    found = re.search(r" = (\w+)\(input0", function.body)
    if found is None or entry.shape != result.shape:
        return function
    names = [f"i{axis}" for axis in range(len(entry.shape))]
    sizes = zip(names, entry.shape, strict=True)
    loops = " ".join(f"for (idx_t {name} = 0; {name} < {size}; ++{name}) {{" for name, size in sizes)
    index, ends = "".join(f"[{name}]" for name in names), " }" * len(names)
    if function.body.split() != f"{{ {loops} output{index} = {found[1]}(input0{index});{ends} }}".split():
        return function
    body = f"{{\n    for (idx_t i = 0; i < {entry.size}; ++i) output[i] = {found[1]}(input0[i]);\n}}"
    return Function(tuple(replace(each, shape=(each.size,)) for each in parameters), body)


def maximum(helper: str) -> str:
    """Return a helper without a call of ``fmaxf``, which compares no vectors; in these words it gives the same bits."""
    return helper.replace("return fmaxf(a, b);", "return a < b || a != a ? b : a;")


def _body(found: Convolution, axes: int) -> str:
    """Return the body that the generator writes for a convolution, but for spaces."""
    skipped = 2 - axes
    places = range(axes)

    def index(letter: str) -> str:
        return "".join(f"[{letter}d{axis}]" for axis in places)

    def loops(letter: str, counts: tuple[int, int]) -> str:
        each = ((f"{letter}d{axis}", counts[axis + skipped]) for axis in places)
        return " ".join(f"for (idx_t {name} = 0; {name} < {count}; ++{name}) {{" for name, count in each)

    reads = " ".join(
        f"const idx_t id{axis} = od{axis} * {found.strides[axis + skipped]} + "
        f"kd{axis} * {found.dilations[axis + skipped]} - {found.pads[axis + skipped]};"
        for axis in places
    )
    inside = " && ".join(f"id{axis} >= 0 && id{axis} < {found.size[axis + skipped]}" for axis in places)
    return f"""{{
        for (idx_t n = 0; n < 1; ++n) {{
            for (idx_t g = 0; g < {found.groups}; ++g) {{
                for (idx_t oc = 0; oc < {found.outputs}; ++oc) {{
                    const idx_t oc_global = g * {found.outputs} + oc;
                    {loops("o", found.result)}
                        float acc = {"(float)bias[oc_global]" if found.biased else "0.0f"};
                        for (idx_t ic = 0; ic < {found.inputs}; ++ic) {{
                            const idx_t ic_global = g * {found.inputs} + ic;
                            {loops("k", found.taps)}
                                {reads}
                                if ({inside}) {{
                                    acc += (float)input0[n][ic_global]{index("i")} *
                                        (float)weights[oc_global][ic]{index("k")};
                                }}
                            {"} " * axes}
                        }}
                        output[n][oc_global]{index("o")} = (float)acc;
                    {"} " * axes}
                }}
            }}
        }}
    }}"""
