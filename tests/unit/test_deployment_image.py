"""Pictures as the module reads and measures them, against the package; numpy.percentile where greys are chosen."""

import numpy as np
import PIL.Image
import pytest
import wasmtime

from riskweave.deployment.compile import compile_wasm, library
from riskweave.modalities.image import normalise, read_image, square
from riskweave.modalities.image_measurements import LOCAL_MEASUREMENTS, MEASUREMENTS
from riskweave.study.features import ImageFeatures
from riskweave.synthetic.image import Radiograph, render

SIZE = 64
NAMES = [name for name, *_ in (*MEASUREMENTS, *LOCAL_MEASUREMENTS)]
FEATURES = ImageFeatures(modality="image", size=SIZE, measurements=True, local_measurements=True)
RW_IMAGE_SIZE, RW_IMAGE_VALUE = 48, 49

MODEL = """
#include "image.h"
#include <stdlib.h>
#define EXPORT(name) __attribute__((export_name(#name), used)) name
const rw_description rw_model = {.image_size = %d, .image_measured = %d, .image_local = %d};
void *EXPORT(room)(size_t bytes) { return malloc(bytes); }
void EXPORT(leave)(void *room) { free(room); }
int EXPORT(read)(float *grey, int width, int height, float *prepared, double *measured) {
  return rw_image_read(grey, width, height, prepared, measured);
}
void EXPORT(grey)(const uint8_t *pixels, int count, int stride, float *grey) {
  rw_image_grey(pixels, count, stride, grey);
}
int EXPORT(square)(const float *pixels, int width, int height, int size, float *squared) {
  return rw_image_square(pixels, width, height, size, squared);
}
int EXPORT(chosen)(const float *grey, int count, int ranks, const int *rank, float *values) {
  return rw_image_select(grey, count, ranks, rank, values);
}
"""


class Module:
    """The compiled reader of pictures, as a host calls it."""

    def __init__(self, folder, *, size=SIZE, measured=1, local=1):
        sources = {name: text for name, text in library().items() if name.startswith("image") or name.endswith(".h")}
        binary = compile_wasm({**sources, "model.c": MODEL % (size, measured, local)}, folder)
        self.store = wasmtime.Store()
        module = wasmtime.Module(self.store.engine, binary)
        assert not module.imports
        self.exports = wasmtime.Instance(self.store, module, []).exports(self.store)
        self.exports["_initialize"](self.store)
        self.size = size

    def call(self, name, *arguments):
        return self.exports[name](self.store, *arguments)

    def put(self, array):
        """Return the address of a copy of the array."""
        array = np.ascontiguousarray(array)
        address = self.call("room", array.nbytes)
        self.exports["memory"].write(self.store, array.tobytes(), address)
        return address

    def take(self, address, shape, dtype):
        """Return a copy of the array at an address, whose room is given back."""
        dtype = np.dtype(dtype)
        end = address + int(np.prod(shape)) * dtype.itemsize
        array = np.frombuffer(bytes(self.exports["memory"].read(self.store, address, end)), dtype).reshape(shape)
        self.call("leave", address)
        return array

    def read(self, grey):
        height, width = grey.shape
        addresses = self.put(grey), self.put(np.zeros(self.size**2, np.float32)), self.put(np.zeros(len(NAMES)))
        code = self.call("read", addresses[0], width, height, *addresses[1:])
        self.call("leave", addresses[0])
        prepared = self.take(addresses[1], (self.size, self.size), np.float32)
        return code, prepared, dict(zip(NAMES, self.take(addresses[2], len(NAMES), float).tolist(), strict=True))


@pytest.fixture(scope="module")
def module(tmp_path_factory):
    return Module(tmp_path_factory.mktemp("image"))


def smooth(height, width):
    y, x = np.mgrid[0:height, 0:width] / max(height, width)
    return np.round(60 + 60 * x + 40 * y + 80 * np.exp(-(((x - 0.4) / 0.2) ** 2) - ((y - 0.6) / 0.15) ** 2))


def pictures():
    rng = np.random.default_rng(11)
    eight = smooth(96, 120).astype(np.uint8)
    noise = rng.integers(0, 256, size=(300, 200), dtype=np.uint8)
    palette = PIL.Image.fromarray(np.dstack([eight, 255 - eight, np.roll(eight, 30)])).quantize(40)
    spot = np.zeros((100, 100), np.uint8)
    spot[40, 70] = 9
    radiograph = render(radiograph=Radiograph(heart_size=0.8, texture=1.0), shape=(190, 160), rng=rng)
    return {
        "grey.png": eight,
        "inverted.png": 255 - eight,
        "sixteen.png": eight.astype(np.uint16) * 211 + 17,
        "colour.png": np.dstack([eight, noise[:96, :120], np.roll(eight, 9, 0)]),
        "alpha.png": np.dstack([eight, eight, 255 - eight, noise[:96, :120]]),
        "palette.png": palette,
        "one_bit.png": PIL.Image.fromarray(noise > 128),
        "colour.jpg": np.dstack([eight, np.roll(eight, 20, 1), 255 - eight]),
        "tiny.png": np.array([[3, 200, 40], [90, 91, 7]], np.uint8),
        "tall.png": noise[:, :11],
        "wide.png": smooth(17, 400).astype(np.uint8),
        "odd.png": noise[:255, :64],
        "same_size.png": noise[:64, :64],
        "same_edge.png": noise[:256, :],
        "blank.png": np.full((80, 70), 9, np.uint8),
        "spot.png": spot,
        "noise.png": rng.integers(0, 65536, size=(257, 319), dtype=np.uint16),
        "large.png": rng.integers(0, 65536, size=(700, 900), dtype=np.uint16) // 2 + 99,
        "radiograph.png": np.rint(255 * radiograph).astype(np.uint8),
    }


