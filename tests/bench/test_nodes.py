import json

import pytest
import torch
from torch_geometric.data import Data

from graphnoise import DataError, InputError, datasets
from graphnoise.bench.runner import Store
from graphnoise.bench.tasks.node_metrics import unpack
from graphnoise.bench.tasks.nodes import Nodes, NodesGrid, corrupt, load
from graphnoise.noise import LabelNoise

NODES = Nodes()


def small(planted, **changes):
    settings = {"datasets": [planted], "methods": ["lp", "gcn:epochs=5"], "noise": ["symmetric", "pair"]}
    return NodesGrid(**(settings | {"rates": [0.0, 0.3], "seeds": 2} | changes))


def run(grid, store, **options):
    return NODES.run(grid, store, **options)


def results(store):
    """Return the results by key, without the time of the run."""
    return {r["key"]: {name: v for name, v in r["result"].items() if name != "run"} for r in store.records()}


def test_cells_cross_everything_once(planted):
    cells = NODES.cells(small(planted, inits=3))
    # rate 0 is the same for both kinds: (1 + 2) noises × 2 draws × (1 lp + 3 gcn)
    assert len(cells) == 3 * 2 * (1 + 3)
    assert len({json.dumps(cell, sort_keys=True) for cell in cells}) == len(cells)
    assert {cell["noise"]["kind"] for cell in cells if cell["noise"]["rate"] == 0} == {"none"}
    assert cells[0]["parameters"] == {"alpha": 0.9, "steps": 50}


def test_a_planted_graph_has_features_and_a_split_of_its_size():
    data = "planted(n=300,block=100,p=0.1,q=0.01,features=5,separation=2,seed=3)"
    problem, truth = load(data, None, 0).problem, load(data, None, 0).truth
    assert problem.x.shape == (300, 5)
    assert [int(mask.sum()) for mask in (problem.train_mask, problem.val_mask, problem.test_mask)] == [60, 80, 160]
    assert torch.equal(truth, torch.arange(300) // 100)
    means = torch.stack([problem.x[truth == label].mean(0) for label in range(3)])
    assert 1 < float(means.std(0).mean()) < 4
    assert load(data, None, 1).digest != load(data, None, 0).digest
    assert load("planted(n=3000,block=1000,p=0.01,q=0)", None, 0).problem.x.shape == (3000, 16)
    masks = load("planted(n=3000,block=1000,p=0.01,q=0)", None, 0).problem
    assert (int(masks.val_mask.sum()), int(masks.test_mask.sum())) == (500, 1000)


def test_a_cell_records_what_the_report_needs(planted, tmp_path):
    store = Store(tmp_path)
    summary = run(small(planted), store)
    assert (summary.total, summary.done, summary.failed) == (12, 12, ())
    instance = load(planted, None, 0)
    problem = instance.problem
    for record in store.records():
        config, result = record["config"], record["result"]
        predicted = unpack(result["predictions"])
        assert predicted.shape == (problem.num_nodes,)
        test = problem.test_mask
        assert result["test_accuracy"] == pytest.approx(float((predicted == instance.truth)[test].double().mean()))
        assert config["data"] == instance.digest
        assert result["draw_seed"] == config["draw"]
        assert (len(result["curves"]["loss"]) == 5) is (config["method"] == "gcn")
        assert (result["realised_rate"]["train"] > 0) is (config["noise"]["rate"] > 0)
        assert {"seconds", "peak_memory", "processor", "versions", "commit", "python"} <= set(result["run"])
        assert result["run"]["peak_memory"] > 1e7
        assert result["run"]["versions"]["torch"] == torch.__version__


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
    instance = load(planted, None, 0)
    problem, truth = instance.problem, instance.truth
    options = {"probability": 0.5} if kind == "cascade" else {}
    noise = {"kind": kind, "rate": 0.3, "exact": False, "erase_stream": False, "options": options}
    noisy, rates = corrupt(instance, noise, "noisy", 0)
    clean_val, _ = corrupt(instance, noise, "clean", 0)
    assert ((noisy == -1) == ~(problem.train_mask | problem.val_mask)).all()
    assert torch.equal(clean_val[problem.val_mask], truth[problem.val_mask])
    assert torch.equal(clean_val[problem.train_mask], noisy[problem.train_mask])  # the choice leaves training alone
    wrong = (noisy != truth)[problem.train_mask].double().mean()
    assert rates["train"] == pytest.approx(float(wrong))
    assert rates["train"] > 0
    assert (noisy != truth)[problem.val_mask].any()


def test_grid_with_confidence_and_cascade_noise(planted, tmp_path):
    grid = small(planted, noise=["confidence", "cascade:probability=0.9"], methods=["lp"])
    assert run(grid, Store(tmp_path)).done == 6


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"noise": ["symetric"]}, "noise: .*did you mean 'symmetric'"),
        ({"rates": [0.2, 1.2]}, r"rates: expected a rate in \[0, 1\], got 1.2"),
        ({"inits": -1}, "inits"),
        ({"exact": 1}, "exact: expected true or false, got 1"),
        ({"select": "dirty"}, "select: expected one of clean, noisy"),
        ({"erase_stream": True}, "erase_stream: expected select='clean'"),
        ({"erase_stream": True, "select": "clean", "noise": ["random"]}, "erase_stream: expected symmetric, asymm"),
        ({"exact": True, "noise": ["cascade"]}, "exact"),
        ({"methods": ["lp", "lp:alpha=0.9"]}, "methods: expected settings that row 'lp' does not have, got the same"),
        (
            {"datasets": ["planted(n=300,block=290,p=0.1,q=0)"]},
            "at least 20 nodes of every class .* got 10 of class 1",
        ),
        (
            {"datasets": ["planted(n=300,block=100,p=0.1,q=0)"], "split_sizes": "1/2/3"},
            r"split_sizes: expected none with planted",
        ),
        ({"datasets": ["cora"], "split_sizes": "1/2"}, "split_sizes: expected three sizes"),
        ({"datasets": ["edges.csv"]}, "labels: expected a table of labels for the edges in edges.csv, got none"),
        ({"noise": ["uniform"]}, r"noise: .*did you mean 'symmetric'"),
        ({"noise": ["pair:num_classes=9"]}, "pair.num_classes: expected none"),
        ({"seeds": 10**4, "inits": 10**4}, "grid: expected at most 1,000,000 cells, got up to 600,000,000"),
    ],
)
def test_bad_grids_are_refused_before_anything_runs(changes, message, planted):
    with pytest.raises(InputError, match=message):
        NODES.cells(small(planted, **changes))


