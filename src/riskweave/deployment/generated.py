"""The C that emx-onnx-cgen writes for one network, taken apart: constants, functions of operators, and the calls.

The parts are what several networks can share. Text of any other form than expected is refused, never guessed at: a
new version of the generator is then a failing test, not a wrong model.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnx

__all__ = ["Array", "Call", "Constant", "Function", "GeneratedError", "Program", "generate", "parse"]

ENTRY = "riskweave_network"
"""Name of the entry point while the text is taken apart."""

_ARRAY = re.compile(r"(?P<const>const )?(?P<type>\w+) (?P<name>\w+)(?P<shape>(?:\[(?:restrict )?\d+\])+)")
_CONSTANT = re.compile(r"const EMX_UNUSED (\w+) (\w+)((?:\[\d+\])+) = \{(.*?)\n\};\n", re.DOTALL)
_DECLARED = re.compile(r"extern const \w+ \w+(?:\[\d+\])+;\n")
_HELPER = re.compile(r"static inline \w+ (\w+)\([^)]*\) \{\n.*?\n\}\n", re.DOTALL)
_FUNCTION = re.compile(r"EMX_NODE_FN void (\w+)\(([^)]*)\) (\{\n.*?\n\})\n", re.DOTALL)
_ENTRY = re.compile(rf"void {ENTRY}\(([^)]*)\) \{{\n(.*?)\n\}}\n", re.DOTALL)
_CALL = re.compile(r"(\w+)\(([\w, ]*)\);")
# Opens the file of the weights that are not in the text; this one has none to open.
_LOAD = re.compile(rf"_Bool {ENTRY}_load\(const char \*path\) \{{\n    \(void\)path;\n    return 1;\n\}}\n")
_COMMENT = re.compile(r"/\*.*?\*/\n", re.DOTALL)


class GeneratedError(RuntimeError):
    """The generator's text has another form than is known here: a fault of riskweave, not of the user."""


@dataclass(frozen=True)
class Array:
    """A parameter or a temporary value.

    Attributes
    ----------
    name : str
    kind : str
        Type of its elements in C.
    shape : tuple of int
    written : bool
        Not ``const``.
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    written: bool

    @property
    def size(self) -> int:
        """Number of elements."""
        size = 1
        for dimension in self.shape:
            size *= dimension
        return size


@dataclass(frozen=True)
class Constant:
    """Numbers of the network: element type and C literals, in the order of the memory."""

    kind: str
    literals: tuple[str, ...]


@dataclass(frozen=True)
class Function:
    """An operator at fixed sizes: parameters and body with its braces. Equal ones do the same, whatever their names."""

    parameters: tuple[Array, ...]
    body: str


@dataclass(frozen=True)
class Call:
    """One step of the network: a function and the names of its arguments."""

    function: str
    arguments: tuple[str, ...]


@dataclass(frozen=True)
class Program:
    """A network in parts.

    Attributes
    ----------
    constants : dict of str to Constant
    helpers : dict of str to str
        Functions of single numbers, whole text.
    functions : dict of str to Function
    temporaries : dict of str to Array
    calls : tuple of Call
    parameters : tuple of Array
        Of the entry point: inputs, then outputs.
    """

    constants: dict[str, Constant]
    helpers: dict[str, str]
    functions: dict[str, Function]
    temporaries: dict[str, Array]
    calls: tuple[Call, ...]
    parameters: tuple[Array, ...]


def generate(models: "Iterable[onnx.ModelProto]") -> list[Program]:
    """Return networks in C, all weights in the text.

    Raises
    ------
    UnsupportedOpError
        Of emx_onnx_cgen, when it does not know an operator of a network.
    GeneratedError
        When it wrote something that is not known here.
    """
    from emx_onnx_cgen import Compiler
    from emx_onnx_cgen.compiler import CompilerOptions

    # A threshold of 0 keeps weights in the text, which would otherwise go to a file that the module cannot open, and
    # temporaries out of malloc.
    options = CompilerOptions(model_name=ENTRY, large_weight_threshold=0, large_temp_threshold_bytes=0)
    compiler = Compiler(options)  # one for all: it reads its templates once
    return [parse(compiler.compile(model)) for model in models]


def parse(text: str) -> Program:
    """Take a whole file of the generator apart.

    Raises
    ------
    GeneratedError
        When a part is not of a known form.
    """
    head = text.find("\n\n", text.rfind("\n#endif\n"))
    if head < 0:
        raise GeneratedError("the generated C has no head of a known form")
    text = _COMMENT.sub("", text[head:])
    constants: dict[str, Constant] = {}
    helpers: dict[str, str] = {}
    functions: dict[str, Function] = {}
    temporaries: dict[str, Array] = {}
    entry = None
    for form, found in _items(text):
        if form is _CONSTANT:
            kind, name, _, body = found.groups()
            literals = tuple(body.translate(_SPACING).strip(",").split(","))
            constants[name] = Constant(kind, literals)
        elif form is _HELPER:
            helpers[found[1]] = found[0]
        elif form is _FUNCTION:
            functions[found[1]] = Function(_arrays(found[2]), found[3])
        elif form is _ENTRY:
            entry = found
    if entry is None:
        raise GeneratedError("the generated C has no entry point")
    calls = []
    for line in entry[2].splitlines():
        step, declared = _CALL.fullmatch(line.strip()), _ARRAY.fullmatch(line.strip().removesuffix(";"))
        if step:
            calls.append(Call(step[1], tuple(step[2].split(", "))))
        elif declared and not calls:
            temporaries[declared["name"]] = _array(declared)
        else:
            raise GeneratedError(f"the entry point of the generated C has an unknown line: {line.strip()!r}")
    return Program(constants, helpers, functions, temporaries, tuple(calls), _arrays(entry[1]))


_SPACING = str.maketrans(dict.fromkeys(" \n{}"))


def _items(text: str) -> Iterator[tuple[re.Pattern[str], re.Match[str]]]:
    """Yield what stands on the outermost level, piece by piece, and its form."""
    place, forms = 0, (_DECLARED, _CONSTANT, _HELPER, _FUNCTION, _LOAD, _ENTRY)
    while place < len(text):
        if text[place] == "\n":
            place += 1
            continue
        for form in forms:
            found = form.match(text, place)
            if found:
                yield form, found
                place = found.end()
                break
        else:
            raise GeneratedError(f"the generated C has an unknown part: {text[place : place + 80]!r}")


def _arrays(text: str) -> tuple[Array, ...]:
    found = [_ARRAY.fullmatch(part) for part in text.split(", ")]
    if None in found:
        raise GeneratedError(f"the generated C has unknown parameters: {text!r}")
    return tuple(_array(each) for each in found)


def _array(found: re.Match[str]) -> Array:
    shape = tuple(int(size) for size in re.findall(r"\d+", found["shape"]))
    return Array(found["name"], found["type"], shape, found["const"] is None)
