"""Every public function has an example in its docstring, a doctest; every public class too, or one of its bases."""

import dataclasses
import importlib
import inspect
import pkgutil
from pathlib import Path

import graphnoise.spark
import recsys.spark

# Parts that `RobustGNN` makes itself, a function that downloads, and an interface whose classes have examples.
WITHOUT = {"Training", "Network", "get", "Recommender", "Objective", "Sampler"}
# They read a data set, which may be absent.
SKIPPED = {"llm_labels", "verify", "load"}


def modules():
    """The public modules: those with `__all__`, and those that the packages list."""
    for package in (graphnoise, recsys):
        yield package
        for info in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            public = info.name.rpartition(".")[2] in package.__all__ and info.name.count(".") == 1
            if info.name.split(".")[1] not in ("bench", "cli", "kernels"):
                module = importlib.import_module(info.name)
                if public or hasattr(module, "__all__"):
                    yield module


def public():
    """Public callables by the module that defines them."""
    found = {}
    for module in modules():
        own = [key for key, value in vars(module).items() if getattr(value, "__module__", None) == module.__name__]
        for name in getattr(module, "__all__", own):
            value = getattr(module, name)
            if callable(value) and not name.startswith("_"):
                found[f"{value.__module__}.{name}"] = value
    return found


def is_record(value):
    """Whether it holds what functions return, or is raised or warned of."""
    return inspect.isclass(value) and (
        dataclasses.is_dataclass(value) or hasattr(value, "_fields") or issubclass(value, Exception)
    )


def example(value):
    owners = value.__mro__ if inspect.isclass(value) else [value]
    return next((text for owner in owners if ">>>" in (text := vars(owner).get("__doc__") or owner.__doc__ or "")), "")


def test_public_callables_have_examples():
    callables = public()
    assert len(callables) > 250
    missing = {name for name, value in callables.items() if not is_record(value) and not example(value)}
    assert {name.rpartition(".")[2] for name in missing} <= WITHOUT, missing


def test_examples_are_run():
    skipped = {value.__name__ for value in public().values() if "+SKIP" in example(value)}
    # Those of data frames of Spark are run by `test_spark.py`.
    assert skipped - set(vars(recsys.spark) | vars(graphnoise.spark)) <= SKIPPED


def test_the_reference_has_every_public_module():
    folder = Path(__file__).parents[1] / "docs" / "reference"
    pages = {line[4:] for page in folder.glob("*.md") for line in page.read_text().splitlines() if line[:4] == "::: "}
    assert {module.__name__ for module in modules()} - pages <= {"graphnoise.audit.posterior"}
