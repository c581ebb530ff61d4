"""Graph attention as torch sees it: two operations, one the gradient of the other."""

import pytest
import torch
import torch.autograd.forward_ad as forward_ad
from oracles import assert_close
from torch._subclasses.fake_tensor import FakeTensorMode

from graphnoise.kernels.attention import attend, gradients, operation

ROWPTR, COL = torch.tensor([0, 2, 2, 5, 6]), torch.tensor([4, 0, 3, 3, 1, 2])


def values(draw, heads=2, width=3, dtype=torch.float32):
    shapes = {"h": (5, heads, width), "source": (5, heads), "target": (4, heads), "bias": (heads, width)}
    return [torch.randn(shape, generator=draw, dtype=dtype).requires_grad_() for shape in shapes.values()]


@pytest.mark.parametrize("biased", [False, True])
@pytest.mark.parametrize("dropped", [False, True])
def test_torch_accepts_the_operation(biased, dropped, draw):
    h, source, target, bias = values(draw)
    factor = torch.rand(6, 2, generator=draw) if dropped else None
    torch.library.opcheck(operation, (ROWPTR, COL, h, source, target, bias if biased else None, factor, 0.2))


@pytest.mark.parametrize("dropped", [False, True])
def test_torch_accepts_the_gradient(dropped, draw):
    h, source, target, _ = (v.detach() for v in values(draw))
    factor = torch.rand(6, 2, generator=draw) if dropped else None
    weight = operation(ROWPTR, COL, h, source, target, None, factor, 0.2)[1]
    assert_close(weight[2:5].sum(0), torch.ones(2))
    torch.library.opcheck(gradients, (ROWPTR, COL, h, source, target, factor, weight, torch.ones(4, 2, 3), 0.2))


def test_shapes_are_known_without_values():
    with FakeTensorMode():
        rowptr, col = torch.empty(5, dtype=torch.int64), torch.empty(6, dtype=torch.int64)
        h, source, target = torch.empty(3, 5, 2).transpose(0, 1), torch.empty(5, 3), torch.empty(4, 3)
        out, weight = operation(rowptr, col, h, source, target, None, None, 0.2)
        assert (out.shape, out.dtype, out.is_contiguous()) == ((4, 3, 2), torch.float32, True)
        assert weight.shape == (6, 3)
        grads = gradients(rowptr, col, h, source, target, None, weight, out, 0.2)
        assert [g.shape for g in grads] == [h.shape, source.shape, target.shape]
        assert all(g.is_contiguous() for g in grads)


@pytest.mark.parametrize("wanted", [[0], [1], [2], [3], [0, 3], [1, 2]])
def test_gradients_of_some_inputs_only(wanted, draw):
    leaves = [v.detach().requires_grad_(k in wanted) for k, v in enumerate(values(draw))]
    upstream, results = torch.randn(4, 2, 3, generator=draw), []
    for backend in ("native", "reference"):
        out = attend(ROWPTR, COL, *leaves[:3], bias=leaves[3], backend=backend)
        results.append(torch.autograd.grad(out, [leaves[k] for k in wanted], upstream))
    for native, reference in zip(*results, strict=True):
        assert_close(native, reference, 5e-6)


def test_compiled_in_one_graph(draw):
    leaves, factor = values(draw), torch.rand(6, 2, generator=draw)

    def function(h, source, target, bias):
        first = attend(ROWPTR, COL, h * 2, source, target, bias=bias, factor=factor)
        return attend(ROWPTR, COL, torch.cat([first, first[:1]]), source, target).square() + 1

    compiled = torch.compile(function, fullgraph=True, backend="aot_eager")
    results = []
    for call in (function, compiled):
        out = call(*leaves)
        results.append((out, *torch.autograd.grad(out.sum(), leaves)))
        with torch.no_grad():
            assert torch.equal(call(*leaves), out)
    for eager, traced in zip(*results, strict=True):
        assert_close(traced, eager)
    torch.compiler.reset()


def test_other_derivatives_are_refused_and_never_silently_wrong(draw):
    h, source, target, bias = values(draw)
    out = attend(ROWPTR, COL, h, source, target, bias=bias, backend="native")
    grads = torch.autograd.grad(out.square().sum(), (h, source), create_graph=True)
    with pytest.raises(NotImplementedError, match="no second derivative here: take backend='reference'"):
        torch.autograd.grad(grads[0].sum() + grads[1].sum(), h)
    batch = torch.randn(2, 5, 2, 3, generator=draw)
    mapped = torch.func.vmap(lambda x: attend(ROWPTR, COL, x, source, target))(batch)
    assert torch.equal(mapped, torch.stack([attend(ROWPTR, COL, x, source, target) for x in batch]))
    for place in range(4):
        with forward_ad.dual_level():
            given = [v.detach() for v in (h, source, target, bias)]
            given[place] = forward_ad.make_dual(given[place], torch.ones_like(given[place]))
            with pytest.raises(NotImplementedError, match="no forward-mode derivative here: take backend='reference'"):
                attend(ROWPTR, COL, *given[:3], bias=given[3])
            out = attend(ROWPTR, COL, *given[:3], bias=given[3], backend="reference")
            assert forward_ad.unpack_dual(out).tangent is not None


def test_the_reference_is_differentiable_twice(draw):
    leaves = values(draw, dtype=torch.float64)

    def function(h, source, target, bias):
        return attend(ROWPTR, COL, h, source, target, bias=bias)

    assert torch.autograd.gradgradcheck(function, leaves)
