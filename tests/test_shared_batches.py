"""Training by several processes that share mini-batches: the gradients of one process, and what is refused."""

import pytest
import torch
from test_distributed import launch

import graphnoise as gn
from graphnoise.robust import RobustGNN

CALLS = """
from graphnoise.robust import RobustGNN
from torch_geometric.nn import GCN
data = gn.datasets.planted_partition([40, 40, 40], 0.2, 0.02, num_features=8, split=(15, 10, 40), seed=0)
data = gn.noise.LabelNoise("symmetric", 0.3, seed=0)(data)
shared = dict(distributed=True) if ranks else {}
ones = data.clone()
ones.train_mask = torch.zeros(3)
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
# A callback of one process ends training on all.
stop = dict(callbacks=[lambda run: True]) if rank else {{}}
print(len(RobustGNN("ce", **common).fit(data, **stop).history_["loss"]))
model, file = RobustGNN("ce", **common), f"{{sys.path[0]}}/{{rank}}.checkpoint"
one = common | dict(epochs=1)
if rank:
    RobustGNN("ce", checkpoint=file, **one | dict(distributed=False)).fit(data)
def erase(**change):
    return gn.ERASE("faithful-cora", **one | dict(batch_size=50, width=16, hidden=16) | change)
wrong = ones if rank else data
for call in (
    lambda: RobustGNN("ce", **common | dict(lr=0.01 + rank)).fit(data),
    lambda: RobustGNN("ce", checkpoint=file, **one).fit(data),
    lambda: erase(seed=rank).fit(data),
    lambda: RobustGNN("ce", **common).fit(wrong),
    lambda: erase().fit(wrong),
    lambda: RobustGNN("nrgnn", **common).fit(data),
    lambda: RobustGNN("cgnn", **common).fit(data),
    lambda: RobustGNN("ce", model=GCN(8, 16, 2, 3, norm="BatchNorm"), **common).fit(data),
):
    try:
        call()
        print("nothing")
    except gn.InputError as error:
        print(error)
regroup(1)
torch.save(runs({NAMES!r}), f"{{sys.path[0]}}/gradients-{{ranks}}-{{rank}}.pt")
"""
EXPECTED = [
    *["arguments: expected the same data and settings on every process"] * 3,
    *["arguments: expected valid ones on every process, got on process 1: data.train_mask: expected"] * 2,
    "distributed: expected a method without a forward pass of its own, got ",
    "distributed: expected a method that does not read the arcs or features",
    "distributed: expected a model without batch normalisation",
]


def test_gradients_are_those_of_one_process(tmp_path):
    whole = CALLS.replace("shared = ", "ranks = 0; shared = ")
    scope = {"gn": gn, "torch": torch}
    adam = torch.optim.Adam.step
    try:
        exec(whole, scope)
        alone = scope["runs"](["ce", "erase"])
    finally:
        torch.optim.Adam.step = adam
    for out in launch(tmp_path, CALLS + BODY):
        epochs, *errors = out.splitlines()
        assert epochs == "1"
        for error, expected in zip(errors, EXPECTED, strict=True):
            assert error.startswith((expected, expected.split("process 1: ")[-1])), error
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
