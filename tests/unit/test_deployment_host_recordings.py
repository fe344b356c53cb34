"""The module's recordings: when they are there, what is read of them, and which are refused."""

import numpy as np
import pytest
import torch
from deployed import deployed, leads_of, number, recipe, static

from riskweave.deployment.recipe import Column, Cox, Encoder, FeatureSet, Member, Term
from riskweave.deployment.runtime.module import FLAT, MOVES, NONE, ModuleError, PatientError
from riskweave.deployment.runtime.readers import parse_ecg
from riskweave.deployment.runtime.reading import LEADS
from riskweave.deployment.runtime.stored import Layout, Numbers, Stored
from riskweave.study.features import EcgFeatures, ImageFeatures

READERS = """
#include "internal.h"
static int reads;
static double given[12 * 1000];
RW_EXPORT(test_given) const double *test_given(void) { return given; }
RW_EXPORT(test_reads) int test_reads(void) { return reads; }
int rw_ecg_read(double *leads, int samples, double rate, float *prepared, double *measured) {
  reads++;
  for (int i = 0; i < 12 * samples && samples <= 1000; i++) given[i] = leads[i];
  if (rate < 50) return RW_ECG_RATE;
  for (int i = 0; i < 12 * 1000; i++) prepared[i] = 0;
  prepared[0] = (float)leads[11 * samples];
  measured[0] = leads[0];
  measured[1] = samples / rate;
  leads[0] = 77;
  return 0;
}
int rw_image_read(float *grey, int width, int height, float *prepared, double *measured) {
  if (width < 2) return RW_IMAGE_SIZE;
  prepared[0] = grey[0];
  prepared[1] = grey[width * height - 1];
  measured[2] = width + 1000.0 * height;
  return 0;
}
void rw_image_grey(const uint8_t *pixels, int count, int stride, float *grey) {
  for (int i = 0; i < count; i++) grey[i] = pixels[stride * i] + pixels[stride * i + 1] + pixels[stride * i + 2];
}
void encoder_0_0(const float *x, float *y) { reads += 100; y[0] = x[0]; y[1] = 10 * x[0]; }
void encoder_0_1(const float *x, float *y) { y[0] = x[0] + x[1]; }
"""


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """Return a module of recordings alone, whose design is what was read: ECG's two embeddings, the image's, masks."""
    sets = (FeatureSet("ehr", "ehr", "always"), FeatureSet("ecg", "ecg", "ecg"), FeatureSet("image", "image", "image"))
    columns = [
        *static("x"),
        Column("ecg.first", 1, 0, "ecg", unit="mV", usual=(-1.0, 1.0)),
        Column("ecg.seconds", 1, 1, "ecg"),
        Column("image.edges", 2, 2, "image"),
    ]
    terms = (
        Term("number", 1, -1, 0.0, 1.0, fill=0.0),
        Term("number", 1, -2, 0.0, 1.0, fill=0.0),
        Term("number", 2, -3, 0.0, 1.0, fill=0.0),
        Term("number", 1, 1, 0.0, 1.0, fill=0.0),
        Term("number", 2, 3, 0.0, 1.0, fill=0.0),
    )
    nothing = torch.nn.Identity()
    encoders = (Encoder("ecg", 1, 0, 2, nothing), Encoder("image", 2, 2, 1, nothing))
    weights = 10.0 ** -np.array([[1, 2, 3, 4, 5, 6, 7]])
    model = Cox(weights, np.zeros((1, 7)), [(np.array([1.0]), np.array([1.0]))])
    of = recipe(
        [number("x")],
        columns,
        sets=sets,
        members=[Member(terms, (1, 2), 3, encoders, model)],
        ecg=EcgFeatures(modality="ecg", sampling_rate=100, seconds=10.0),
        image=ImageFeatures(modality="image", size=32),
    )
    probe = "RW_EXPORT(test_design) const double *test_design(void) { return rw_memory.design; }\n"
    return deployed(of, tmp_path_factory.mktemp("recorded"), readers=READERS + probe)


def design_of(module):
    return module.host.read(module.host.call("test_design"), 7).tolist()


def leads(first=0.5, last=2.0):
    some = np.zeros((12, 500))
    some[0, 0], some[11, 0] = first, last
    return some


def test_modalities_are_there_with_their_recordings(recorded):
    recorded.set_patient({})
    assert recorded.predict().absent == ("ecg", "image")
    assert design_of(recorded) == [0.0] * 7
    recorded.set_ecg(leads(), 250.0)
    result = recorded.predict(contributions=False)
    assert design_of(recorded) == [2.0, 20.0, 0.0, 0.5, 0.0, 1.0, 0.0]
    assert result.absent == ("image",)
    np.testing.assert_array_equal(result.columns, [np.nan, 0.5, 2.0, np.nan])
    # What the patient lacks as a whole is absent, not imputed.
    assert result.imputed == ("x",)
    recorded.set_image(np.array([[1.0, 2.0, 3.0]]))
    recorded.predict(contributions=False)
    assert design_of(recorded) == [2.0, 20.0, 4.0, 0.5, 1003.0, 1.0, 1.0]
    recorded.set_patient({})
    recorded.predict()
    assert design_of(recorded) == [0.0] * 7