def test_impossible_rates_are_refused_before_anything_runs(tmp_path):
    part = torch.arange(12) // 4
    masks = {f"{name}_mask": part == number for number, name in enumerate(("train", "val", "test"))}
    data = Data(x=torch.ones(12, 2), edge_index=torch.tensor([[0, 1], [1, 0]]), y=torch.zeros(12).long(), **masks)
    path = tmp_path / "single.npz"
    datasets.save_npz(data, path)
    with pytest.raises(InputError, match="rate"):
        NODES.cells(small(str(path), methods=["lp"], noise=["symmetric"], rates=[0.2]))


def test_each_draw_may_have_a_split_of_its_own(tmp_path):
    path = tmp_path / "blocks.npz"
    datasets.save_npz(datasets.planted_partition([120, 120], 0.05, 0.04, num_features=4, seed=0), path)
    shared = {"methods": ["centroid"], "noise": ["pair"], "rates": [0.3], "split_sizes": "20/60/100"}
    cells = NODES.cells(NodesGrid(datasets=[f"{path}:split_seed=draw"], seeds=2, first_seed=4, **shared))
    fixed = NODES.cells(NodesGrid(datasets=[str(path)], seeds=1, first_seed=5, split_seed=5, **shared))
    assert len({cell["data"] for cell in cells}) == 1
    first, second, expected = (
        {name: value for name, value in NODES.run_cell(cell).items() if name != "run"} for cell in (*cells, *fixed)
    )
    assert second == expected
    assert first["predictions"] != second["predictions"]
    with pytest.raises(InputError, match="split_seed: expected 'draw'"):
        NODES.cells(NodesGrid(datasets=[f"{path}:split_seed=5"], **shared))


def write_labels(path, instance, wrong):
    """Write true labels to a file, but the next class to some training nodes."""
    y = instance.truth.clone()
    nodes = instance.problem.train[:wrong]
    y[nodes] = (y[nodes] + 1) % instance.problem.num_classes
    path.write_text("".join(f"{label}\n" for label in y.tolist()))
    return y


