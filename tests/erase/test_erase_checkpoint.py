"""Checkpoints of ERASE: interrupted runs go on bit for bit; files of other work and damaged ones are refused."""

import hashlib
import io

import pytest
import torch
from estimators import SMALL, altered, same, weights
from torch_geometric.nn import GCNConv

from graphnoise import ERASE, DataError, InputError

RUNS = {
    "robust": {},
    "robust in batches": {"batch_size": 25},
    "faithful": {"preset": "faithful-cora"},
    "faithful in batches that remember": {"preset": "faithful-cora", "batch_size": 25, "memory": 0.8},
    "arxiv": {"preset": "faithful-arxiv", "batch_size": 25, "lr": 1e-2},
}


@pytest.mark.parametrize("run", RUNS)
@pytest.mark.parametrize("stop", [3, 10])
def test_an_interrupted_run_goes_on_from_its_checkpoint(run, stop, planted, tmp_path):
    settings = {**SMALL, **RUNS[run]}
    whole = ERASE(**settings).fit(planted)
    file = tmp_path / "folder" / "run.pt"

    def interrupt(training):
        if training.epochs_done == stop:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as caught:
        ERASE(checkpoint=file, checkpoint_every=2, **settings).fit(planted, on_epoch=interrupt)
    assert str(file) in caught.value.__notes__[0]
    epochs = []
    resumed = ERASE(checkpoint=file, checkpoint_every=2, **settings)
    resumed.fit(planted, on_epoch=lambda training: epochs.append(training.epochs_done))
    assert epochs[0] == stop - (stop % 2 or 2) + 1
    assert same(weights(whole), weights(resumed))
    assert whole.history["loss"] == resumed.history["loss"]
    again = ERASE(checkpoint=file, **settings).fit(planted)
    assert same(weights(whole), weights(again))
    assert [entry.name for entry in file.parent.iterdir()] == ["run.pt"]


def test_a_checkpoint_of_other_work_is_refused(planted, tmp_path):
    file = tmp_path / "run.pt"
    ERASE(checkpoint=file, **SMALL).fit(planted)
    kept = file.read_bytes()
    for model in (ERASE(checkpoint=file, seed=1, **SMALL), ERASE("faithful-pubmed", checkpoint=file, **SMALL)):
        with pytest.raises(InputError, match=r"^checkpoint: expected one of the same data"):
            model.fit(planted)
    with pytest.raises(InputError, match=r"^checkpoint: expected one of the same data"):
        ERASE(checkpoint=file, **SMALL).fit(altered(planted, x=planted.x + 1))
    assert file.read_bytes() == kept
    # More of the same is welcome.
    ERASE(checkpoint=file, **{**SMALL, "epochs": 14}).fit(planted)
    flipped = bytearray(kept)
    flipped[len(kept) // 2] ^= 0x40
    file.write_bytes(flipped)
    with pytest.raises(DataError, match="damaged file"):
        ERASE(checkpoint=file, **SMALL).fit(planted)
    file.write_bytes(kept[:100])
    with pytest.raises(DataError, match="expected a checkpoint of ERASE"):
        ERASE(checkpoint=file, **SMALL).fit(planted)


def test_a_checkpoint_ahead_of_what_is_asked_is_refused(planted, tmp_path):
    file = tmp_path / "run.pt"

    def interrupt(training):
        if training.epochs_done == 9:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ERASE(checkpoint=file, checkpoint_every=2, **SMALL).fit(planted, on_epoch=interrupt)
    with pytest.raises(InputError, match=r"^epochs: expected 8 or more, as .* has them, got 5"):
        ERASE(checkpoint=file, **{**SMALL, "epochs": 5}).fit(planted)
    # Never probed so far.
    stopped = ERASE(checkpoint=file, **{**SMALL, "epochs": 8}).fit(planted)
    assert torch.equal(stopped.predict(planted), ERASE(**{**SMALL, "epochs": 8}).fit(planted).predict(planted))


def test_modules_with_other_weights_do_not_share_a_checkpoint(planted, tmp_path):
    file = tmp_path / "run.pt"
    modules = [GCNConv(12, 8), GCNConv(12, 8)]
    ERASE(checkpoint=file, encoder=modules[0], **SMALL).fit(planted)
    with pytest.raises(InputError, match=r"^checkpoint: expected one of the same data"):
        ERASE(checkpoint=file, encoder=modules[1], **SMALL).fit(planted)


def test_an_interrupt_before_the_first_save_says_so(planted, tmp_path):
    def interrupt(training):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as caught:
        ERASE(checkpoint=tmp_path / "run.pt", **SMALL).fit(planted, on_epoch=interrupt)
    assert "nothing is saved" in caught.value.__notes__[0]
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("missing", ["mark", "state", "epochs_done", "encoder", "optimiser", "generator"])
def test_a_file_without_a_part_is_refused(missing, planted, tmp_path):
    file = tmp_path / "run.pt"
    ERASE(checkpoint=file, **SMALL).fit(planted)
    size = hashlib.blake2b().digest_size
    content = torch.load(io.BytesIO(file.read_bytes()[size:]), weights_only=True)
    del (content if missing in content else content["state"])[missing]
    buffer = io.BytesIO()
    torch.save(content, buffer)
    file.write_bytes(hashlib.blake2b(buffer.getvalue()).digest() + buffer.getvalue())
    with pytest.raises(DataError, match="expected a checkpoint of ERASE"):
        ERASE(checkpoint=file, **SMALL).fit(planted)


def test_the_home_folder_is_known(planted, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    ERASE(checkpoint="~/run.pt", **SMALL).fit(planted)
    assert (tmp_path / "run.pt").is_file()


@pytest.mark.parametrize("name", ["", ".", "a\0b"])
def test_a_checkpoint_must_be_a_file(name):
    with pytest.raises(InputError, match=r"^checkpoint: expected the path of a file"):
        ERASE(checkpoint=name)


def test_a_home_folder_that_is_not_there_is_named(planted):
    with pytest.raises(InputError, match=r"^checkpoint: expected a home folder that is there, got '~nobody-here/a'"):
        ERASE(checkpoint="~nobody-here/a", **SMALL).fit(planted)


def test_a_module_that_shows_an_address_goes_on(planted, tmp_path):
    class Shown(GCNConv):
        def extra_repr(self):
            return repr(object())

    module, epochs = Shown(12, 8), []
    for expected in (6, 12):
        model = ERASE(encoder=module, checkpoint=tmp_path / "run.pt", **{**SMALL, "epochs": expected})
        model.fit(planted, on_epoch=lambda training: epochs.append(training.epochs_done))
    assert epochs == list(range(1, 13))