def test_recordings_are_read_once(recorded):
    recorded.set_patient({"values": {"x": 1.0}})
    before = recorded.host.call("test_reads")
    recorded.set_ecg(leads(), 250.0)
    first = recorded.predict()
    assert dict(first.contributions).keys() == {"x", "ecg"}
    recorded.host.call("rw_use_ecg", 0)
    alone = recorded.predict(contributions=False)
    assert alone.absent == ("ecg", "image")
    assert dict(first.contributions)["ecg"] == pytest.approx(first.risks[0][-1] - alone.risks[0][-1], rel=1e-12)
    recorded.host.call("rw_use_ecg", 1)
    np.testing.assert_array_equal(recorded.predict().risks, first.risks)
    # Read once, encoded once.
    assert recorded.host.call("test_reads") == before + 101
    recorded.set_ecg(leads(last=3.0), 250.0)
    recorded.predict()
    assert design_of(recorded)[0] == 3.0


def test_a_recording_that_cannot_be_read_is_told_each_time(recorded):
    recorded.set_patient({})
    recorded.set_ecg(leads(), 20.0)
    for _ in range(2):
        with pytest.raises(PatientError, match="ecg: its sampling rate is outside 50 to 10,000 Hz"):
            recorded.predict()
    recorded.set_ecg(leads(first=5.0), 500.0)
    (warning,) = recorded.predict().warnings
    assert (warning.input, warning.message[:16]) == ("ecg.first", "5 mV is unusual:")
    recorded.set_image(np.ones((4, 1)))
    with pytest.raises(PatientError, match="image: it has less than 2"):
        recorded.predict()


def test_colours_become_greys(recorded):
    colours = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    recorded.set_patient({})
    recorded.set_image(colours)
    recorded.predict()
    assert design_of(recorded)[2] == 0 + 1 + 2 + 20 + 21 + 22
    recorded.set_image(colours[:, :, :3])
    recorded.predict()
    assert design_of(recorded)[2] == 0 + 1 + 2 + 20 + 21 + 22


def test_sizes_are_refused(recorded):
    recorded.reset()
    assert recorded.host.call("rw_ecg", 150_000, 500.0)
    assert not recorded.host.call("rw_ecg", 150_001, 500.0)
    assert not recorded.host.call("rw_ecg", 0, 500.0)
    assert not recorded.host.call("rw_image", 16_385, 10, 0)
    assert not recorded.host.call("rw_image", 10, 10, 4)
    # More than the host lets it have.
    assert not recorded.host.call("rw_image", 16_384, 16_384, 0)
    with pytest.raises(PatientError, match="longer than"):
        recorded.set_ecg(np.zeros((12, 150_001)), 500.0)
    for wrong in (np.zeros((11, 100)), np.full((12, 100), np.inf), np.zeros((12, 0)), np.zeros(12)):
        with pytest.raises(PatientError, match="12 leads"):
            recorded.set_ecg(wrong, 500.0)
    for wrong in (np.zeros((2, 2, 2)), np.zeros((2, 2, 3)), np.zeros(4), np.zeros((0, 3))):
        with pytest.raises(PatientError, match="height by width"):
            recorded.set_image(wrong)


def given_to(module, samples):
    """Return the leads that the reader of the module got."""
    module.host.call("rw_encode")
    return np.array(module.host.read(module.host.call("test_given"), 12 * samples)).reshape(12, samples)


@pytest.mark.parametrize("form", ["8", "16", "24", "32", "61", "80", "160", "212", "310", "311"])
def test_stored_samples_are_decoded_to_the_bit(recorded, form):
    """Random bytes of two files, with gains of all kinds: as `Stored.leads`, which other tests compare with wfdb."""
    rng = np.random.default_rng(int(form))
    files = {name: rng.integers(0, 256, 4 * 7 * 300, dtype=np.uint8).tobytes() for name in ("a.dat", "b.dat")}
    lines = [
        "r 8 500 300",
        *(f"b.dat 16 {gain} 16 3 -5 0 0 {lead}" for gain, lead in (("-7.3", "V6"), ("1e-3/uV", "I"))),
    ]
    for lead, gain in zip((*LEADS[1:5], "V6", "PLETH"), ("200", "12.5(7)/uV", "1e2(-3)/V", "0.3/nV") * 2, strict=False):
        lines.append(f"a.dat {form} {gain} 12 5 -11 0 0 {lead}")
    ecg = parse_ecg({"r.hea": "\n".join(lines).encode(), **files})
    recorded.set_patient({})
    found = recorded.set_ecg(*ecg)
    assert [LEADS[place] for place, own in enumerate(found) if own == MOVES] == ["I", "II", "III", "aVR", "aVL", "V6"]
    assert set(found) == {MOVES, NONE}
    wanted = leads_of(ecg.leads)
    np.testing.assert_array_equal(given_to(recorded, 300), wanted)
    # What a host without the new way gives is the same.
    assert recorded.set_ecg(wanted, ecg.rate) == found
    np.testing.assert_array_equal(given_to(recorded, 300), wanted)