def test_labels_of_a_file_are_the_given_ones_at_any_rate(planted, tmp_path):
    instance, path = load(planted, None, 0), tmp_path / "labels.csv"
    y = write_labels(path, instance, 6)
    grid = small(planted, methods=["lp"], noise=["pair", f"file:{path}"], rates=[0.0, 0.3], seeds=1)
    cells = [cell for cell in NODES.cells(grid) if cell["noise"]["kind"] == "file"]
    assert len(cells) == 1
    labels, rates = corrupt(instance, cells[0]["noise"], "noisy", 0)
    split = instance.problem.train_mask | instance.problem.val_mask
    assert torch.equal(labels, torch.where(split, y, -1))
    assert rates == {"train": pytest.approx(6 / int(instance.problem.train_mask.sum())), "val": 0.0}
    assert NODES.run_cell(cells[0])["realised_rate"] == rates
    # Another file makes another cell, and the old cell does not take it.
    write_labels(path, instance, 7)
    assert NODES.cells(grid)[-1]["noise"] != cells[0]["noise"]
    with pytest.raises(DataError, match=r"labels\.csv: expected a file of which the sha256 begins with"):
        NODES.run_cell(cells[0])


def test_given_labels_stand_in_reports_at_their_share_of_wrong_ones(planted, tmp_path):
    instance, store = load(planted, None, 0), Store(tmp_path / "runs")
    for wrong in (0, 6):
        write_labels(tmp_path / f"{wrong}.csv", instance, wrong)
    run(small(planted, methods=["lp"], noise=[f"file:{tmp_path}/{wrong}.csv" for wrong in (0, 6)], seeds=1), store)
    (section,) = NODES.sections(list(store.records()))
    share = round(6 / int(instance.problem.train_mask.sum()), 3)
    assert [section.rates(kind) for kind in section.kinds] == [[0.0], [share]]
    assert all(section.records("lp", kind, section.rates(kind)[0]) for kind in section.kinds)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"noise": ["file:absent.csv"]}, DataError, r"absent\.csv: No such file"),
        ({"noise": ["file"]}, InputError, "noise: expected llm, or file:PATH, got 'file'"),
        ({"noise": ["file:"]}, InputError, "noise: expected llm, or file:PATH, got 'file:'"),
        ({"noise": ["llm:rate=1"]}, InputError, "noise: expected llm, or file:PATH"),
        ({"noise": ["llm"]}, InputError, "noise: llm: graph: expected one of cora"),
        ({"noise": ["file:FILE"], "exact": True}, InputError, "exact: expected False with file noise"),
        ({"noise": ["file:PARTLY"]}, InputError, "noise: expected a given label for every node of train_mask"),
    ],
)
def test_bad_files_of_labels_are_refused_before_anything_runs(changes, error, message, planted, tmp_path):
    write_labels(tmp_path / "all.csv", load(planted, None, 0), 0)
    (tmp_path / "partly.csv").write_text("node,label\n0,1\n")
    (noise,) = changes["noise"]
    noise = noise.replace("FILE", f"{tmp_path}/all.csv").replace("PARTLY", f"{tmp_path}/partly.csv")
    with pytest.raises(error, match=message):
        NODES.cells(small(planted, **changes | {"noise": [noise]}))


class Meddler:
    """A method of another package; what it does is set by the tests."""

    version = "1"

    def fit_predict(self, trial):
        self.act(trial)
        return torch.nn.functional.one_hot(trial.y.clamp(min=0), trial.problem.num_classes).float()


def install(monkeypatch, act):
    """Make the benchmark find `Meddler` under the name of a built-in method."""
    monkeypatch.setattr(Meddler, "act", staticmethod(act), raising=False)
    monkeypatch.setattr("graphnoise.bench.methods.nodes.MLP", Meddler)


def spoil(trial):
    """Change in place all that a method gets, with torch and through NumPy's shared memory."""
    for tensor in (trial.y, trial.problem.train_mask, trial.problem.normalised, trial.problem.smoothed(2)):
        tensor.zero_()
    trial.problem.x.numpy().fill(0)
    trial.problem.graph.col.fill_(0)


def test_a_method_that_changes_what_it_gets_spoils_no_cell(planted, tmp_path, monkeypatch):
    run(small(planted, methods=["sgc", "lp"]), Store(tmp_path / "alone"))
    install(monkeypatch, spoil)
    assert run(small(planted, methods=["mlp", "sgc", "lp"]), Store(tmp_path / "together")).complete
    alone, together = (results(Store(tmp_path / name)) for name in ("alone", "together"))
    assert alone.items() < together.items()
    # Of predicting class 0 for all.
    changed = [result for key, result in together.items() if key not in alone]
    assert all(0 < result["val_accuracy"] < 0.6 for result in changed)