def decoded(path, module):
    """Return the greys as a host hands them over: 16 bit as they are, colours through the module."""
    with PIL.Image.open(path) as image:
        if image.mode.startswith("I"):
            return np.asarray(image, dtype=np.float32)
        pixels = np.asarray(image.convert("RGB"))
    height, width, _ = pixels.shape
    # A picture of three bytes a pixel at the end of the room for its greys.
    address = module.put(np.concatenate([np.zeros(height * width, np.uint8), pixels.ravel()]))
    module.call("grey", address + height * width, height * width, 3, address)
    return module.take(address, (height, width), np.float32)


@pytest.mark.parametrize("name", list(pictures()))
def test_pictures_are_read_and_measured_as_by_the_package(tmp_path, module, name):
    picture = pictures()[name]
    image = picture if isinstance(picture, PIL.Image.Image) else PIL.Image.fromarray(picture)
    image.save(tmp_path / name)
    expected, facts = read_image(tmp_path / name, features=FEATURES)
    code, prepared, measured = module.read(decoded(tmp_path / name, module))
    assert code == 0
    np.testing.assert_array_equal(prepared, expected)
    np.testing.assert_allclose(
        list(measured.values()), [facts[key] for key in NAMES], rtol=1e-9, atol=1e-13, err_msg=str(NAMES)
    )
    assert np.isnan(measured["contrast"]) == facts["blank"]


def test_greys_of_any_unit(module):
    """Hounsfield-like, tiny and huge greys, zeros of both signs, pictures like strips."""
    rng = np.random.default_rng(5)
    greys = rng.normal(size=(90, 61)).astype(np.float32)
    shapes = [np.linspace(0, 1, 3000, dtype=np.float32).reshape(shape) for shape in ((2, 1500), (1500, 2))]
    for grey in (
        1000 * greys, greys * np.float32(1e-38), greys * np.float32(1e37), -np.abs(greys),
        np.where(greys > 0, greys, np.copysign(0, greys)).astype(np.float32), np.round(greys), *shapes,
    ):  # fmt: skip
        code, prepared, _ = module.read(grey)
        assert code == 0
        np.testing.assert_array_equal(prepared, square(normalise(grey), size=SIZE))


def test_the_longest_strips(module):
    """The light in the square is that of the strip and its bars."""
    for shape in ((2, 16384), (16384, 2)):
        grey = np.linspace(0, 1, 2 * 16384, dtype=np.float32).reshape(shape)
        code, prepared, measured = module.read(grey)
        assert code == 0
        assert prepared.mean(dtype=float) == pytest.approx(0.5 * 2 / 16384, rel=1e-3)
        assert measured["grey_p50"] == pytest.approx(0.5, abs=1e-4)


def test_pictures_that_cannot_be_used_are_refused(module):
    for shape in ((1, 9), (9, 1), (2, 16385), (16385, 2)):
        assert module.read(np.zeros(shape, np.float32))[0] == RW_IMAGE_SIZE
    for value in (np.nan, np.inf, -np.inf, -np.nan):
        grey = np.arange(12, dtype=np.float32).reshape(3, 4)
        grey[1, 2] = value
        assert module.read(grey)[0] == RW_IMAGE_VALUE


def test_resizing_is_that_of_pillow(module):
    """Enlarged and reduced, to the bit."""
    rng = np.random.default_rng(7)
    for height, width, size in (
        (2, 2, 256),
        (5, 3, 224),
        (33, 47, 32),
        (224, 224, 224),
        (1000, 640, 224),
        (31, 900, 7),
    ):
        pixels = rng.random((height, width), dtype=np.float32)
        address, room = module.put(pixels), module.put(np.zeros(size**2, np.float32))
        assert module.call("square", address, width, height, size, room) == 0
        module.call("leave", address)
        np.testing.assert_array_equal(module.take(room, (size, size), np.float32), square(pixels, size=size))


def test_selection_is_that_of_sorting(module):
    rng = np.random.default_rng(3)
    for values in (rng.normal(size=4001), rng.integers(0, 5, 4001), 1e30 * rng.standard_cauchy(4001)):
        greys, rank = values.astype(np.float32), np.sort(rng.choice(4001, 16)).astype(np.int32)
        addresses = [module.put(array) for array in (greys, rank, np.zeros(16, np.float32))]
        assert module.call("chosen", addresses[0], 4001, 16, *addresses[1:]) == 0
        np.testing.assert_array_equal(module.take(addresses[2], 16, np.float32), np.sort(greys)[rank])


def test_measurements_are_made_where_the_model_asks_for_them(tmp_path):
    grey = smooth(40, 50).astype(np.float32)
    plain = Module(tmp_path / "plain", size=224, measured=0, local=0)
    code, prepared, measured = plain.read(grey)
    assert code == 0
    np.testing.assert_array_equal(prepared, square(normalise(grey), size=224))
    assert np.isnan(list(measured.values())).all()
    _, _, measured = Module(tmp_path / "local", size=32, measured=0, local=1).read(grey)
    assert [name for name, value in measured.items() if not np.isnan(value)] == NAMES[len(MEASUREMENTS) :]


def test_the_module_is_deterministic_after_other_pictures(module):
    """Scratch memory that one picture leaves behind says nothing to the next."""
    grey = smooth(64, 90).astype(np.float32)
    first = module.read(grey)
    module.read(np.random.default_rng(1).random((400, 300), dtype=np.float32))
    again = module.read(grey)
    np.testing.assert_array_equal(first[1], again[1])
    assert first[2] == again[2]
