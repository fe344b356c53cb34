"""model.onnx in ONNX Runtime against the pipeline's own arithmetic."""

import numpy as np
import onnxruntime
import pytest
import torch
from deployed import category, number, recipe
from torch import nn

from riskweave.deployment.onnx_file import export_onnx, onnx_inputs
from riskweave.deployment.recipe import Column, Cox, Encoder, FeatureSet, Member, Network, Term
from riskweave.study.features import ImageFeatures
from riskweave.survival.heads import make_head
from riskweave.survival.proportional import Baseline, proportional_incidence
from riskweave.survival.training.task import Whole

CUTS = np.array([0.0, 40.0, 100.0, 300.0, 900.0])
TIMES = (0.0, 40.0, 70.5, 365.0, 900.0, 2000.0)
KINDS = ("logistic_hazard", "pc_hazard", "pmf", "mtlr", "deep_hit", "deep_surv")
INPUTS = [number("age"), number("weight"), category("sex", ["female", "male", "other"])]
COLUMNS = [
    Column("ehr.age", 0, 0, "static"),
    Column("ehr.weight", 0, 1, "static"),
    Column("ehr.sex", 0, 2, "static", categories=("female", "male", "other")),
]
TERMS = (
    Term("number", 0, 0, 60.0, 10.0, lower=30.0, upper=90.0, fill=55.0),
    Term("number", 0, 1, 70.0, 12.0, fill=71.0),
    Term("missing", 0, 1, 0.25, 0.4),
    Term("category", 0, 2, 0.5, 0.5, categories=(1,)),
    Term("category", 0, 2, 0.1, 0.3, categories=(-1, 2)),
)
PEOPLE = np.array(
    [[61.0, 80.5, 1.0], [20.0, np.nan, 2.0], [99.0, 60.0, np.nan], [np.nan, np.nan, 0.0], [45.25, 71.0, 1.0]]
)


def by_hand(columns):
    """Return the design of the terms above."""
    age, weight, sex = columns
    age = 55.0 if np.isnan(age) else np.clip(age, 30.0, 90.0)
    return np.array(
        [
            (age - 60.0) / 10.0,
            ((71.0 if np.isnan(weight) else weight) - 70.0) / 12.0,
            (float(np.isnan(weight)) - 0.25) / 0.4,
            (float(sex == 1) - 0.5) / 0.5,
            (float(np.isnan(sex) or sex == 2) - 0.1) / 0.3,
        ]
    )


def network(kind, seed, *, causes=2):
    options = {} if kind == "deep_surv" else {"intervals": len(CUTS) - 1}
    options |= {"alpha": 0.5, "sigma": 0.1} if kind == "deep_hit" else {}
    head = make_head(kind, causes=causes, **options)
    head.learnt["cuts"] = CUTS.tolist()
    head.connect(6)
    module = Whole(nn.Sequential(nn.Linear(len(TERMS), 6), nn.ReLU()), head).eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for each in module.parameters():
            each.copy_(0.5 * torch.randn(each.shape, generator=generator))
    if kind == "deep_surv":
        head.learnt["baselines"] = [([10.0, 80.0, 400.0], [0.01, 0.1, 0.3]), ([80.0, 500.0], [0.2, 0.25])][:causes]
    return module, Network(module, kind, CUTS, dict(head.learnt))


def cox(causes, rng):
    steps = [np.sort(rng.choice(1500, size, replace=False)).astype(float) for size in (9, 20)[:causes]]
    baselines = [(days, np.cumsum(rng.exponential(0.02, len(days)))) for days in steps]
    return Cox(rng.normal(size=(causes, len(TERMS))), rng.normal(size=(causes, len(TERMS))), baselines)


def run(written, **given):
    return onnxruntime.InferenceSession(written).run(["risks"], given)[0]


def test_every_kind_of_model_has_the_pipelines_risks():
    """One member of each kind, the mean of whose risks is deployed."""
    heads = [network(kind, seed) for seed, kind in enumerate(KINDS)]
    hazards = cox(2, np.random.default_rng(3))
    never = Cox(hazards.coefficients, hazards.means, [hazards.baselines[0], (np.zeros(0), np.zeros(0))])
    models = [*(model for _, model in heads), hazards, never]
    members = [Member(TERMS, (), 0, (), model) for model in models]
    written = export_onnx(recipe(INPUTS, COLUMNS, members=members, causes=("target", "other"), times=TIMES))
    for columns in PEOPLE:
        design = by_hand(columns)
        single = torch.from_numpy(design).float()[None]
        with torch.no_grad():
            each = [module[1].incidence(module(single).numpy(), np.array(TIMES))[0] for module, _ in heads]
        for model in (hazards, never):
            ratios = ((design - model.means) * model.coefficients).sum(axis=1)
            baselines = [Baseline(*pair) if len(pair[0]) else None for pair in model.baselines]
            each.append(proportional_incidence(ratios[None], baselines, TIMES)[0])
        assert np.ptp([one[0, 3] for one in each]) > 0.01
        np.testing.assert_allclose(run(written, columns=columns), np.mean(each, axis=0), rtol=3e-7, atol=1e-9)


