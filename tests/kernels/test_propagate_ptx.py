"""What Triton compiles for GPUs that are not there: what it uses, and what it computes on the machine of `ptx`."""

import aot
import numpy as np
import propagation_contract as contract
import ptx
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from graphnoise.kernels.propagate import triton as tier

ARCHITECTURES = (80, 90, 100)
SWITCHES = ("X_IS_Y", "CLAMP", "Y_SCALED", "OUT_SCALED")
POINTERS = ("value", "left", "right", "scale", "known", "x", "mask")
# Local and shared memory, barriers, atomics.
FORBIDDEN = ("LDL", "STL", "LDS", "STS", "LDSM", "BAR", "ATOM", "RED.")


@pytest.fixture(scope="module", autouse=True)
def _own_cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRITON_CACHE_DIR", str(tmp_path_factory.mktemp("triton")))
        yield


@pytest.fixture
def emulated(monkeypatch):
    """Return a function that makes `run` launch on the machine, as an architecture."""

    def use(arch):
        emulator = aot.Emulator(arch)
        monkeypatch.setattr(tier, "launch", emulator)
        return emulator

    return use


def case(d, dtype=torch.float32, kind="sym", graph="long rows", num_steps=1, **changes):
    edge_index, n = contract.graphs()[graph]
    y = torch.rand(n, d, generator=torch.Generator().manual_seed(d)).to(dtype)
    made = contract.Case(contract.arcs_of(edge_index, n, kind), None, y, None, 0.9, 0.1, num_steps, (0.0, 1.0), None)
    return made._replace(**changes)


def variants():
    """Return cases whose launches are, together, all kinds of programs that `run` can start."""
    mask = torch.arange(19) % 3 != 0
    half, brain = torch.float16, torch.bfloat16
    lazy = {"source": None, "start": case(130, brain).source, "clamp": None}
    return {
        "d=40, restart": case(40, mask=mask, num_steps=3),
        "d=40, value per arc": case(40, kind="value", start=-case(40).source, mask=mask),
        "d=1, value per arc, bfloat16": case(1, brain, "value", mask=mask, num_steps=2),
        "d=3, row, only S": case(3, kind="row", beta=0.0),
        "d=5, col, float16": case(5, half, "col", mask=mask, num_steps=2),
        "d=41, sym": case(41, num_steps=2),
        "d=65, none, float16": case(65, half, "none", alpha=0.01, start=case(65, half).source),
        "d=130, col, lazy, bfloat16": case(130, brain, "col", num_steps=2, **lazy),
    }


@pytest.mark.parametrize("arch", ARCHITECTURES)
@pytest.mark.parametrize("name", variants())
def test_compiled_programs_keep_the_contract_in_registers(name, arch, emulated, tmp_path):
    emulator = emulated(arch)
    contract.check(variants()[name], tier.run, repeat=arch == 80)
    assert {kernel for kernel, *_ in emulator.launched.values()} == {"step_rows", "sum_pieces", "step_hubs"}
    for kernel, made, _, arguments in emulator.launched.values():
        used = aot.usage(made, tmp_path)
        assert used["REG"] <= 96, f"{kernel}: {used}"
        assert used["STACK"] == used["LOCAL"] == made.metadata.shared == 0, f"{kernel}: {used}"
        # For one architecture a variant, in turn: it takes most of the time.
        if arch != ARCHITECTURES[list(variants()).index(name) % len(ARCHITECTURES)]:
            continue
        opcodes = aot.opcodes(made, tmp_path)
        assert not [opcode for opcode in opcodes if opcode.startswith(FORBIDDEN)]
        wide = arguments["WIDTH"] * 4 if kernel == "step_hubs" else arguments["STRIDE"] * arguments["y"].element_size()
        if wide % 16 == 0:
            assert opcodes["LDG.E.128"], f"{kernel}: {opcodes}"
    if name == "d=40, restart":
        for kernel, made, *_ in emulator.launched.values():
            assert aot.spills(made, arch, tmp_path) == 0, kernel