@pytest.mark.parametrize("code", [0, 1])
def test_a_method_that_ends_the_process_is_a_failed_cell(code, planted, tmp_path, monkeypatch):
    install(monkeypatch, lambda trial: exit(code))
    summary = run(small(planted, methods=["mlp", "lp"]), Store(tmp_path))
    assert (summary.done, len(summary.failed)) == (6, 6)
    assert f"sys.exit({code})" in summary.failed[0].message


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        (lambda trial: None, "expected a tensor, got NoneType"),
        (lambda trial: torch.zeros(3), "got shape (3,)"),
        (lambda trial: torch.full((90, 3), torch.inf), "got 270 NaN or infinite ones"),
        (lambda trial: torch.full((90, 3), torch.nan), "scores of mlp: expected finite scores of shape (90, 3)"),
    ],
)
def test_invalid_scores_are_reported(scores, message, planted, tmp_path, monkeypatch):
    monkeypatch.setattr("graphnoise.bench.methods.nodes.MLP.fit_predict", lambda self, trial: scores(trial))
    summary = run(small(planted, methods=["mlp"], seeds=1), Store(tmp_path))
    assert message in summary.failed[0].message


@pytest.mark.parametrize(
    ("factory", "message"),
    [
        (type("Unversioned", (), {}), "method mlp: expected a class with an attribute `version`"),
        (type("Needy", (), {"version": "1", "__init__": lambda self, width: None}), "hyper-parameters with defaults"),
        (type("Broken", (), {"version": "1", "__init__": lambda self, width=1: int("x")}), "method mlp: ValueError"),
    ],
)
def test_methods_that_do_not_keep_the_contract_are_named(factory, message, planted, monkeypatch):
    monkeypatch.setattr("graphnoise.bench.methods.nodes.MLP", factory)
    with pytest.raises(InputError, match=message):
        NODES.cells(small(planted, methods=["mlp"]))


def test_nodes_without_a_label_outside_the_splits_are_no_obstacle(planted, tmp_path):
    data = datasets.load(planted)
    spare = ~(data.train_mask | data.val_mask | data.test_mask)
    assert spare.any()
    data.y = torch.where(spare, -1, data.y)
    path = str(datasets.save_npz(data, tmp_path / "partly.npz"))
    assert run(small(path, methods=["lp", "sgc"]), Store(tmp_path / "runs")).done == 12
    with pytest.raises(InputError, match="noise: expected a kind that does not read the labels of all nodes"):
        NODES.cells(small(path, noise=["structure"]))


def test_tables_of_ones_own_and_nodes_that_no_label_reaches(tmp_path):
    # A path of ten nodes and a far pair, of which one is a test node.
    edges = "".join(f"n{k},n{k + 1}\n" for k in range(9)) + "far,away\n"
    split = {0: "train", 9: "train", 1: "val", 8: "val", 2: "test", 7: "test", 4: ""}
    rows = [f"n{k},{'left' if k < 5 else 'right'},{split.get(k, '')}\n" for k in range(10)]
    (tmp_path / "edges.csv").write_text("source,target\n" + edges)
    (tmp_path / "labels.csv").write_text("node,label,split\n" + "".join(rows) + "far,left,test\n")
    dataset = f"{tmp_path}/edges.csv"
    grid = {"datasets": [dataset], "labels": f"{tmp_path}/labels.csv", "rates": [0.0], "seeds": 1}
    (cell,) = NODES.cells(NodesGrid(methods=["lp"], **grid))
    assert cell["dataset"] == f"{dataset}:labels={tmp_path}/labels.csv"
    for key in ("labels", "features"):
        with pytest.raises(InputError, match=rf"{key}: expected a table of edges among the data sets, got 'a\.csv'"):
            NodesGrid(datasets=["cora"], **{key: "a.csv"}).described_datasets()
    result = NODES.run_cell(cell)
    assert (result["test_accuracy"], result["test_unreached"]) == pytest.approx((2 / 3, 1 / 3))
    predicted = unpack(result["predictions"]).tolist()
    assert predicted == [0] * 5 + [1] * 5 + [-1, -1]
    (cell,) = NODES.cells(NodesGrid(methods=["sgc"], **grid))
    with pytest.raises(InputError, match=r"^data\.x: expected features, which this method reads, got none"):
        NODES.run_cell(cell)
