"""Heads against pycox's own models: the same outputs give the same losses and the same risks."""

import warnings

import numpy as np
import pytest
import torch
from lifelines import NelsonAalenFitter
from torch import nn

with warnings.catch_warnings():
    warnings.filterwarnings("ignore", message=".*invalid escape sequence")  # on pycox's first compilation
    from pycox import models as pycox
    from pycox.models.data import pair_rank_mat
    from pycox.models.loss import cox_cc_loss

from riskweave.errors import DataError
from riskweave.survival.discrete import discretise
from riskweave.survival.heads import make_head, restore_head
from riskweave.survival.heads.intervals import joint_labels
from riskweave.survival.heads.risk_sets import all_pairs, case_control_loss, fixed_pairs, partial_likelihood
from riskweave.survival.implementations import HEADS
from riskweave.survival.proportional import breslow

OPTIONS = {
    "cox_time": {"controls": 2, "hidden": 8, "dropout": 0.0},
    "deep_hit": {"intervals": 6, "alpha": 0.6, "sigma": 0.2},
    "deep_surv": {},
}


def head_of(kind, causes, *, features=4, seed=0, n=300):
    """Return a connected head of outcomes with ties, and these: censored at random and at the end."""
    rng = np.random.default_rng(seed)
    time = np.minimum(np.ceil(rng.exponential(300, n) / 20) * 20, 700.0)
    event = np.where(time == 700, 0, rng.integers(0, causes + 1, n))
    head = make_head(kind, causes=causes, **OPTIONS.get(kind, {"intervals": 6}))
    head.learn(time, event)
    torch.manual_seed(seed)
    head.connect(features)
    return head, time, event


def outputs_of(head, n, seed=1):
    rng = np.random.default_rng(seed)
    return torch.tensor(rng.normal(size=(n, head.causes, len(head.cuts) - 1)), dtype=torch.float32)


class Fixed(nn.Module):
    """A net for pycox that returns what it was given; its optimiser wants a parameter."""

    def __init__(self):
        super().__init__()
        self.unused = nn.Parameter(torch.zeros(1))

    def forward(self, x):
        return x


def labels_on_cuts(head, n=200, seed=3):
    """Outcomes on the cut points, where all conventions for censoring agree."""
    rng = np.random.default_rng(seed)
    return rng.choice(head.cuts[1:], n), rng.integers(0, head.causes + 1, n)


@pytest.mark.parametrize("kind", ["logistic_hazard", "pmf", "mtlr", "pc_hazard"])
def test_loss_of_one_cause_is_that_of_pycox(kind):
    head, _, _ = head_of(kind, 1)
    time, event = labels_on_cuts(head)
    output = outputs_of(head, len(time))
    index = torch.from_numpy(np.searchsorted(head.cuts[1:], time))
    found = head.loss(output, *(torch.from_numpy(label) for label in head.prepare(time, event)))
    observed = torch.from_numpy(event).float()
    model = {"logistic_hazard": pycox.LogisticHazard, "pmf": pycox.PMF, "mtlr": pycox.MTLR, "pc_hazard": pycox.PCHazard}
    extra = (torch.ones(len(time)),) if kind == "pc_hazard" else ()
    expected = model[kind](Fixed()).loss(output[:, 0], index, observed, *extra)
    assert float(found) == pytest.approx(float(expected), rel=1e-5)


@pytest.mark.parametrize("causes", [1, 2])
def test_loss_of_deep_hit_is_that_of_pycox(causes):
    head, _, _ = head_of("deep_hit", causes)
    time, event = labels_on_cuts(head)
    output = outputs_of(head, len(time))
    index = np.searchsorted(head.cuts[1:], time)
    found = head.loss(output, *(torch.from_numpy(label) for label in head.prepare(time, event)))
    rank = torch.from_numpy(pair_rank_mat(index, event))
    tensors = torch.from_numpy(index), torch.from_numpy(event)
    if causes == 1:
        model = pycox.DeepHitSingle(Fixed(), alpha=0.6, sigma=0.2)
        expected = model.loss(output[:, 0], tensors[0], tensors[1].float(), rank)
    else:
        expected = pycox.DeepHit(Fixed(), alpha=0.6, sigma=0.2).loss(output, *tensors, rank)
    assert float(found) == pytest.approx(float(expected), rel=1e-5)
    # Many rows are ranked in parts; the likelihood stays the same.
    parts = [torch.cat([each] * 12) for each in (output, *(torch.from_numpy(e) for e in head.prepare(time, event)))]
    assert float(head.validation_loss(*parts)) == pytest.approx(float(found), rel=0.02)