def test_the_variants_cover_every_switch(monkeypatch):
    seen = {}

    def note(kernel, grid, **arguments):
        for name in SWITCHES:
            if kernel != "sum_pieces":
                seen.setdefault((kernel, name), set()).add(arguments[name])
        for name in POINTERS:
            if name in arguments and not (kernel == "step_hubs" and name in ("value", "scale")):
                seen.setdefault((kernel, name), set()).add(arguments[name] is None)
        seen.setdefault((kernel, "type"), set()).add(arguments["y"].dtype)

    monkeypatch.setattr(tier, "launch", note)
    for arguments in variants().values():
        tier.run(*arguments)
    for (kernel, name), values in seen.items():
        assert len(values) == (3 if name == "type" else 2), f"{kernel} was only met with {name}: {values}"


STOPS = [name for name in contract.early_stops() if "of 10" in name]


@pytest.mark.parametrize("name", [*STOPS, *contract.not_finite()])
def test_stops_and_values_that_are_not_finite(name, emulated):
    emulated(80)
    contract.check((contract.early_stops() | contract.not_finite())[name], tier.run, repeat=False)


def masked(edge_index, n, seed):
    """Return a case whose programs are those of the first variant."""
    y = torch.rand(n, 40, generator=torch.Generator().manual_seed(seed))
    arcs = contract.arcs_of(edge_index, n, "sym")
    return contract.Case(arcs, None, y, torch.arange(n) % 3 != 0, 0.9, 0.1, 3, (0.0, 1.0), None)


@pytest.mark.parametrize("graph", contract.graphs())
def test_graphs_of_awkward_shapes(graph, emulated):
    emulated(80)
    contract.check(masked(*contract.graphs()[graph], 0), tier.run)


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), n=st.integers(1, 6))
def test_small_graphs(data, n, emulated):
    emulated(80)
    node = st.integers(0, n - 1)
    edge_index = torch.tensor(data.draw(st.lists(st.tuples(node, node), max_size=40)), dtype=torch.long)
    contract.check(masked(edge_index.reshape(-1, 2).t(), n, data.draw(st.integers(0, 99))), tier.run, repeat=False)


def test_unaligned_tensors_of_the_caller_are_served(emulated):
    emulated(80)
    given = case(40, num_steps=3)
    n = given.source.shape[0]
    shifted = torch.cat([torch.zeros(1), given.source.flatten()])[1:].view(n, 40)
    assert shifted.data_ptr() % 16 == 4
    contract.check(given._replace(start=shifted, source=shifted), tier.run, repeat=False)


