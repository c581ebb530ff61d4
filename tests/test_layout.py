"""Rules about the source: layers and circles of imports, names defined twice, global random state, pickles, length."""

import ast
import functools
import io
import re
import tokenize
import warnings
from collections import defaultdict
from pathlib import Path

import networkx
import pytest

TOP = Path(__file__).parents[1]
SOURCES = sorted(p for package in ("graphnoise", "recsys") for p in (TOP / package).rglob("*.py"))

# The lowest layer first. A module imports from lower layers and from its own unit (`graphnoise.noise`, `recsys.bench`),
# never from another unit of its layer or from above.
LAYERS = [
    ("graphnoise.errors",),
    # The packages themselves, which load everything else on first use.
    ("graphnoise", "recsys"),
    ("graphnoise.checks",),
    ("graphnoise.io", "graphnoise.process_group", "graphnoise.resources", "graphnoise.typing"),
    ("graphnoise.labels", "graphnoise.budget"),
    ("graphnoise.kernels",),
    ("graphnoise.readers", "graphnoise.stored"),
    ("graphnoise.graph",),
    ("graphnoise.containers", "graphnoise.out_of_core"),
    ("graphnoise.node_order", "graphnoise.solvers", "graphnoise.coding_rates", "graphnoise.undirected"),
    ("graphnoise.propagation",),
    (
        "graphnoise.correct_and_smooth",
        "graphnoise.influence",
        "graphnoise.nn",
        "graphnoise.noise",
        "graphnoise.datasets",
    ),
    (
        "graphnoise.checkpoint",
        "graphnoise.distributed",
        "graphnoise.spark",
        "graphnoise.node_classifier",
        "graphnoise.homophily",
        "graphnoise.beliefs",
    ),
    ("graphnoise.erase", "graphnoise.clustering"),
    ("graphnoise.robust",),
    ("graphnoise.audit",),
    ("graphnoise.statistics",),
    ("graphnoise.reports", "graphnoise.plot"),
    ("recsys.validation",),
    ("recsys.ids", "recsys.mapped"),
    ("recsys.interactions", "recsys.topk", "recsys.files", "recsys.metrics", "recsys.kernels"),
    ("recsys.queries", "recsys.build"),
    ("recsys.splits", "recsys.objectives", "recsys.samplers", "recsys.base"),
    ("recsys.datasets", "recsys.simulation", "recsys.evaluation", "recsys.two_groups", "recsys.agreement"),
    ("recsys.models", "recsys.cleaning", "recsys.oscillation", "recsys.significance", "recsys.spark"),
    ("recsys.stacking", "recsys.cleaning_gain"),
    ("recsys.click_audit",),
    ("graphnoise.bench",),
    ("recsys.bench",),
    ("graphnoise.cli",),
]
RANK = {unit: rank for rank, layer in enumerate(LAYERS) for unit in layer}

# Comments behind code that tools read.
DIRECTIVES = ("# type: ignore", "# noqa", "# fmt: skip")

# Functions of one name, for different purposes or as an interface.
SAME_NAME = {
    # The interface of a task, of its report and of a timed operation.
    *(
        "corrupt",
        "figures",
        "load",
        "page_figures",
        "render",
        "sections",
        "draw_graph",
        "library",
        "reference",
        "verify",
    ),
    # The interface of a kernel and its tiers.
    *("operation", "unsupported_reason"),
    # A public function and its kernel.
    *("heat_kernel", "improve"),
    # From edges alone, and from features as well.
    "label_posterior",
    # A product of a matrix in either direction, and its kernel.
    "multiply",
    # The same of arrays, and of the data frames of Spark.
    *("clean", "credibility"),
    # Checks of arguments, and of values in suites, of CSV cells and of a command line.
    *("check", "check_labels", "flag", "integer", "real", "share", "text"),
    # Public functions of graphs and of recommenders, distinguished by their module.
    *("compare", "correct", "names", "parse", "posterior", "propagate", "ratio", "smooth", "step", "wide"),
    # A drawing as SVG text, and by matplotlib.
    "neighbourhood",
    # Predictions of classes, and accuracies of users, as text.
    *("pack", "unpack"),
    # Other words of one spelling: a plot and a sample; a hyper-parameter's range and a check.
    *("draw", "choice", "get", "quartiles", "read", "settings", "unique"),
}
TIERS = ("__init__", "reference", "cpu", "triton", "scatter")


