"""Anybody's module as the encoder of ERASE: trained as it is, left as it was, and named where it does not fit."""

import copy
import warnings

import pytest
import torch
from estimators import SMALL, altered, same, weights
from torch_geometric.nn import GCNConv, GraphSAGE

from graphnoise import ERASE, InputError


@pytest.mark.parametrize("batch", [None, 30])
def test_anybodys_module_is_copied_and_trained(batch, planted):
    with torch.random.fork_rng():
        torch.random.default_generator.manual_seed(0)
        module = GraphSAGE(12, 16, num_layers=2, out_channels=10, dropout=0.3)
    before = copy.deepcopy(module.state_dict())
    state = torch.random.get_rng_state()
    more = {**SMALL, "lr": 0.01, "epochs": 30}
    models = [ERASE("faithful-cora", encoder=module, batch_size=batch, **more).fit(planted) for _ in range(2)]
    assert same(before, module.state_dict())
    assert torch.equal(state, torch.random.get_rng_state())
    assert same(weights(models[0]), weights(models[1]))
    assert models[0].embed(planted).shape == (120, 10)
    assert models[0].score(planted) > 0.7


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_modules_may_share_weights_and_return_other_types(dtype, planted):
    class Tied(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = GCNConv(12, 12), GCNConv(12, 12)
            self.second.lin.weight = self.first.lin.weight

        def forward(self, x, edge_index):
            return self.second(self.first(x, edge_index).relu(), edge_index).to(dtype)

    model = ERASE(encoder=Tied(), **SMALL).fit(planted)
    assert torch.isfinite(model.predict_proba(planted)).all()


class Wrong(torch.nn.Module):
    def __init__(self, change):
        super().__init__()
        self.layer, self.change = GCNConv(12, 8), change

    def forward(self, x, edge_index):
        return self.change(self.layer(x, edge_index))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda z: z[:-1], r"encoder: expected floating embeddings of shape \[120, width\] from Wrong"),
        (lambda z: z.sum(1), r"encoder: expected floating embeddings of shape \[120, width\] from Wrong"),
        (lambda z: (z, z), r"encoder: expected embeddings of shape \[120, width\] from Wrong, got tuple"),
        (lambda z: z.long(), r"encoder: expected floating embeddings .* torch.int64"),
        (lambda z: z * torch.nan, r"encoder: expected finite embeddings"),
        (lambda z: z.detach(), r"encoder: expected an output with a gradient"),
    ],
)
def test_an_encoder_that_does_not_fit_is_named(change, message, planted):
    with pytest.raises(InputError, match=f"^{message}"):
        ERASE(encoder=Wrong(change), **SMALL).fit(planted)


def test_what_a_module_draws_is_the_same_at_each_prediction(planted):
    class Noisy(GCNConv):
        def forward(self, x, edge_index):
            return super().forward(x, edge_index) + 0.1 * torch.randn(x.shape[0], 8)

    state = torch.random.get_rng_state()
    model = ERASE(encoder=Noisy(12, 8), **SMALL).fit(planted)
    after = torch.random.get_rng_state()
    assert torch.equal(model.predict_proba(planted), model.predict_proba(planted))
    assert torch.equal(after, torch.random.get_rng_state())
    torch.random.set_rng_state(state)
    # The weights of the module above are all that was drawn.
    GCNConv(12, 8)
    assert torch.equal(after, torch.random.get_rng_state())


@pytest.mark.parametrize("batch", [None, 30])
def test_a_module_that_writes_to_its_inputs_changes_no_data(batch, planted):
    class Writes(torch.nn.Linear):
        def forward(self, x, edge_index):
            x += 1
            edge_index += 0
            return super().forward(x.relu_())

    data = altered(planted, x=planted.x.clone(), edge_index=planted.edge_index.clone())
    model = ERASE(encoder=Writes(12, 8), normalise_features=False, batch_size=batch, **SMALL).fit(data)
    assert torch.equal(model.predict_proba(data), model.predict_proba(data))
    assert torch.equal(data.x, planted.x)


@pytest.mark.parametrize("mode", [torch.inference_mode, torch.no_grad])
def test_data_made_where_gradients_are_off_train(mode, planted):
    with mode():
        data = altered(planted, x=planted.x.clone(), edge_index=planted.edge_index.clone())
    module = GCNConv(12, 8)
    models = [ERASE("faithful-cora", encoder=module, **SMALL).fit(given) for given in (planted, data)]
    assert same(*map(weights, models))