@pytest.mark.parametrize("kind", ["logistic_hazard", "pmf", "mtlr", "deep_hit"])
def test_survival_of_one_cause_is_that_of_pycox_at_the_cut_points(kind):
    head, _, _ = head_of(kind, 1)
    output = outputs_of(head, 50)
    model = {
        "logistic_hazard": pycox.LogisticHazard,
        "pmf": pycox.PMF,
        "mtlr": pycox.MTLR,
        "deep_hit": pycox.DeepHitSingle,
    }[kind](Fixed(), duration_index=head.cuts[1:])
    expected = model.predict_surv_df(output[:, 0].numpy()).to_numpy().T
    np.testing.assert_allclose(1 - head.incidence(output.numpy(), head.cuts[1:])[:, 0], expected, atol=2e-6)


def test_survival_of_pc_hazard_is_that_of_pycox_inside_the_intervals():
    head, _, _ = head_of("pc_hazard", 1)
    output = outputs_of(head, 50)
    frame = pycox.PCHazard(Fixed(), duration_index=head.cuts, sub=4).predict_surv_df(output[:, 0].numpy())
    found = 1 - head.incidence(output.numpy(), frame.index.to_numpy(float))[:, 0]
    np.testing.assert_allclose(found, frame.to_numpy().T, atol=2e-6)


@pytest.mark.parametrize("kind", ["pmf", "deep_hit"])
def test_incidences_of_causes_are_those_of_pycox_at_the_cut_points(kind):
    head, _, _ = head_of(kind, 3)
    output = outputs_of(head, 40)
    expected = pycox.DeepHit(Fixed()).predict_cif(output.numpy())  # (causes, times, n)
    found = head.incidence(output.numpy(), head.cuts[1:])
    np.testing.assert_allclose(found, np.transpose(expected, (2, 0, 1)), atol=2e-6)


@pytest.mark.parametrize("causes", [1, 3])
@pytest.mark.parametrize("kind", sorted(HEADS))
def test_incidences_are_risks(kind, causes):
    head, time, event = head_of(kind, causes)
    rng = np.random.default_rng(5)
    output = head(torch.tensor(rng.normal(size=(80, 4)) * 3, dtype=torch.float32)).detach().numpy()
    head.finish(head(torch.tensor(rng.normal(size=(300, 4)), dtype=torch.float32)).detach().numpy(), time, event)
    times = np.array([0.0, 1, 35, 350, 700, 2000])
    risk = head.incidence(output, times)
    assert risk.shape == (80, causes, 6)
    assert (risk[:, :, 0] == 0).all()
    assert (np.diff(risk, axis=2) >= 0).all()
    assert (risk.sum(axis=1) <= 1 + 1e-9).all()
    shuffled = head.incidence(output, times[::-1])[:, :, ::-1]
    np.testing.assert_allclose(shuffled, risk, atol=1e-12)


@pytest.mark.parametrize("kind", ["deep_hit", "logistic_hazard", "mtlr", "pc_hazard", "pmf"])
def test_the_start_is_the_null_model(kind):
    rng = np.random.default_rng(2)
    target, competitor = rng.exponential(800, 4000), rng.exponential(2000, 4000)
    time = np.minimum.reduce([target, competitor, rng.uniform(100, 1500, 4000)])
    event = np.where(time == target, 1, np.where(time == competitor, 2, 0))
    head = make_head(kind, causes=2, **{**OPTIONS.get(kind, {}), "intervals": 25})
    head.learn(time, event)
    head.connect(3, zero=True)
    head.null_start(*head.prepare(time, event))
    output = head(torch.randn(5, 3)).detach().numpy()
    risk = head.incidence(output, [200, 600, 1200])
    np.testing.assert_allclose(risk, np.broadcast_to(risk[0], risk.shape), atol=1e-12)
    rate = 1 / 800 + 1 / 2000
    for cause, share in ((0, 800), (1, 2000)):
        truth = (1 / share / rate) * -np.expm1(-rate * np.array([200, 600, 1200]))
        np.testing.assert_allclose(risk[0, cause], truth, atol=0.02)