def module(path):
    parts = list(path.relative_to(TOP).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module(path): path for path in SOURCES}


def unit(name):
    return ".".join(name.split(".")[:2])


@functools.cache
def lazy_names():
    """Where the names live that `graphnoise` and `recsys` load on first use."""
    import graphnoise
    import recsys

    return {package.__name__: getattr(package, "_MODULE_OF", {}) for package in (graphnoise, recsys)}


def target(base, name):
    """The module that `from base import name` reads."""
    if f"{base}.{name}" in MODULES:
        return f"{base}.{name}"
    home = lazy_names().get(base, {}).get(name)
    return base if home is None else f"{base}.{home}"


def imports(path):
    """Yield (module, at the top level of the file?) for each import, except those for type checkers only."""
    tree = ast.parse(path.read_text())
    unread = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            unread |= {id(part) for statement in node.body for part in ast.walk(statement)}
    for node in ast.walk(tree):
        if id(node) in unread:
            continue
        if isinstance(node, ast.Import):
            yield from ((alias.name, node in tree.body) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            yield from ((target(node.module, alias.name), node in tree.body) for alias in node.names)


@functools.cache
def internal_imports():
    return [
        (name, imported)
        for name, path in MODULES.items()
        for imported, _ in imports(path)
        if imported.split(".")[0] in ("graphnoise", "recsys")
    ]


def test_there_are_sources():
    assert len(SOURCES) > 100


def test_every_unit_has_a_layer():
    assert {unit(name) for name in MODULES} <= set(RANK)
    assert len(RANK) == sum(map(len, LAYERS))


def test_imports_go_downwards():
    upward = {
        (name, imported)
        for name, imported in internal_imports()
        if unit(name) != unit(imported) and RANK[unit(imported)] >= RANK[unit(name)]
    }
    assert not upward


def test_there_is_no_circle_of_imports():
    components = networkx.strongly_connected_components(networkx.DiGraph(internal_imports()))
    assert not [sorted(component) for component in components if len(component) > 1]


def test_only_commands_of_graphnoise_import_recsys():
    for name, path in MODULES.items():
        for imported, at_the_top in imports(path):
            if name.startswith("graphnoise") and imported.startswith("recsys"):
                assert unit(name) == "graphnoise.cli", f"{name} imports {imported}"
                assert not at_the_top, f"{name} imports {imported} outside the command that needs it"


def test_functions_of_one_name_are_listed():
    owners = defaultdict(set)
    for path in MODULES.values():
        # The tiers of a kernel implement one function.
        owner = path.parent if "kernels" in path.parts and path.stem in TIERS else path
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
                owners[node.name].add(owner)
    assert {name for name, places in owners.items() if len(places) > 1} == SAME_NAME


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(TOP)))
def test_comments_and_examples(path):
    """Comments stand on lines of their own, and examples under `Example:`."""
    text = path.read_text()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT and not token.string.startswith(DIRECTIVES):
            assert not token.line[: token.start[1]].strip(), f"line {token.start[0]}: {token.string}"
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
            section = ""
            for line in (ast.get_docstring(node) or "").splitlines():
                section = line if line and not line.startswith(" ") else section
                assert not line.strip().startswith(">>>") or section == "Example:", f"{node}: {line}"


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(TOP)))
def test_source_rules(path):
    text = path.read_text()
    assert not re.search(r"np\.random\.(seed|rand|randn|choice|shuffle|permutation|uniform|normal)\(", text)
    assert not re.search(r"torch\.(manual_seed|seed)\(|(?<![\w.])random\.(seed|random|choice)\(", text)
    assert "allow_pickle=True" not in text
    assert "weights_only=False" not in text
    lines = len(text.splitlines())
    if lines > 500:
        warnings.warn(f"{path.relative_to(TOP)} has {lines} lines; over 500 it is probably two files", stacklevel=1)


def test_records_hold_no_path_of_a_machine():
    files = [path for path in (TOP / "benchmarks" / "results").iterdir() if path.suffix in (".csv", ".json")]
    assert len(files) > 20
    assert not [path.name for path in files if re.search(r'["\',]/\w', path.read_text(encoding="utf-8"))]
