from __future__ import annotations

import pytest
import torch

from stacked_dae.nn import corruption
from stacked_dae.nn.corruption import (
    CORRUPTIONS,
    FixedMasking,
    Gaussian,
    GroupedCorruption,
    Masking,
    SaltAndPepper,
    SwapNoise,
)

X = torch.rand(400, 97, generator=torch.Generator().manual_seed(1)) * 0.8 + 0.1
ALL = [FixedMasking(0.3), Masking(0.3), Gaussian(0.3), SaltAndPepper(0.3), SwapNoise(0.3)]


def seeded(n):
    return torch.Generator().manual_seed(n)


@pytest.mark.parametrize("nu", [0.0, 0.004, 0.1, 0.25, 0.5, 0.77, 1.0])
def test_fixed_masking_destroys_exactly_round_nu_d_in_every_row(nu):
    corrupted, destroyed = FixedMasking(nu)(X, seeded(0))
    assert (destroyed.sum(1) == round(nu * 97)).all()
    assert torch.equal(corrupted, torch.where(destroyed, 0.0, X))


def test_fixed_masking_is_exact_where_random_numbers_tie(monkeypatch):
    monkeypatch.setattr(corruption, "_random_keys", lambda x, _: torch.zeros(x.shape, dtype=torch.int32))
    _, destroyed = FixedMasking(0.25)(X)
    assert (destroyed.sum(1) == 24).all()


def test_fixed_masking_chooses_every_input_equally_often_and_rows_differ():
    x = torch.ones(4000, 20)
    _, destroyed = FixedMasking(0.25)(x, seeded(0))
    # 4000 draws with p = 1/4: five standard deviations are 137.
    assert ((destroyed.sum(0) - 1000).abs() < 137).all()
    assert len(destroyed.unique(dim=0)) > 1000


def test_masking_is_independent_with_probability_nu():
    x = torch.ones(4000, 20)
    corrupted, destroyed = Masking(0.25)(x, seeded(0))
    assert ((destroyed.sum(0) - 1000).abs() < 137).all()
    assert destroyed.sum(1).unique().numel() > 3, "the count must vary from row to row"
    assert torch.equal(corrupted, (~destroyed).float())


def test_gaussian_has_the_standard_deviation_nu():
    noise = Gaussian(0.3)(X, seeded(0))[0] - X
    assert noise.std().item() == pytest.approx(0.3, rel=0.02)
    assert abs(noise.mean().item()) < 0.01


def test_salt_and_pepper_sets_to_0_or_1_evenly():
    corrupted, destroyed = SaltAndPepper(0.4)(X, seeded(0))
    assert destroyed.float().mean().item() == pytest.approx(0.4, abs=0.01)
    assert set(corrupted[destroyed].unique().tolist()) == {0.0, 1.0}
    assert corrupted[destroyed].mean().item() == pytest.approx(0.5, abs=0.02)
    assert torch.equal(corrupted[~destroyed], X[~destroyed])


@pytest.mark.parametrize("q", ALL, ids=lambda q: type(q).__name__)
def test_a_seed_repeats_and_the_input_is_left_alone(q):
    before = X.clone()
    one, two, other = q(X, seeded(5))[0], q(X, seeded(5))[0], q(X, seeded(6))[0]
    assert torch.equal(one, two)
    assert not torch.equal(one, other)
    assert torch.equal(X, before)


@pytest.mark.parametrize("q", [FixedMasking(0.5), Masking(0.5)], ids=lambda q: type(q).__name__)
def test_what_is_left_is_not_rescaled(q):
    corrupted, destroyed = q(X, seeded(0))
    assert torch.equal(corrupted[~destroyed], X[~destroyed])


@pytest.mark.parametrize("cls", [FixedMasking, Masking, SaltAndPepper])
@pytest.mark.parametrize("nu", [-0.1, 1.1, float("nan")])
def test_a_fraction_outside_0_to_1_is_refused(cls, nu):
    with pytest.raises(ValueError, match=r"nu must be in \[0, 1\]"):
        cls(nu)


def test_a_negative_deviation_is_refused():
    with pytest.raises(ValueError, match="at least 0"):
        Gaussian(-1.0)


def test_swap_gives_values_of_other_rows_in_the_same_column():
    x = torch.arange(4000.0)[:, None] + 10_000 * torch.arange(20.0)
    swapped, destroyed = SwapNoise(0.25)(x, seeded(0))
    assert ((destroyed.sum(0) - 1000).abs() < 137).all()
    assert torch.equal(swapped != x, destroyed), "no row gives to itself"
    assert torch.equal((swapped // 10_000), (x // 10_000)), "every value stays in its column"
    # The giving rows are spread evenly: the mean of 20000 draws from 0 to 3999 has a deviation of 8.2.
    assert abs((swapped % 10_000)[destroyed].mean().item() - 1999.5) < 41


def test_swap_leaves_a_row_that_is_alone():
    swapped, destroyed = SwapNoise(1.0)(X[:1], seeded(0))
    assert torch.equal(swapped, X[:1])
    assert not destroyed.any()


IMAGES = torch.rand(40, 3, 5, 4, generator=torch.Generator().manual_seed(0)) * 0.8 + 0.1


@pytest.mark.parametrize("by", ["pixel", "channel"])
@pytest.mark.parametrize("kind", CORRUPTIONS)
def test_groups_of_an_image_share_their_fate(kind, by):
    q = GroupedCorruption(CORRUPTIONS[kind](0.4), by)
    x = IMAGES.clone()
    corrupted, destroyed = q(x, torch.Generator().manual_seed(1))
    assert torch.equal(x, IMAGES)
    assert corrupted.shape == destroyed.shape == x.shape
    # (B, groups, values of a group)
    group = (lambda t: t.flatten(2).transpose(1, 2)) if by == "pixel" else (lambda t: t.flatten(2))
    fate = group(destroyed)
    assert (fate == fate[:, :, :1]).all()
    chosen = fate[:, :, 0]
    assert torch.equal(corrupted[~destroyed], x[~destroyed])
    if kind == "fixed_masking":
        assert (chosen.sum(1) == round(0.4 * chosen.shape[1])).all()
    elif kind != "gaussian":
        assert 0.25 < chosen.float().mean() < 0.55
    new, old = group(corrupted)[chosen], group(x)[chosen]
    if kind in ("fixed_masking", "masking"):
        assert (new == 0).all()
    elif kind == "salt_and_pepper":
        assert (new == new[:, :1]).all()
        assert set(new.unique().tolist()) == {0.0, 1.0}
    elif kind == "gaussian":
        shift = new - old
        torch.testing.assert_close(shift, shift[:, :1].expand_as(shift), rtol=0, atol=1e-5)
        assert 0.3 < shift[:, 0].std() < 0.5
    else:
        # All values of a group come from one other example.
        places = chosen.nonzero()
        for (row, place), values in zip(places.tolist(), new, strict=True):
            donors = (group(x)[:, place] == values).all(1).nonzero().flatten().tolist()
            assert len(donors) == 1
            assert donors != [row]