class _Rewritten(torch.nn.Linear):
    def forward(self, x, edge_index):
        z = super().forward(x).exp()
        y = z * z
        # What the gradient needs.
        z.add_(1)
        return y


class _Looked(torch.nn.Embedding):
    def forward(self, x, edge_index):
        return super().forward(torch.arange(x.shape[0]))


class _Asserts(GCNConv):
    def forward(self, x, edge_index):
        assert x.shape[1] == 5, "five features"
        return super().forward(x, edge_index)


class _Divides(GCNConv):
    def forward(self, x, edge_index):
        return super().forward(x, edge_index) / (x.shape[0] // 1000 / (x.shape[0] // 1000))


class _Open(GCNConv):
    def __init__(self):
        super().__init__(12, 8)
        self.file = open(__file__)  # noqa: SIM115


MODULES = {
    "cached": (lambda: GCNConv(12, 8, cached=True), "a module whose layers read the arcs of each call"),
    "meta": (lambda: torch.nn.Linear(12, 8, device="meta"), "a module whose weights hold data"),
    "narrow": (lambda: GCNConv(5, 8), "a module that takes features of shape .*, got RuntimeError: mat1"),
    "one argument": (lambda: torch.nn.Linear(12, 8), "a module that takes features of shape .*, got TypeError"),
    "asserts": (lambda: _Asserts(12, 8), "a module that takes .*, got AssertionError: five features"),
    "divides": (lambda: _Divides(12, 8), "a module that takes .*, got ZeroDivisionError"),
    "rewritten": (lambda: _Rewritten(12, 8), "a module that Adam can train, got _Rewritten: RuntimeError: one of the"),
    "sparse gradient": (
        lambda: _Looked(120, 8, sparse=True),
        "a module that Adam can train, got _Looked: RuntimeError",
    ),
    "complex": (
        lambda: torch.nn.Linear(12, 8, dtype=torch.complex64),
        "a module whose weights are real, got a Linear with complex ones",
    ),
    "sparse": (lambda: Wrong(torch.Tensor.to_sparse), "dense embeddings on cpu from Wrong, got sparse_coo"),
    "elsewhere": (
        lambda: Wrong(lambda z: z.to("meta")),
        "dense embeddings on cpu from Wrong, got strided ones on meta",
    ),
    "tiny": (lambda: Wrong(lambda z: z.to(torch.float8_e4m3fn)), "floating embeddings .* torch.float8_e4m3fn"),
}


@pytest.mark.parametrize("name", MODULES)
def test_a_module_that_cannot_serve_is_named(name, planted):
    make, message = MODULES[name]
    with pytest.raises(InputError, match=f"^encoder: expected {message}"):
        ERASE(encoder=make(), **SMALL).fit(planted)


def test_scripted_modules_are_refused(planted):
    with warnings.catch_warnings():
        # torch deprecates scripts.
        warnings.simplefilter("ignore")
        module = torch.jit.trace(torch.nn.Linear(12, 8), planted.x)
    with pytest.raises(InputError, match=r"^encoder: expected a module in Python \(the one that was scripted\)"):
        ERASE(encoder=module, **SMALL).fit(planted)


def test_errors_of_memory_are_not_blamed_on_the_shapes(planted):
    def full(z):
        raise MemoryError

    with pytest.raises(MemoryError):
        ERASE(encoder=Wrong(full), **SMALL).fit(planted)


@pytest.mark.parametrize("preset", ["robust", "faithful-cora"])
def test_a_module_that_writes_to_its_buffers_predicts_the_same_again(preset, planted):
    class Counts(GCNConv):
        def __init__(self):
            super().__init__(12, 8)
            self.register_buffer("calls", torch.zeros(1))

        def forward(self, x, edge_index):
            self.calls += 1
            return super().forward(x, edge_index).roll(int(self.calls), 1)

    model = ERASE(preset, encoder=Counts(), **SMALL).fit(planted)
    assert torch.equal(model.embed(planted), model.embed(planted))
    assert torch.equal(model.predict_proba(planted), model.predict_proba(planted))


def test_a_module_that_cannot_be_copied_is_named(planted):
    module = _Open()
    with module.file, pytest.raises(InputError, match=r"^encoder: expected a module that can be copied, got _Open"):
        ERASE(encoder=module, **SMALL).fit(planted)