def test_the_module_tells_what_is_in_each_lead(recorded):
    some = np.zeros((12, 100))
    some[0], some[1, 3], some[2, :50] = np.nan, 0.001, np.nan
    assert recorded.set_ecg(some, 500.0) == (NONE, MOVES, *[FLAT] * 10)
    numbers = np.array([1, 2, 1, 2, -9, 2, 1, 2], dtype="<i4")
    layouts = {
        3: Layout(0, 2, 1.0, 0.0, 1.0, -9),
        4: Layout(0, 2, 1.0, 0.0, 1.0, np.nan),
        5: Layout(1, 2, 1.0, 2.0, 1.0, 2),
    }
    found = recorded.set_ecg(Stored(4, (Numbers(numbers.tobytes(), 4, layouts),)), 500.0)
    assert found[3:6] == (FLAT, MOVES, NONE)
    recorded.set_ecg(some, 500.0)
    for infinite in (np.full((12, 9), np.inf), np.where(some < 0, some, -np.inf)):
        with pytest.raises(PatientError, match="12 leads"):
            recorded.set_ecg(infinite, 500.0)
        # Nothing of it is kept.
        assert recorded.host.call("rw_ecg_leads") == 0
    with pytest.raises(PatientError, match="12 leads"):
        recorded.set_ecg(Stored(4, (Numbers(numbers.tobytes(), 4, {0: Layout(0, 1, 1e-320, 0.0, 1.0, 0)}),)), 500.0)


@pytest.mark.parametrize(
    ("first", "step"), [(-1, 1), (0, 3), (5, 1), (2, 2), (0, -1), (np.nan, 1), (0, np.nan), (1e300, 1)]
)
def test_a_lead_outside_its_file_is_a_fault(recorded, first, step):
    layouts = {0: Layout(first, step, 1.0, 0.0, 1.0, 0.0)}
    with pytest.raises(ModuleError, match="described that is not in its recording"):
        recorded.set_ecg(Stored(4, (Numbers(bytes(16), 2, layouts),)), 500.0)
    assert (
        recorded.set_ecg(Stored(4, (Numbers(bytes(16), 2, {0: Layout(4, 1, 1.0, 0.0, 1.0, 1.0)}),)), 500.0)[0] == FLAT
    )


KINDS = {
    "none at all": [-9] * 300, "one": [-9] * 299 + [4], "flat": [4] * 300, "flat with gaps": [-9, 4, -9, *[4] * 297],
    "moves at its end": [4] * 299 + [5], "moves with gaps": [-9] * 150 + [3] * 100 + [-9, 5] * 25,
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("gain", "baseline"), [(1000.0, 0.0), (-3.0, 7.0), (1.0, 1e30), (1e-305, 0.0), (1e300, 0.0)])
def test_stored_leads_are_judged_as_others_are(recorded, kind, gain, baseline):
    """A lead whose samples are the same number after rounding is flat, also where the numbers of the file differ."""
    layouts = {4: Layout(0, 1, gain, baseline, 1e-6, -9)}
    stored = Stored(300, (Numbers(np.array(KINDS[kind], dtype="<i2").tobytes(), 2, layouts),))
    assert recorded.set_ecg(stored, 500.0) == recorded.set_ecg(leads_of(stored), 500.0)


def test_room_for_stored_samples(recorded):
    call = recorded.host.call
    recorded.reset()
    assert not call("rw_ecg_stored", 8, 2)  # no recording
    assert not call("rw_ecg_leads")
    call("rw_ecg", 4, 500.0)
    assert not any(call("rw_ecg_stored", count, size) for count, size in ((0, 2), (-1, 2), (8, 3), (2**30, 2)))
    assert call("rw_ecg_stored", 8, 2)
    call("rw_encode")
    assert not call("rw_ecg_leads")  # read, and gone


def test_greys_of_bytes_are_greys_of_floats(recorded):
    greys = np.array([[7, 0, 250], [3, 4, 255]], dtype=np.uint8)
    for pixels in (greys, greys.astype(np.float32), greys.astype(float), greys.astype(int), greys.T.copy().T):
        recorded.set_patient({})
        recorded.set_image(pixels)
        recorded.predict()
        assert design_of(recorded)[2] == 7 + 255
