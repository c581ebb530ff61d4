"""Training by several processes that share mini-batches: the gradients of one process, and what is refused."""

import pytest
import torch
from test_distributed import launch

import graphnoise as gn
from graphnoise.robust import RobustGNN

CALLS = """
import sys, warnings
warnings.simplefilter("ignore")
from graphnoise.robust import RobustGNN
data = gn.datasets.planted_partition([40, 40, 40], 0.2, 0.02, num_features=8, split=(15, 10, 40), seed=0)
data = gn.noise.LabelNoise("symmetric", 0.3, seed=0)(data)
shared = dict(distributed=True) if ranks else {}
seen = []
step = torch.optim.Adam.step
def watched(self, *rest):
    seen.append([p.grad.clone() for group in self.param_groups for p in group["params"] if p.grad is not None])
    return step(self, *rest)
torch.optim.Adam.step = watched
common = dict(epochs=3, batch_size=20, fanouts=(-1, -1), dropout=0.0, progress=False, **shared)
def runs(names):
    found = {}
    for name in names:
        seen.clear()
        if name == "erase":
            preset = dict(width=16, hidden=16, encoder="gcn", probe_every=3, memory=0.3)
            gn.ERASE("faithful-cora", **common | dict(batch_size=50), **preset).fit(data)
        else:
            RobustGNN(name, **common).fit(data)
        found[name] = [list(one) for one in seen]
    return found
"""
# Losses, state by node, two networks, a learned part of the method, and the coding rate of a whole batch.
NAMES = ["ce", "elr", "co-teaching", "s-model", "erase"]
BODY = f"""
torch.save(runs({NAMES!r}), f"{{sys.path[0]}}/gradients-{{ranks}}-{{rank}}.pt")
try:
    RobustGNN("ce", **common | dict(lr=0.01 + rank)).fit(data)
    assert ranks == 1
except gn.InputError as error:
    assert str(error).startswith("arguments: expected the same data and settings on every process"), error
for name in ("nrgnn", "cgnn"):
    try:
        RobustGNN(name, **common).fit(data)
        print("nothing")
    except gn.InputError as error:
        print(error)
"""


def test_gradients_are_those_of_one_process(tmp_path):
    whole = CALLS.replace("shared = ", "ranks = 0; shared = ")
    scope = {"gn": gn, "torch": torch}
    adam = torch.optim.Adam.step
    try:
        exec(whole, scope)
        alone = scope["runs"](["ce", "erase"])
    finally:
        torch.optim.Adam.step = adam
    for ranks in (1, 2):
        for out in launch(tmp_path, CALLS + BODY, ranks):
            lines = out.splitlines()
            assert lines[0].startswith("distributed: expected a method without a forward pass of its own, got ")
            assert lines[1].startswith("distributed: expected a method that does not read the arcs or features")
    one, first, second = (torch.load(tmp_path / f"gradients-{k}.pt") for k in ("1-0", "2-0", "2-1"))
    for name in NAMES:
        assert len(one[name]) == len(first[name]) > 3
        # Steps of Adam magnify rounding, so that later gradients differ more.
        for a, b, c in zip(one[name][0], first[name][0], second[name][0], strict=True):
            assert torch.equal(b, c)
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)
        assert all(torch.equal(b, c) for b, c in zip(first[name][-1], second[name][-1], strict=True))
    for name, gradients in alone.items():
        for a, b in zip(gradients[0], one[name][0], strict=True):
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)


def test_what_is_missing_is_one_error():
    data = gn.datasets.planted_partition([9, 9], 0.5, 0.1, num_features=4, split=(4, 4, 4), seed=0)
    for make in (RobustGNN, gn.ERASE):
        with pytest.raises(gn.InputError, match="distributed: expected a batch_size"):
            make(distributed=True)
        with pytest.raises(gn.InputError, match="distributed: expected a process group"):
            make(distributed=True, batch_size=4, progress=False).fit(data)