def traffic(arcs, d):
    """Return the sectors of 32 bytes that each array takes in a middle step of float32 with a restart, by formula."""
    rowptr = arcs.rowptr.long().numpy()
    begin, end = rowptr[:-1], rowptr[1:]
    rows, n = -(-d * 4 // 32), len(begin)
    assert d * 4 % 32 == 0
    distinct = len(np.unique(np.stack([arcs.row.numpy(), arcs.col.numpy()]), axis=1).T)
    own = len(set(arcs.row[arcs.row == arcs.col].tolist()))
    return {
        "rowptr": int((np.arange(1, n + 1) // 8 - np.arange(n) // 8 + 1).sum()),
        "col": int(np.where(end > begin, (end - 1) // 8 - begin // 8 + 1, 0).sum()),
        "y": rows * (distinct + n - own),
        "x": rows * n,
        "left": n,
        "right": n,
        "out": rows * n,
        "change": 2 * n,
    }


def test_a_step_asks_for_as_many_bytes_as_the_formula_says(emulated, draw):
    emulator = emulated(80)
    n = 400
    edges = torch.randint(0, n, (2, 2600), generator=draw)
    arcs = contract.arcs_of(torch.cat([edges, edges.flip(0)], 1), n, "sym")
    y = torch.rand(n, 40, generator=draw)
    contract.check(contract.Case(arcs, None, y, None, 0.9, 0.1, 3, (0.0, 1.0), None), tier.run, repeat=False)
    (first, middle, last) = [dict(sectors) for kernel, sectors in emulator.sectors if kernel == "step_rows"]
    actual = {}
    for (name, _), count in middle.items():
        actual[name] = actual.get(name, 0) + count
    assert actual == traffic(arcs, 40)
    # The scale beside each arc.
    assert sum(first.values()) < sum(middle.values()) + len(arcs.col)
    assert sum(last.values()) <= sum(middle.values())


# The checks of the machine itself.


def launched(d=40):
    """Return the arguments of a middle step's launches."""
    results = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tier, "launch", lambda kernel, grid, **arguments: results.append((kernel, grid, arguments)))
        tier.run(*case(d, num_steps=3))
    return results[3:6]


def run_with(which, **changes):
    """Launch with some arguments changed, each by a function, in the program that was compiled for the true ones."""
    kernel, grid, arguments = launched()[which]
    _, program = aot.compiled(kernel, 80, arguments)
    changed = {name: change(arguments) for name, change in changes.items()}
    aot.Emulator(80).start(kernel, grid, program, arguments | changed)


def test_the_machine_runs_what_it_should():
    for which in range(3):
        run_with(which)


def test_a_pointer_that_breaks_the_promise_of_alignment_is_caught():
    with pytest.raises(ptx.MachineError, match="16 bytes at an address that is not a multiple"):
        run_with(0, y=lambda a: torch.zeros(a["y"].numel() + 1)[1:].view_as(a["y"]))


@pytest.mark.parametrize(
    ("kernel", "name", "change", "message"),
    [
        (0, "out", lambda a: a["out"][:-1], "store out of bounds: .*'out'"),
        (0, "left", lambda a: a["left"][:-1], "load out of bounds: .*'left'"),
        (0, "col", lambda a: torch.full_like(a["col"], len(a["y"])), "load out of bounds: .*'y'"),
        (1, "partial", lambda a: a["partial"][:-1], "store out of bounds: .*'partial'"),
        (2, "partial", lambda a: a["partial"][:-1], "load out of bounds: .*'partial'"),
        (2, "hub", lambda a: torch.zeros_like(a["hub"]), "two warps write to one place in 'out'"),
        (0, "out", lambda a: a["y"], "a warp reads from 'y' what another one writes"),
    ],
)
def test_wrong_arguments_are_caught(kernel, name, change, message):
    with pytest.raises(ptx.MachineError, match=message):
        run_with(kernel, **{name: change})


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("bar.sync 0;", "unknown: bar.sync"),
        ("st.shared.b32 [%r1], %r1;", "not to global memory"),
        ("popc.b32 %r2, %r1;", "unknown: popc.b32"),
        ("add.sat.s32 %r2, %r1, %r1;", "unknown: add.sat.s32"),
        ("add.s32 %r2, %r1, %r3;", "%r3 is read before"),
        ("setp.lt.u32 %p1, %r1, 7;\n@%p1 bra $L__END;\nadd.s32 %r2, %r1, 1;\n$L__END:", "part at a branch"),
        ("shl.b32 %r2, %r1, 40;", "shift by a whole register"),
    ],
)
def test_what_the_machine_does_not_know_it_refuses(body, message):
    text = f".visible .entry f(\n\t.param .u64 f_param_0\n)\n.reqntid 32\n{{\nmov.u32 %r1, %tid.x;\n{body}\nret;\n}}\n"
    with pytest.raises(ptx.MachineError, match=message):
        ptx.Machine(ptx.Program(text), ptx.Memory(), (2, 1), [0]).run()


def test_the_machine_rounds_as_torch_does():
    bits = torch.randint(-(2**31), 2**31, (100_000,), generator=torch.Generator().manual_seed(0)).int()
    values = bits.view(torch.float32)
    values = values[~values.isnan()]
    assert np.array_equal(ptx._f32_to_bf16(values.numpy()).view(np.int16), values.bfloat16().view(torch.int16).numpy())
