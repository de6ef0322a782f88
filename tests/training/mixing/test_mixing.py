"""The mixed classifier: its heads against scikit-learn's, its folds, its shares and its members."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.stats import ttest_1samp
from sklearn.datasets import load_wine, make_classification, make_moons
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from stacked_dae.config.optimizer_schema import OptimizerConfig
from stacked_dae.config.schema import FinetuneConfig
from stacked_dae.nn.autoencoder import DenoisingAutoencoder
from stacked_dae.nn.mixed_classifier import Members, SkipHeads
from stacked_dae.nn.stack import Encoder, EncoderStack
from stacked_dae.training.mixing import classifier as mixing
from stacked_dae.training.mixing.epoch_log import EpochLog
from stacked_dae.training.mixing.members import finetune_members
from stacked_dae.training.mixing.shares import is_above, mixture_shares, stratified_folds
from stacked_dae.training.mixing.softmax_heads import fit_softmax_heads
from stacked_dae.utils.terminal.progress import Reporter

SETTINGS = FinetuneConfig(
    head="mixed", batch_size=32, epochs=20, patience=5, dropout=0.2, optimizer=OptimizerConfig(name="adamw", lr=1e-3)
)


class Log(EpochLog):
    """Keeps the epochs, and calls a function at each."""

    def __init__(self, call=lambda: None):
        super().__init__("finetune", Reporter())
        self.epochs, self.call = [], call

    def add(self, epoch, held_out, train_loss, seconds):
        self.epochs.append(epoch)
        self.call()


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def wine():
    x, y = load_wine(return_X_y=True)
    return torch.from_numpy((x - x.mean(0)) / x.std(0)), torch.from_numpy(y)


@pytest.mark.parametrize("strength", [0.05, 1.0, 10.0])
@pytest.mark.parametrize("rows", [178, 9], ids=["more rows", "more features"])
def test_heads_are_those_of_scikit_learn(strength, rows):
    x, y = wine()
    x, y = x[:: 178 // rows][:rows], y[:: 178 // rows][:rows]
    weights = torch.stack([torch.ones(rows), torch.rand(rows, generator=generator()) + 0.1]).double()
    slopes, biases = fit_softmax_heads(x, y, weights, strength, 3)
    for k, weight in enumerate(weights):
        # Its stopping rule is coarse, so a tight one for the reference.
        reference = LogisticRegression(C=strength, tol=1e-10, max_iter=10000)
        reference.fit(x.numpy(), y.numpy(), sample_weight=weight.numpy())
        ours = (x @ slopes[k] + biases[k]).softmax(1).numpy()
        assert np.allclose(ours, reference.predict_proba(x.numpy()), atol=1e-4)


def test_a_row_of_weight_two_is_two_rows_to_a_head():
    x, y = wine()
    weights = torch.ones(len(y), dtype=torch.float64)
    weights[:50] = 2
    weighted = fit_softmax_heads(x, y, weights[None], 1.0, 3)[0]
    repeated = fit_softmax_heads(
        torch.cat([x, x[:50]]), torch.cat([y, y[:50]]), torch.ones(1, len(y) + 50).double(), 1.0, 3
    )[0]
    assert torch.allclose(weighted, repeated, atol=1e-5)


def test_a_problem_without_weight_is_no_number_out_of_range():
    x, y = wine()
    slopes, biases = fit_softmax_heads(x, y, torch.zeros(1, len(y)).double(), 1.0, 3)
    assert torch.isfinite(slopes).all()
    assert torch.isfinite(biases).all()


def test_folds_spread_each_class_and_all_rows():
    labels = torch.tensor([0] * 23 + [1] * 7 + [2] * 2)
    folds = stratified_folds(labels, 5, generator())
    assert max(folds.bincount(minlength=5)) - min(folds.bincount(minlength=5)) <= 1
    for label in range(3):
        counts = folds[labels == label].bincount(minlength=5)
        assert max(counts) - min(counts) <= 1
    assert not torch.equal(folds, stratified_folds(labels, 5, generator(1)))


def test_shares_follow_the_likelihood_and_the_weights():
    good, bad = torch.full((40,), -0.1), torch.full((40,), -2.0)
    shares = mixture_shares(torch.stack([good, bad, good]).double(), torch.ones(40).double())
    assert shares.sum() == pytest.approx(1.0)
    assert shares[0] == pytest.approx(shares[2])
    assert shares[1] < 0.01
    # On rows of no weight a candidate may be as bad as it likes.
    half = torch.cat([torch.ones(20), torch.zeros(20)]).double()
    mixed = torch.stack([torch.cat([good[:20], bad[:20] * 100]), torch.cat([bad[:20], good[:20]])]).double()
    assert mixture_shares(mixed, half)[0] > 0.95


def test_shares_begin_with_the_rows_that_count_before():
    equal = torch.full((2, 10), -1.0).double()
    assert mixture_shares(equal, torch.ones(10).double(), torch.tensor([0.0, 30.0]).double())[1] > 0.8
    better = torch.stack([torch.full((3000,), -0.1), torch.full((3000,), -2.0)]).double()
    assert mixture_shares(better, torch.ones(3000).double(), torch.tensor([0.0, 30.0]).double())[0] > 0.9


def test_a_gain_counts_by_its_standard_error():
    gains = torch.randn(50, generator=generator()).double() + 0.3
    t = float(ttest_1samp(gains.numpy(), 0.0).statistic)
    one = torch.ones(50).double()
    assert t > 1
    assert is_above(gains, one, t - 1e-6)
    assert not is_above(gains, one, t + 1e-6)
    # Rows of no weight are not there, the unit of weights says nothing, and a loss is no gain.
    more, weights = torch.cat([gains, gains - 100]), torch.cat([one, 0 * one]) * 7
    assert is_above(more, weights, t - 1e-6)
    assert not is_above(more, weights, t + 1e-6)
    assert not is_above(-gains, one, 0.0)
    assert not is_above(0 * gains, one, 0.0)


def members(count=3):
    torch.manual_seed(0)
    encoders = [Encoder(4, 6, "tanh"), Encoder(6, 5, "sigmoid")]
    for encoder in encoders:
        for parameter in encoder.parameters():
            torch.nn.init.normal_(parameter)
    heads = SkipHeads(4, 5, 3, count)
    for parameter in heads.parameters():
        torch.nn.init.normal_(parameter)
    return encoders, Members(encoders, heads)


def test_members_are_networks_side_by_side():
    encoders, side = members()
    with torch.no_grad():
        for parameter in side.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator()))
    x = torch.randn(3, 7, 4, generator=generator())
    for m in range(3):
        y = x[m]
        for weight, bias, encoder in zip(side.weights, side.biases, encoders, strict=True):
            y = getattr(torch, encoder.activation)(y @ weight[m] + bias[m])
        expected = x[m] @ side.heads.input_weight[m] + y @ side.heads.code_weight[m] + side.heads.bias[m]
        assert torch.allclose(side(x)[m], expected, atol=1e-5)


def test_a_member_never_sees_the_labels_that_it_holds_out():
    x, y = make_classification(90, 4, n_informative=3, n_redundant=0, n_classes=3, random_state=0)
    x, y = torch.from_numpy(x).float(), torch.from_numpy(y)
    folds = torch.arange(90) % 3
    ones = torch.ones(90).double()
    changed = torch.where(folds == 1, (y + 1) % 3, y)
    seen = []
    for labels in (y, changed):
        side = members()[1]
        epochs = []

        def keep(side=side, epochs=epochs):
            epochs.append([parameter.detach().clone() for parameter in side.parameters()])

        # Of each epoch, since the labels held out decide which is kept.
        finetune_members(side, x, labels, ones, folds, SETTINGS, generator(), Log(keep))
        seen.append(epochs[:3])
    for first, second in zip(*seen, strict=True):
        assert all(torch.equal(a[1], b[1]) for a, b in zip(first, second, strict=True))
        assert not any(torch.equal(a[0], b[0]) for a, b in zip(first, second, strict=True))


def test_epoch_0_is_kept_where_training_does_not_help():
    x, y = torch.randn(60, 4, generator=generator()), torch.arange(60) % 3
    side = members()[1]
    for parameter in side.heads.parameters():
        parameter.data.zero_()
    before = {name: value.clone() for name, value in side.state_dict().items()}
    random = torch.randint(0, 3, (60,), generator=generator())
    wild = replace(SETTINGS, epochs=4, dropout=0.0, optimizer=OptimizerConfig(name="sgd", lr=50.0))
    log = Log()
    held_out, epoch = finetune_members(side, x, random, torch.ones(60).double(), y, wild, generator(), log)
    assert epoch == 0
    assert log.epochs == [1, 2, 3, 4]
    assert held_out.of_labels == pytest.approx(torch.full((60,), -np.log(3)), abs=1e-6)
    assert all(torch.equal(value, before[name]) for name, value in side.state_dict().items())


def encoders_of(x, units=8):
    layer = DenoisingAutoencoder(
        x.shape[1], units, activation="tanh", decoder="identity", loss="squared_error", generator=generator()
    )
    return EncoderStack([x.shape[1], units], ["tanh"], 0).copy_encoders_from([layer]).layers


def mixed(x, y, weights=None, rows=None, seed=0):
    rows = torch.arange(len(y)) if rows is None else rows
    weights = torch.ones(len(y), dtype=torch.float64) if weights is None else weights
    return mixing.fit_mixed_classifier(
        encoders_of(x), x.float(), rows, y, weights, int(y.max()) + 1, SETTINGS, generator(seed), Log()
    )


def moons():
    x, y = make_moons(300, noise=0.15, random_state=0)
    return torch.from_numpy((x - x.mean(0)) / x.std(0) * (0.5, 3.0)), torch.from_numpy(y)


def test_the_classifier_is_the_mixture_of_its_parts():
    x, y = moons()
    model, mixture = mixed(x, y)
    assert mixture.inputs + mixture.codes + mixture.finetuned == pytest.approx(1.0)
    assert min(mixture.codes, mixture.finetuned) > 0.1
    with torch.no_grad():
        p = model(x).exp()
        codes = model.codes(x)[-1]
        parts = [*model.heads(x, codes).softmax(2), model.members(x).softmax(2).mean(0)]
        expected = sum(share * part for share, part in zip(model.shares, parts, strict=True))
    assert torch.allclose(p.sum(1), torch.ones(len(x), dtype=torch.float64))
    assert torch.allclose(p, expected)
    assert (model.heads.code_weight[[0, 1, -1]] == 0).all()
    assert (model.heads.code_weight[2:-1] != 0).any(2).any(1).all()


@pytest.mark.parametrize("data", [wine, moons])
def test_logistic_regression_is_among_the_candidates(data):
    x, y = data()
    rows = torch.arange(0, len(y), 3)
    model, _ = mixed(x, y[rows], rows=rows)
    reference = make_pipeline(StandardScaler(), LogisticRegression(tol=1e-10, max_iter=10000))
    reference.fit(x[rows].numpy(), y[rows].numpy())
    with torch.no_grad():
        found = model.heads(x, model.codes(x)[-1]).softmax(2)[-1]
    assert np.allclose(found.numpy(), reference.predict_proba(x.numpy()), atol=1e-4)


def test_codes_have_no_share_where_they_are_not_better():
    x = torch.randn(200, 6, generator=generator()).double()
    y = (x @ torch.arange(6).double() + 3 * torch.randn(200, generator=generator(1)) > 0).long()
    model, mixture = mixed(x, y)
    assert (mixture.inputs, mixture.codes, mixture.finetuned, mixture.epoch) == (pytest.approx(1.0), 0.0, 0.0, 0)
    assert model.members is None
    with torch.no_grad():
        heads = model.heads(x, model.codes(x)[-1]).softmax(2)[[0, 1, -1]]
    assert torch.allclose(model(x).exp(), (model.shares[[0, 1, 5], None, None] * heads).sum(0))


@pytest.mark.parametrize(("per_class", "equal"), [(1, True), (2, True), (3, False), (5, False)])
def test_heads_have_equal_shares_where_too_few_labels_could_tell_them_apart(per_class, equal):
    x, y = wine()
    rows = torch.cat([torch.nonzero(y == k)[:per_class, 0] for k in range(3)])
    model, mixture = mixed(x, y[rows], rows=rows)
    assert torch.allclose(model.shares[:6], torch.full((6,), 1 / 6, dtype=torch.float64)) == equal
    assert mixture.inputs + mixture.codes == pytest.approx(1.0)


def test_few_labels_outweigh_the_rows_that_count_before():
    x, y = wine()
    rows = torch.cat([torch.nonzero(y == k)[:3, 0] for k in range(3)])
    model, mixture = mixed(x, y[rows], rows=rows)
    # Two rows for logistic regression, beside nine labels, had given it 0.89.
    assert model.shares[5] < 0.5 < mixture.codes


def test_the_held_out_loss_is_honest():
    x = torch.randn(100, 40, generator=generator())
    y = torch.randint(0, 2, (100,), generator=generator())
    _, mixture = mixed(x, y)
    # Nothing can be learnt, and a loss on labels that were seen would be near 0.
    assert mixture.log_loss > 0.6


def test_few_labels_leave_the_encoders_as_they_are():
    x, y = wine()
    rows = torch.arange(0, 178, 4)
    assert len(rows) < mixing.FEWEST_TO_FINETUNE
    model, mixture = mixed(x, y[rows], rows=rows)
    assert model.members is None
    assert (mixture.finetuned, mixture.epoch) == (0.0, 0)
    assert model(x).exp().sum(1) == pytest.approx(torch.ones(178, dtype=torch.float64))


def test_weights_move_the_answers():
    x, y = make_classification(200, 6, n_informative=2, weights=[0.9], class_sep=0.4, random_state=0)
    x, y = torch.from_numpy(x), torch.from_numpy(y)
    plain, _ = mixed(x, y)
    heavy, _ = mixed(x, y, torch.where(y == 1, 9.0, 1.0).double())
    with torch.no_grad():
        assert heavy(x).exp()[:, 1].mean() > plain(x).exp()[:, 1].mean() + 0.2
