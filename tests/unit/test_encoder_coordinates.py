"""Common coordinates: networks that say the same in other words meet, what only one says is left out."""

import numpy as np
import pytest

from riskweave.survival.encoding.coordinates import chance_agreement, common_coordinates, common_scale, stretch


def said(rng, shared, mixing, noise=0.1):
    return shared @ mixing + noise * rng.normal(size=(len(shared), mixing.shape[1])) + rng.normal(size=mixing.shape[1])


def test_rotated_and_scaled_embeddings_meet():
    rng = np.random.default_rng(0)
    shared = rng.normal(size=(400, 2))
    networks = [said(rng, shared, rng.normal(size=(2, 3))) for _ in range(3)]
    maps, agreement = common_coordinates([z[:200] for z in networks])
    assert agreement[1] > 0.8
    assert agreement[2] < 0.5
    new = [z[200:] @ each.matrix + each.offset for z, each in zip(networks, maps, strict=True)]
    for other in new[1:]:
        for i in (0, 1):
            assert np.corrcoef(new[0][:, i], other[:, i])[0, 1] > 0.9
        np.testing.assert_allclose(other[:, :2].std(axis=0), new[0][:, :2].std(axis=0), rtol=0.15)
    # Third coordinate: nothing that the networks agree on.
    assert all(np.all(z[:, 2] == 0) for z in new)


def test_networks_of_noise_share_nothing():
    rng = np.random.default_rng(1)
    maps, agreement = common_coordinates([rng.normal(size=(300, 4)) for _ in range(3)])
    assert agreement.max() < 0.5
    assert all(np.all(each.matrix == 0) for each in maps)


@pytest.mark.parametrize("rows", [20, 25, 40, 60, 100])
def test_few_rows_do_not_let_noise_agree(rows):
    """With the 0.5 of many rows 3.8 of 8 coordinates of noise pass at 25 rows, 1.9 at 40 and 0.5 at 60."""
    rng = np.random.default_rng(rows)
    kept, best = [], []
    for _ in range(40):
        maps, agreement = common_coordinates([rng.normal(size=(rows, 8)) for _ in range(3)])
        kept.append(np.any(maps[0].matrix != 0, axis=0).sum())
        best.append(agreement[0])
    assert np.mean(kept) <= 0.3
    # What is asked for is what noise reaches, not more: a signal that all networks have still passes.
    assert np.median(best) == pytest.approx(chance_agreement(3, 8, rows), abs=0.1)
    shared = rng.normal(size=(rows, 1))
    maps, agreement = common_coordinates([said(rng, shared, rng.normal(size=(1, 8))) for _ in range(3)])
    assert np.any(maps[0].matrix[:, 0] != 0)


def test_chance_agreement_is_the_largest_canonical_correlation_of_noise():
    # Wachter (1980): the square root of 4 c (1 - c) for two sets of equal size, c of the rows each.
    assert chance_agreement(2, 10, 101) == pytest.approx(np.sqrt(4 * 0.1 * 0.9))
    # So few rows that two subspaces meet whatever they hold.
    assert chance_agreement(2, 8, 10) == chance_agreement(3, 8, 2) == pytest.approx(1.0)
    # Many rows, as studies have: the fixed bar is the higher one.
    for networks, dimensions in ((2, 8), (3, 8), (5, 8), (3, 32)):
        assert chance_agreement(networks, dimensions, 400) < 0.5


def test_a_network_that_learnt_nothing_and_few_rows_do_no_harm():
    rng = np.random.default_rng(2)
    shared = rng.normal(size=(50, 1))
    networks = [
        said(rng, shared, rng.normal(size=(1, 3))),
        np.zeros((50, 3)),
        said(rng, shared, rng.normal(size=(1, 3))),
    ]
    maps, _ = common_coordinates(networks)
    assert np.all(np.isfinite(maps[1].matrix))
    assert np.ptp(networks[1] @ maps[1].matrix + maps[1].offset) == 0
    for rows in (2, 3):
        maps, agreement = common_coordinates([z[:rows] for z in networks])
        assert all(np.all(np.isfinite(each.matrix)) for each in maps)
        assert np.all(np.isfinite(agreement))


def test_a_single_network_keeps_its_coordinates():
    z = np.random.default_rng(3).normal(size=(10, 3))
    (only,), agreement = common_coordinates([z])
    np.testing.assert_array_equal(z @ only.matrix + only.offset, z)
    assert agreement.tolist() == [1, 1, 1]


def test_a_stretched_mean_is_worth_as_much_as_one_network():
    rng = np.random.default_rng(5)
    truth = rng.normal(size=4000)
    networks = [truth[:, None] + 0.8 * rng.normal(size=(4000, 1)) for _ in range(3)]
    centre, factor = stretch(networks)
    mean = centre + factor * (np.mean(networks, axis=0) - centre)
    slope = [np.polyfit(z[:, 0], truth, 1)[0] for z in (networks[0], mean)]
    assert slope[0] == pytest.approx(1 / 1.64, rel=0.03)
    assert slope[1] == pytest.approx(slope[0], rel=0.03)
    assert stretch([networks[0]])[1] == 1.0
    assert stretch([np.zeros((5, 1))] * 3)[1] == 1.0


def test_scores_of_bold_and_timid_networks_get_one_scale():
    rng = np.random.default_rng(6)
    truth = rng.normal(size=(500, 1))
    scores = [0.7 * truth + 0.3, 1.3 * truth - 0.1]
    made = [(score - shift) * factor for score, (shift, factor) in zip(scores, common_scale(scores), strict=True)]
    np.testing.assert_allclose([each.mean() for each in made], np.mean([score.mean() for score in scores]))
    assert made[0].std() == pytest.approx(made[1].std())
    # Next to nothing is not blown up to something.
    scores += [np.zeros((500, 1)), 0.01 * truth]
    made = [(score - shift) * factor for score, (shift, factor) in zip(scores, common_scale(scores), strict=True)]
    assert np.ptp(made[2]) == 0
    assert made[3].std() < 0.03
    ((shift, factor),) = common_scale(scores[:1])
    assert (shift, factor) == (pytest.approx(0.0), 1.0)
