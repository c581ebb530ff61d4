import json
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch_geometric.data import Data

from graphnoise import DataError, InputError, datasets
from graphnoise.bench.measures import unpack
from graphnoise.bench.nodes import Grid, corrupt, load, run, run_cell
from graphnoise.experiment import Store
from graphnoise.noise import LabelNoise


def small(planted, **changes):
    settings = {
        "datasets": [planted],
        "methods": ["lp", "gcn"],
        "noise": ["symmetric", "pair"],
        "rates": [0.0, 0.3],
        "draws": 2,
        "overrides": {"gcn": {"epochs": 5}},
    }
    return Grid(**(settings | changes))


def without_run(record):
    return {key: value for key, value in record["result"].items() if key != "run"}


def test_cells_cross_everything_once(planted):
    cells = small(planted, inits=3).cells()
    # rate 0 is the same for both kinds: (1 + 2) noises × 2 draws × (1 lp + 3 gcn)
    assert len(cells) == 3 * 2 * (1 + 3)
    assert len({json.dumps(cell, sort_keys=True) for cell in cells}) == len(cells)
    assert {cell["noise"]["kind"] for cell in cells if cell["noise"]["rate"] == 0} == {"none"}
    assert cells[0]["parameters"] == {"alpha": 0.9, "steps": 50}


def test_a_cell_records_what_the_report_needs(planted, tmp_path):
    store = Store(tmp_path)
    summary = run(small(planted), store)
    assert (summary.total, summary.done, summary.failed) == (12, 12, ())
    problem = load(planted, None, 0)
    for record in store.records():
        config, result = record["config"], record["result"]
        predicted = unpack(result["predictions"])
        assert predicted.shape == (problem.num_nodes,)
        test = problem.test_mask
        assert result["test_accuracy"] == pytest.approx(float((predicted == problem.truth)[test].double().mean()))
        assert config["data"] == problem.digest
        assert result["draw_seed"] == config["draw"]
        assert (len(result["curves"]["loss"]) == 5) is (config["method"] == "gcn")
        assert (result["realised_rate"]["train"] > 0) is (config["noise"]["rate"] > 0)
        assert {"seconds", "peak_memory", "processor", "versions", "commit", "python"} <= set(result["run"])
        assert result["run"]["peak_memory"] > 1e7
        assert result["run"]["versions"]["torch"] == torch.__version__


def test_results_do_not_depend_on_jobs_executor_or_order(planted, tmp_path):
    grid = small(planted)
    stores = [Store(tmp_path / name) for name in ("one", "two", "threads")]
    run(grid, stores[0])
    run(grid, stores[1], jobs=2)
    with ThreadPoolExecutor(1) as executor:
        run(grid, stores[2], executor=executor)
    first, second, third = ({r["key"]: without_run(r) for r in store.records()} for store in stores)
    assert first == second
    assert first == third


def test_initialisations_differ_between_draws_and_methods_share_the_labels(planted, tmp_path):
    store = Store(tmp_path)
    run(small(planted, inits=2, rates=[0.3], noise=["symmetric"]), store)
    seeds = [r["result"]["init_seed"] for r in store.records() if r["config"]["method"] == "gcn"]
    assert len(set(seeds)) == len(seeds) == 4
    realised = {}
    for r in store.records():
        realised.setdefault(r["config"]["draw"], set()).add(json.dumps(r["result"]["realised_rate"]))
    assert all(len(rates) == 1 for rates in realised.values())


@pytest.mark.parametrize("kind", LabelNoise.kinds)
def test_every_kind_of_noise_runs_and_touches_named_splits_only(kind, planted):
    problem = load(planted, None, 0)
    options = {"probability": 0.5} if kind == "spreading" else {}
    noise = {"kind": kind, "rate": 0.3, "exact": False, "legacy": False, "options": options}
    noisy, rates = corrupt(problem, noise, "noisy", 0)
    clean_val, _ = corrupt(problem, noise, "clean", 0)
    assert ((noisy == -1) == ~(problem.train_mask | problem.val_mask)).all()
    assert torch.equal(clean_val[problem.val_mask], problem.truth[problem.val_mask])
    assert torch.equal(clean_val[problem.train_mask], noisy[problem.train_mask])  # the choice leaves training alone
    wrong = (noisy != problem.truth)[problem.train_mask].double().mean()
    assert rates["train"] == pytest.approx(float(wrong))
    assert rates["train"] > 0
    assert (noisy != problem.truth)[problem.val_mask].any()


def test_grid_with_confidence_and_spreading_noise(planted, tmp_path):
    grid = small(
        planted, noise=["confidence", "spreading"], overrides={"spreading": {"probability": 0.9}}, methods=["lp"]
    )
    assert run(grid, Store(tmp_path)).done == 6


def test_other_data_under_the_same_name_are_refused(planted, tmp_path):
    cell = small(planted).cells()[0]
    with pytest.raises(DataError, match="expected data with hash 0000"):
        run_cell({**cell, "data": "0000"})


def test_a_failing_cell_is_told_and_the_others_are_recorded(planted, tmp_path, monkeypatch):
    from graphnoise.bench import methods

    def broken(self, task):
        return torch.full((task.problem.num_nodes, task.problem.num_classes), torch.nan)

    monkeypatch.setattr(methods.LP, "fit_predict", broken)
    summary = run(small(planted), Store(tmp_path))
    assert (summary.done, len(summary.failed)) == (6, 6)
    assert "scores of lp: expected finite scores of shape (90, 3)" in summary.failed[0].message
    monkeypatch.undo()
    again = run(small(planted), Store(tmp_path))
    assert (again.done, again.skipped, again.failed) == (6, 6, ())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"methods": ["gncn"]}, "method: expected one of .*did you mean"),
        ({"noise": ["symetric"]}, "did you mean 'symmetric'"),
        ({"rates": [0.2, 1.2]}, r"rate: expected a rate in \[0, 1\], got 1.2"),
        ({"rates": []}, "rates: expected a list with at least one entry"),
        ({"methods": "lp"}, "methods: expected a list"),
        ({"draws": 0}, "draws: expected an integer of at least 1"),
        ({"inits": -1}, "inits"),
        ({"first_draw": -1}, "first_draw"),
        ({"select": "dirty"}, "select: expected one of clean, noisy"),
        ({"legacy": True}, "legacy: expected select='clean'"),
        ({"legacy": True, "select": "clean", "noise": ["random"]}, "legacy: expected symmetric, asymmetric or pair"),
        ({"exact": True, "noise": ["spreading"]}, "exact"),
        ({"overrides": {"gcm": {"hidden": 3}}}, "overrides: .*did you mean 'gcn'"),
        ({"overrides": {"gcn": {"hiden": 3}}}, "did you mean 'hidden'"),
        ({"datasets": ["croa"]}, "did you mean 'cora'"),
    ],
)
def test_bad_grids_are_refused_before_anything_runs(changes, message, planted):
    with pytest.raises(InputError, match=message):
        small(planted, **changes).cells()


def test_impossible_rates_are_refused_before_anything_runs(tmp_path):
    n = 12
    mask = torch.arange(n)
    data = Data(
        x=torch.ones(n, 2),
        edge_index=torch.tensor([[0, 1], [1, 0]]),
        y=torch.zeros(n, dtype=torch.long),
        train_mask=mask < 4,
        val_mask=(mask >= 4) & (mask < 8),
        test_mask=mask >= 8,
    )
    path = tmp_path / "single.npz"
    datasets.save_npz(data, path)
    with pytest.raises(InputError, match="rate"):
        Grid([str(path)], ["lp"], ["symmetric"], [0.2]).cells()
