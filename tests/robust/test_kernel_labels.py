"""Soft labels by kernel density, and the contrast of distant peers."""

import numpy as np
import pytest
import torch
from scipy.special import logsumexp
from torch.nn import functional as F
from training_steps import DATA, VIEW, context, draw, step

from graphnoise.checks import InputError
from graphnoise.nn.features import row_normalised, smoothed
from graphnoise.robust import methods
from graphnoise.robust.detection import agreement_of_nearest
from graphnoise.robust.methods.kernel_labels import distant_peers, kernel_labels, peers_of

Z = F.normalize(draw(30, 4)).double()
Y = torch.arange(30) % 3
CREDIBILITY = torch.rand(30, generator=torch.Generator().manual_seed(1)).double()


@pytest.mark.parametrize("entries", [2**22, 60])
def test_kernel_labels_are_the_sums_over_classes(entries, monkeypatch):
    monkeypatch.setattr("graphnoise.robust.methods.kernel_labels.BLOCK_ENTRIES", entries)
    kernel = np.exp(-torch.cdist(Z, Z).square().numpy() / (2 * 0.4**2)) * CREDIBILITY.numpy()
    np.fill_diagonal(kernel, 0)
    for power in (0.0, 1.0):
        mass = kernel @ np.eye(3)[Y] / np.bincount(Y, CREDIBILITY) ** power
        expected = mass / mass.sum(1, keepdims=True)
        np.testing.assert_allclose(kernel_labels(Z, Y, CREDIBILITY, 3, 0.4, power), expected, atol=1e-12)


def test_a_changed_label_moves_soft_labels_by_its_share_of_the_kernel():
    before = kernel_labels(Z, Y, CREDIBILITY, 3, 0.4, 0.0)
    changed = Y.clone()
    changed[7] = (Y[7] + 1) % 3
    after = kernel_labels(Z, changed, CREDIBILITY, 3, 0.4, 0.0)
    logs = CREDIBILITY.log() - torch.cdist(Z, Z).square() / (2 * 0.4**2)
    logs.fill_diagonal_(-torch.inf)
    share = np.exp(logs[:, 7].numpy() - logsumexp(logs.numpy(), 1))
    np.testing.assert_allclose(after[:, changed[7]] - before[:, changed[7]], share, atol=1e-12)
    np.testing.assert_allclose(before[:, Y[7]] - after[:, Y[7]], share, atol=1e-12)


def test_class_shares_are_balanced_by_their_inverse_only():
    # Ten rows of one density: nine of class 0, one of class 1; what the row between them sees.
    z, y = torch.ones(1, 1).repeat(11, 1).double(), torch.tensor([0] * 9 + [1] + [0])
    credibility = torch.ones(11).double()
    credibility[10] = 0.0
    balanced, plain = (kernel_labels(z, y, credibility, 2, 1.0, power)[10] for power in (1.0, 0.0))
    torch.testing.assert_close(balanced, torch.tensor([0.5, 0.5]).double())
    torch.testing.assert_close(plain, torch.tensor([0.9, 0.1]).double())
    even = kernel_labels(z[:10], y[:10], credibility[:10], 2, 1.0, 1.0)
    # Nine to one of equal density, the row itself left out.
    torch.testing.assert_close(even[0], F.normalize(torch.tensor([8 / 9, 1.0]), p=1, dim=0).double())


def test_classes_of_credible_labels_are_not_in_every_target():
    # As many labels of each class at one place, and those of class 0 ten times as credible.
    z, y = torch.ones(41, 1).double(), torch.arange(41) % 2
    credibility = torch.where(y == 0, 1.0, 0.1).double()
    credibility[40] = 0.0
    torch.testing.assert_close(kernel_labels(z, y, credibility, 2, 1.0, 1.0)[40], torch.tensor([0.5, 0.5]).double())