@pytest.mark.parametrize("kind", ["logistic_hazard", "pc_hazard"])
def test_baselines_give_as_many_events_as_were_seen(kind):
    """Piecewise exponential times with a known score: the baselines are found from any start, by another way."""
    rng = np.random.default_rng(5)
    score = rng.normal(0, 1.0, 20_000)
    rates = np.stack([np.exp(score) / 9000, np.exp(-score) / 20_000], axis=1)
    events = rng.exponential(1 / rates)
    time = np.minimum(events.min(axis=1), rng.uniform(300, 1500, 20_000))
    event = np.where(time < events.min(axis=1), 0, 1 + events.argmin(axis=1))
    head = make_head(kind, causes=2, intervals=10)
    head.learn(time, event)
    head.connect(1)
    wrong = rng.normal(0, 1, head.layer.baseline.shape)
    sign = np.array([1.0, -1.0])[:, None]
    output = wrong + sign * score[:, None, None]
    with torch.no_grad():
        head.layer.baseline.copy_(torch.from_numpy(wrong))
    head.finish(output, time, event)
    found = head.layer.baseline.detach().double().numpy()
    output += found - wrong
    hazard = -np.log1p(-head.hazards(output))
    width = np.diff(head.cuts)
    lived = np.clip((time[:, None] - head.cuts[:-1]) / width, 0, 1)
    inside = (time[:, None] > head.cuts[:-1]) & (time[:, None] <= head.cuts[1:])
    for cause in (0, 1):
        seen = (inside & (event == cause + 1)[:, None]).sum(axis=0)
        np.testing.assert_allclose((lived * hazard[:, cause]).sum(axis=0), seen, rtol=0.04)
    true = np.array([1 / 9000, 1 / 20_000])[:, None] * width
    at_zero = np.logaddexp(0, found)  # both kinds: a cumulative hazard of -log(1 - expit)
    np.testing.assert_allclose(np.median(at_zero / true, axis=1), 1, atol=0.1)


@pytest.mark.parametrize("kind", ["logistic_hazard", "pc_hazard"])
def test_baselines_of_an_interval_that_nobody_reaches_stay(kind):
    head, time, event = head_of(kind, 2)
    with torch.no_grad():
        head.layer.baseline.fill_(-1.5)
    early = time <= head.cuts[2]
    output = np.full((early.sum(), 2, len(head.cuts) - 1), -1.5)
    head.finish(output, time[early], event[early])
    found = head.layer.baseline.detach().numpy()
    assert np.isfinite(found).all()
    np.testing.assert_array_equal(found[:, 2:], np.float32(-1.5))
    assert (np.abs(found[:, :2] + 1.5) > 0.01).all()


@pytest.mark.parametrize("kind", sorted(HEADS))
def test_a_head_comes_back_from_its_state(kind, tmp_path):
    head, time, event = head_of(kind, 2)
    z = torch.randn(300, 4)
    head.eval()
    head.finish(head(z).detach().numpy(), time, event)
    torch.save(head.state(), tmp_path / "head.pt")
    again = restore_head(torch.load(tmp_path / "head.pt", weights_only=True))
    times = [50, 300, 700]
    np.testing.assert_array_equal(
        again.incidence(again(z).detach().numpy(), times), head.incidence(head(z).detach().numpy(), times)
    )


@pytest.mark.parametrize("kind", sorted(HEADS))
def test_rows_without_events_are_refused(kind):
    head = make_head(kind, causes=1, **OPTIONS.get(kind, {"intervals": 6}))
    with pytest.raises(DataError, match="none of the 3 training rows"):
        head.learn(np.array([1.0, 2, 3]), np.zeros(3, int))


@pytest.mark.parametrize("kind", sorted(HEADS))
def test_batches_without_events_have_a_loss_and_gradients(kind):
    head, _, _ = head_of(kind, 2)
    labels = head.prepare(np.array([0.5, 1.0, 30]), np.zeros(3, int))
    loss = head.loss(head(torch.randn(3, 4, requires_grad=True)), *(torch.from_numpy(label) for label in labels))
    loss.backward()
    assert torch.isfinite(loss)