class Spots(nn.Module):
    """Encodes a picture as three numbers."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Conv2d(1, 3, 3, stride=2)
        with torch.no_grad():
            self.layer.weight.copy_(torch.linspace(-1, 1, 27).reshape(3, 1, 3, 3))
            self.layer.bias.zero_()

    def forward(self, x):
        return self.layer(x.unsqueeze(1)).amax(dim=(2, 3))


@pytest.fixture(scope="module")
def multimodal():
    """Return a recipe with an encoder of pictures, masks, and sets that are there when something was measured."""
    columns = (
        Column("ehr.age", 0, 0, "static"),
        Column("lab.weight", 1, 1, "static"),
        Column("lab.visits", 1, 0, "count"),
        Column("image.brightness", 2, 0, "image"),
    )
    sets = (
        FeatureSet("ehr", "ehr", "always"),
        FeatureSet("lab", "lab", "measured"),
        FeatureSet("image", "image", "image"),
    )
    terms = (
        Term("number", 0, 0, 60.0, 10.0, fill=55.0),
        Term("number", 1, 1, 70.0, 12.0, fill=66.0),
        Term("number", 1, 2, 1.0, 2.0, fill=0.0),
        Term("number", 2, 3, 0.4, 0.2, lower=0.0, upper=1.0, fill=0.3),
        Term("number", 2, -1, 0.1, 0.5, lower=-2.0, upper=2.0, fill=0.2),
        Term("number", 2, -3, 0.2, 0.7, fill=0.1),
        Term("missing", 2, -1, 0.2, 0.7),
    )
    rng = np.random.default_rng(9)
    width = len(terms) + 2
    baseline = (np.array([30.0, 300.0]), np.array([0.05, 0.2]))
    model = Cox(rng.normal(size=(1, width)), np.zeros((1, width)), [baseline])
    encoder = Encoder("image", 2, 0, 3, Spots().eval())
    members = [Member(terms, (1, 2), 3, (encoder,), model), Member(terms, (1, 2), 3, (), model)]
    image = ImageFeatures(modality="image", size=32)
    return recipe((number("age"), number("weight")), columns, sets=sets, members=members, times=TIMES, image=image)


def expected_risks(made, columns, image, has_image):
    """Return the risks of `multimodal`, in numpy."""
    each = []
    for member in made.members:
        measured = not np.isnan(columns[1]) or (not np.isnan(columns[2]) and columns[2] != 0)
        present = [True, measured, bool(has_image)]
        embedding = np.zeros(3)
        if member.encoders:
            with torch.no_grad():
                found = member.encoders[0].module(torch.from_numpy(image)).numpy()[0]
            embedding = found if has_image else np.full(3, np.nan)
        design = []
        for term in member.terms:
            value = columns[term.column] if term.column >= 0 else embedding[-1 - term.column]
            if term.kind == "missing":
                value = float(np.isnan(value))
            else:
                value = term.fill if np.isnan(value) else min(max(value, term.lower), term.upper)
            design.append((value - term.mean) / term.scale if present[term.modality] else 0.0)
        design += [float(present[modality]) for modality in member.masks]
        ratio = member.model.coefficients @ design
        each.append(proportional_incidence(ratio[None], [Baseline(*member.model.baselines[0])], TIMES)[0])
    return np.mean(each, axis=0)


def test_masks_encoders_and_what_is_missing(multimodal):
    written = export_onnx(multimodal)
    assert list(onnx_inputs(multimodal)) == ["columns", "image", "has_image"]
    rng = np.random.default_rng(2)
    image = rng.random((1, 32, 32)).astype(np.float32)
    for has_image in (1.0, 0.0):
        for weight, visits in ((80.0, 2.0), (np.nan, 3.0), (np.nan, 0.0), (60.0, 0.0), (np.nan, np.nan)):
            columns = np.array([61.0, weight, visits, 0.7 if has_image else np.nan])
            found = run(written, columns=columns, image=image, has_image=np.array([has_image]))
            np.testing.assert_allclose(found, expected_risks(multimodal, columns, image, has_image), rtol=1e-7)