def test_nothing_underflows():
    z = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0]]).double()
    found = kernel_labels(z, torch.tensor([0, 1, 0]), torch.ones(3).double(), 2, 1e-3, 1.0)
    assert bool(torch.isfinite(found).all())
    torch.testing.assert_close(found.sum(1), torch.ones(3).double())
    nobody = kernel_labels(z, torch.tensor([0, 1, 0]), torch.zeros(3).double(), 2, 1.0, 1.0)
    assert torch.equal(nobody, torch.full((3, 2), 0.5).double())


def test_targets_mix_given_labels_with_the_density_by_credibility():
    method, state = methods.create_method("kernel-labels"), context(labelled=torch.arange(60), given=DATA.y)
    method.setup(state)
    z = smoothed(row_normalised(VIEW.x), VIEW.graph, 2).double()
    credibility = torch.from_numpy(agreement_of_nearest(z.numpy(), DATA.y.numpy(), 10))
    width = torch.cdist(z, z).sort(1).values[:, 10].median()
    other = torch.cdist(z, z).sort(1).values[:, 10].sort().values[29:31].mean()
    assert width <= other
    density = kernel_labels(z, DATA.y, credibility, 3, float(other), 1.0)
    expected = credibility.unsqueeze(1) * F.one_hot(DATA.y, 3) + (1 - credibility).unsqueeze(1) * density
    torch.testing.assert_close(method.targets(step(state)), expected.float())
    assert bool(method.targets(step(state)).sum(1).allclose(torch.ones(60)))


def test_without_the_gate_a_mislabelled_node_is_a_distant_peer():
    angle = torch.linspace(0, 0.5, 20)
    z = torch.cat([torch.stack([angle.cos(), angle.sin()], 1), torch.stack([-angle.sin(), angle.cos()], 1)])
    y = torch.arange(40) // 20
    y[25] = 0
    credible = torch.from_numpy(agreement_of_nearest(z.numpy(), y.numpy(), 10) >= 0.5)
    assert credible.tolist() == (torch.arange(40) != 25).tolist()
    _, positive, _ = peers_of(z, y, 5)
    assert bool(positive[:20, 25].all())
    kept = credible.nonzero().view(-1)
    _, gated, _ = peers_of(z[kept], y[kept], 5)
    assert 25 not in kept[gated.any(0)]
    # The gated loss does not depend on where the mislabelled node is.
    moved = z.clone()
    moved[25] = torch.tensor([0.3, -0.9])
    assert distant_peers(moved, y, credible, 5) == distant_peers(z, y, credible, 5)
    assert distant_peers(z, y, torch.ones_like(credible), 5) != distant_peers(z, y, credible, 5)


def test_distant_peers_by_the_formula():
    z, y = draw(12, 3), torch.arange(12) % 2
    cosine = F.cosine_similarity(z.unsqueeze(1), z, dim=2).double().numpy()
    terms = []
    for i in range(12):
        same = [j for j in range(12) if j != i and y[j] == y[i]]
        other = [j for j in range(12) if y[j] != y[i]]
        positive = sorted(same, key=lambda j: cosine[i, j])[:2]
        negative = sorted(other, key=lambda j: -cosine[i, j])[:2]
        up = np.exp(cosine[i, positive] / 0.5).sum()
        terms.append(-np.log(up / (up + np.exp(cosine[i, negative] / 0.5).sum())))
    everyone = torch.ones(12, dtype=torch.bool)
    assert float(distant_peers(z, y, everyone, 2)) == pytest.approx(np.mean(terms), rel=1e-5)
    assert distant_peers(z, torch.zeros_like(y), everyone, 2) == 0.0
    assert distant_peers(z, y, ~everyone, 2) == 0.0


def test_bad_settings_are_named():
    for setting in ({"num_neighbours": 0}, {"power": -1}, {"gate": 2}, {"peers": 0}, {"temperature": 0}):
        with pytest.raises(InputError, match=f"{next(iter(setting))}: expected"):
            methods.create_method("kernel-labels", **setting)