def test_rows_that_tell_nothing_of_an_interval_have_no_part_in_the_loss():
    head, _, _ = head_of("pmf", 2)
    index, event = joint_labels(*discretise([1e-3, 50.0, 50.0], [0, 2, 0], cuts=np.array([0, 40, 60.0]), causes=2))
    assert index.tolist() == [-1, 1, 1]
    assert event.tolist() == [0, 2, 0]
    output = outputs_of(head, 3).requires_grad_()
    head.loss(output, torch.from_numpy(index), torch.from_numpy(event)).backward()
    assert (output.grad[0] == 0).all()
    assert (output.grad[1] != 0).any()


def test_partial_likelihood_by_hand():
    g = torch.tensor([0.3, -0.2, 0.5, 0.1])
    time, observed = torch.tensor([2.0, 1.0, 3.0, 2.0]), torch.tensor([True, True, False, False])
    by_hand = -(0.3 - np.log(np.exp([0.3, 0.5, 0.1]).sum())) - (-0.2 - np.log(np.exp([0.3, -0.2, 0.5, 0.1]).sum()))
    null = np.log(3) + np.log(4)
    assert float(partial_likelihood(g, time, observed)) == pytest.approx(by_hand - null, abs=1e-6)
    # Compared with everybody at risk, the sampled likelihood is the whole one.
    pairs = all_pairs(time, observed.long())
    sampled = case_control_loss(g[pairs.cases], g[pairs.control], pairs) * 2
    assert float(sampled) == pytest.approx(by_hand - null, abs=1e-6)


def test_case_control_loss_is_that_of_pycox():
    rng = np.random.default_rng(0)
    time = torch.tensor(rng.exponential(1, 60))
    pairs = fixed_pairs(time, torch.ones(60, dtype=torch.int64), controls=3)
    full = torch.bincount(pairs.of, minlength=60) == 3  # none drew itself
    g_case, g_control = torch.randn(60), torch.randn(len(pairs.of))
    keep = full[pairs.of]
    expected = cox_cc_loss(g_case[full], g_control[keep].view(-1, 3).T)
    renumbered = torch.cumsum(full.long(), 0)[pairs.of[keep]] - 1
    kept = type(pairs)(pairs.cases[full], renumbered, pairs.control[keep])
    found = case_control_loss(g_case[full], g_control[keep], kept)
    assert float(found) == pytest.approx(float(expected) - np.log(4), abs=1e-5)
    assert bool((time[pairs.control] >= time[pairs.cases][pairs.of]).all())


def test_breslow_of_equal_hazards_is_nelson_aalen_and_otherwise_that_of_pycox():
    rng = np.random.default_rng(0)
    time, event = np.ceil(rng.exponential(50, 200)), rng.integers(0, 2, 200)
    fitter = NelsonAalenFitter(nelson_aalen_smoothing=False).fit(time, event)
    found = breslow(np.zeros(200), time, event == 1)
    expected = fitter.cumulative_hazard_.iloc[:, 0].loc[found.times]
    np.testing.assert_allclose(found.cumulative, expected, rtol=1e-9)
    g = rng.normal(size=(200, 1)).astype(np.float32)
    model = pycox.CoxPH(Fixed())
    model.compute_baseline_hazards(g, (time, event))
    expected = model.baseline_cumulative_hazards_
    found = breslow(g[:, 0], time, event == 1)
    np.testing.assert_allclose(found.cumulative, expected.loc[found.times], rtol=1e-5)


def test_survival_of_deep_surv_is_that_of_pycox():
    head, time, event = head_of("deep_surv", 1)
    g = np.random.default_rng(1).normal(size=(300, 1)).astype(np.float32)
    head.finish(g, time, event)
    model = pycox.CoxPH(Fixed())
    model.compute_baseline_hazards(g, (time, event))
    frame = model.predict_surv_df(g)
    found = 1 - head.incidence(g, frame.index.to_numpy(float))[:, 0]
    np.testing.assert_allclose(found, frame.to_numpy().T, atol=1e-5)
    np.testing.assert_array_equal(head.linear_predictor(g), g[:, 0])


def test_survival_of_cox_time_is_that_of_pycox():
    head, time, event = head_of("cox_time", 1)
    head.eval()

    class Net(Fixed):
        """pycox's argument order: columns, then scaled time."""

        def forward(self, z, when):
            return head.log_hazard(head(z)[:, 0], when[:, 0], 0)[:, None]

    z = torch.tensor(np.random.default_rng(1).normal(size=(300, 4)), dtype=torch.float32)
    # pycox takes those censored at the time of an event out of its risk set, unless they come after it.
    order = np.lexsort((1 - event, time))
    output = head(z).detach().numpy()
    head.finish(output, time, event)
    model = pycox.CoxTime(Net())
    scaled = head.scaled(time).astype(np.float32)
    with torch.no_grad():
        model.compute_baseline_hazards(z.numpy()[order], (scaled[order], event[order].astype(np.float32)))
        frame = model.predict_surv_df(z.numpy())
    days = np.unique(time)
    found = 1 - head.incidence(output, days)[:, 0]
    np.testing.assert_allclose(found, frame.to_numpy().T, atol=1e-5)
    assert head.linear_predictor(output) is None


def test_baseline_of_cox_time_changes_little_when_risk_sets_are_sampled(monkeypatch):
    rng = np.random.default_rng(0)
    n = 1200
    z = torch.tensor(rng.normal(size=(n, 4)), dtype=torch.float32)
    time, event = rng.exponential(500, n), rng.integers(0, 2, n)
    head = make_head("cox_time", causes=1, **OPTIONS["cox_time"])
    head.learn(time, event)
    torch.manual_seed(0)
    head.connect(4)
    output = head.eval()(z).detach().numpy()
    sampled = []
    for steps, at_risk in ((10_000, 10_000), (64, 300)):
        monkeypatch.setattr("riskweave.survival.heads.cox_time.STEPS", steps)
        monkeypatch.setattr("riskweave.survival.heads.cox_time.AT_RISK", at_risk)
        head.finish(output, time, event)
        sampled.append(head.incidence(output, [100, 500, 1500]))
    np.testing.assert_allclose(sampled[0], sampled[1], atol=0.01)


def test_discrete_cuts_reach_the_end_of_follow_up():
    time = np.concatenate([np.arange(1.0, 41), np.full(160, 5000.0)])
    event = np.concatenate([np.ones(40, int), np.zeros(160, int)])
    for kind in ("deep_hit", "logistic_hazard", "mtlr", "pc_hazard", "pmf"):
        head = make_head(kind, causes=1, **{**OPTIONS.get(kind, {}), "intervals": 10})
        head.learn(time, event)
        head.connect(2, zero=True)
        head.null_start(*head.prepare(time, event))
        risk = head.incidence(head(torch.zeros(1, 2)).detach().numpy(), [40, 2500, 4999])
        np.testing.assert_allclose(risk[0, 0], 0.2, atol=0.02)


def test_pairs_of_a_cause_that_never_happens():
    head, time, event = head_of("deep_surv", 3)
    event = np.where(event == 2, 0, event)
    labels = [torch.from_numpy(label) for label in head.prepare(time, event)]
    output = head(torch.randn(300, 4))
    assert torch.isfinite(head.loss(output, *labels))
    head.finish(output.detach().numpy(), time, event)
    risk = head.incidence(output.detach().numpy(), [700])
    assert (risk[:, 1] == 0).all()
    assert (risk[:, [0, 2]] > 0).all()


@pytest.mark.usefixtures("plain_bfloat16")
@pytest.mark.parametrize("kind", sorted(HEADS))
def test_losses_stand_half_precision_before_the_head(kind):
    head, time, event = head_of(kind, 2)
    labels = [torch.from_numpy(label) for label in head.prepare(time, event)]
    net = nn.Linear(3, 4)
    x = torch.randn(300, 3)
    losses = []
    for half in (False, True):
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=half):
            loss = head.loss(head(net(x)).float(), *labels)
        loss.backward()
        losses.append(float(loss.detach()))
    assert losses[1] == pytest.approx(losses[0], abs=0.02)
    assert torch.isfinite(net.weight.grad).all()
