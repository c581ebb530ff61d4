"""What the page of a report contains, without a browser; and its errors."""

import json
import re
import shlex
import shutil
import sys
from html.parser import HTMLParser
from pathlib import Path

import pandas
import pytest

from graphnoise.bench import record, registry
from graphnoise.bench.page import charts, speeds, write
from graphnoise.bench.page.chapters import speed_chapter
from graphnoise.bench.page.figure import Figure
from graphnoise.bench.speed.operation import load_operation, read
from graphnoise.bench.store import Store, cell_key
from graphnoise.cli import command
from graphnoise.cli import main as cli

RESULTS = Path(__file__).parents[2] / "benchmarks" / "results"


class Reader(HTMLParser):
    """Elements, addresses, and headings with their text."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.addresses, self.headings, self._inside = [], [], [], False
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.addresses += [value for key, value in attrs if key in ("src", "href", "action", "data")]
        self._inside = tag in ("h1", "h2", "h3")
        if self._inside:
            self.headings.append("")

    def handle_endtag(self, tag):
        self._inside = self._inside and tag not in ("h1", "h2", "h3")

    def handle_data(self, text):
        if self._inside:
            self.headings[-1] += text


def table(html, title):
    """The rows of the table of a figure, by column; numbers as they are for CSV files."""
    part = html.partition(f"{title}</h3>")[2].partition("</figure>")[0]
    names = re.findall(r'<th scope="col"><button type="button">(.*?)</button>', part)
    rows = [
        [raw or text for raw, text in re.findall(r'<td(?: class="number" data-raw="(.*?)")?>(.*?)</td>', line)]
        for line in re.findall(r"<tr>(.*?)</tr>", part.partition("<tbody>")[2])
    ]
    return pandas.DataFrame(rows, columns=names)


def call(capfd, *words):
    with pytest.raises(SystemExit) as stop:
        cli.main([*map(str, words)])
    out, err = capfd.readouterr()
    return stop.value.code, out, err.strip()


def test_the_page_is_one_file_that_asks_for_nothing(made):
    reader = Reader(made.html)
    assert {address[:5] for address in reader.addresses} == {"data:", "#chap"}
    assert "default-src 'none'" in made.html
    assert len(made.html.encode()) < write.MAX_BYTES
    assert not {"iframe", "img", "object"} & set(reader.tags)
    wanted = [
        *("Node classification: nodes.csv", "Accuracy against noise", "Ranking"),
        *("Local clustering: clusters.csv", "F1 against arcs touched"),
        *("Detection of wrong labels: detect.csv", "Detection: area under the ROC curve", "Detection: precision"),
        *("Recommendation: clicks.csv", "NDCG@20 against noise", "Speed: speeds.json", "Speed: propagate"),
        *("Audit of labels: edges", "How classes are confused", "Detection curve of the audit"),
    ]
    assert [name for name in wanted if name not in reader.headings] == []
    # Machine and commits are those of the records.
    for text in ("Intel(R) Xeon(R) Processor", "b89804dade01", "2026-11-24"):
        assert text in made.html


def test_numbers_are_those_of_the_records(made):
    shown = table(made.html, "Accuracy against noise")
    cells = pandas.read_csv(made.nodes).query("method == 'ggp' and noise == 'pair' and rate == 0.4")["test_accuracy"]
    row = shown.query("method == 'ggp' and rate == '0.4'").iloc[0]
    assert float(row["test accuracy, %"]) == pytest.approx(100 * cells.mean(), rel=1e-6)
    assert int(row["draws"]) == len(cells) == 10
    low, high = float(row["low"]), float(row["high"])
    assert high - low == pytest.approx(2 * 100 * 2.262157 * cells.std() / 10**0.5, rel=1e-5)


def test_the_command_beside_a_figure_runs_its_cells(made):
    part = made.html.partition("Accuracy against noise</h3>")[2].partition("</figure>")[0]
    line = re.search(r'<div class="command">.*?<code>(.*?)</code>', part)[1].replace("&#39;", "'")
    words = shlex.split(line)
    assert words[:3] == ["graphnoise", "bench", "nodes"]
    task, fields = registry.task("nodes"), {}
    names = {option: key for key, option in task.Grid.option_names().items()}
    for option, value in zip(words[3::2], words[4::2], strict=True):
        parts = value.split(",")
        fields[names[option]] = [float(v) for v in parts] if option == "--rate" else parts
    for key in ("seeds", "first_seed"):
        fields[key] = int(fields[key][0])
    records = record.by_task(record.open_source(made.nodes))[0]["nodes"]
    # But for the hash of the data, which nothing loads here.
    axes = task.axes(task.Grid(**fields))
    assert {row["method"] for row in axes["row"].values()} == {r["config"]["method"] for r in records}
    assert [p["noise"]["kind"] for p in axes["noise"]] == ["none", "pair", "pair"]
    assert {p["draw"] for p in axes["draw"]} == {r["config"]["draw"] for r in records}


@pytest.mark.parametrize("file", sorted(RESULTS.glob("*.json")), ids=lambda file: file.stem)
def test_recorded_speeds_have_a_chapter(file):
    chapter = speed_chapter(file)
    assert chapter.tables
    for figure in chapter.figures:
        assert figure.command.startswith("graphnoise bench speed ")


def test_the_commands_beside_speeds_measure_their_cases():
    operation, records = read(RESULTS / "propagate.json")
    fields = {option: key for key, option in operation.options.option_names().items()}
    cases = []
    for line in speed_chapter(RESULTS / "propagate.json").figures[0].command.splitlines():
        words = shlex.split(line)
        assert words[:4] == ["graphnoise", "bench", "speed", "propagate"]
        assert words[-2:] == ["--out", "propagate.json"]
        given = {
            fields[option]: command._read(option, operation.options.model_fields[fields[option]], text)
            for option, text in zip(words[4:-2:2], words[5:-2:2], strict=True)
        }
        cases += operation.cases(operation.options(threads=[2], **given))
    assert all(record["case"] in cases for record in records)
    assert len(cases) < 2 * len(records)


def test_the_command_of_a_smaller_graph_says_its_scale():
    _, (record, *_) = read(RESULTS / "cluster-speed.json")
    operation = load_operation("cluster")
    for scale in (1.0, 0.01):
        (case, *_) = operation.cases(operation.options(part=("growth",), scale=scale))
        words = next(speeds._commands(RESULTS / "s.json", operation, [record | {"case": case}]))
        expected = "--part growth --scale 0.01" if scale == 0.01 else "--part growth"
        assert words == f"graphnoise bench speed cluster {expected} --out s.json"


@pytest.mark.parametrize(
    ("measure", "values", "half", "limits"),
    [
        ("accuracy, %", [60.0, 80.0], 90.0, [0, 100]),
        ("NDCG@20", [0.2, 0.1], 0.4, [0, 0.636]),
        ("difference", [-1.0, 1.0], 1.0, [-2.16, 2.16]),
    ],
)
def test_an_axis_ends_where_a_measure_does(measure, values, half, limits):
    frame = pandas.DataFrame({"rate": [0.0, 0.4], measure: values})
    frame = frame.assign(low=frame[measure] - half, high=frame[measure] + half)
    figure = Figure("title", "note", frame, "lines", "rate", measure, ("low", "high"))
    assert charts._limits(figure, frame, measure) == pytest.approx(limits)


def test_names_with_html_in_them_are_text(made):
    assert "<script>alert(" not in made.html
    assert "n000&lt;script&gt;" in made.html
    assert "<i>cat</i>" not in made.html
    assert "\\u003ci\\u003ecat" in made.html
    assert "bee &amp; co" in made.html
    # Without a value, an option of two blanks in a row has one.
    assert '<option value="bee &amp; co">bee &amp; co</option>' in made.html


def test_a_page_has_only_what_there_is(made, tmp_path, capfd):
    code, out, err = call(capfd, "report", made.nodes, "--html", tmp_path / "page.html")
    assert (code, err, out) == (0, "", f"wrote {tmp_path / 'page.html'}\n")
    reader = Reader((tmp_path / "page.html").read_text())
    assert reader.headings[1:] == ["Node classification: nodes.csv", "Accuracy against noise", "Ranking"]
    assert "article" not in reader.tags
    assert "data:text/csv" not in (tmp_path / "page.html").read_text()
    code, _, err = call(capfd, "report", made.nodes, "--cells", "--html", tmp_path / "page.html")
    assert (code, err) == (0, "")
    assert "data:text/csv;charset=utf-8,grid%2Crow" in (tmp_path / "page.html").read_text()


def damaged(folder, made, kind):
    """A source with a damage of some kind."""
    store = Store(folder / "cells")
    if kind == "empty":
        return store.folder
    source = record.by_task(record.open_source(made.nodes))[0]["nodes"][0]
    key = cell_key(source["config"])
    store.write(key, source["config"], source["result"])
    path = store.path(key)
    if kind == "partly written":
        path.write_bytes(path.read_bytes()[:200])
    elif kind == "another version":
        path.rename(path.with_name(path.name.replace(".v1.", ".v9.")))
    elif kind == "NaN":
        frame = pandas.read_csv(made.nodes, dtype=str, keep_default_na=False)[:1]
        frame.assign(test_accuracy="nan").to_csv(folder / "cells.csv", index=False)
        return folder / "cells.csv"
    return store.folder


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("empty", "expected cells of `graphnoise bench"),
        ("partly written", "damaged"),
        ("another version", "version"),
        ("NaN", "line 2: expected a value of test_accuracy, got 'nan'"),
    ],
)
def test_sources_that_are_damaged_give_one_line(made, tmp_path, capfd, kind, message):
    code, _, err = call(capfd, "report", damaged(tmp_path, made, kind), "--html", tmp_path / "page.html")
    assert code == 1
    (line,) = err.splitlines()
    assert message in line
    assert not (tmp_path / "page.html").exists()


@pytest.mark.parametrize(
    ("file", "change", "message"),
    [
        (
            "labels.csv",
            lambda text: re.sub(r",0\.\d+", ",nan", text, count=1),
            "expected numbers in [0, 1] as credibility",
        ),
        ("suspects.jsonl", lambda text: text[:-40], "expected a suspect, got another line"),
        ("transition.csv", None, "got none named transition.csv"),
        ("audit.json", lambda text: "[]", "expected an object that `graphnoise audit` wrote"),
    ],
)
def test_audits_that_are_damaged_give_one_line(audited, tmp_path, capfd, file, change, message):
    shutil.copytree(audited / "audit", tmp_path / "audit")
    target = tmp_path / "audit" / file
    target.write_text(change(target.read_text())) if change else target.unlink()
    code, _, err = call(capfd, "report", tmp_path / "audit", "--html", tmp_path / "page.html")
    assert code == 1
    (line,) = err.splitlines()
    assert message in line


def test_ratios_that_are_no_numbers_give_one_line(made, tmp_path, capfd):
    file = json.loads(made.sources[4].read_text())
    file["records"][0]["times"]["scipy"]["ratio"]["median"] = float("nan")
    (tmp_path / "speeds.json").write_text(json.dumps(file))
    code, _, err = call(capfd, "report", tmp_path / "speeds.json", "--html", tmp_path / "page.html")
    assert (code, len(err.splitlines())) == (1, 1)
    assert "expected positive numbers as the ratios of scipy" in err


@pytest.mark.parametrize("damage", [{"case": {"part": "posterior", "nodes": 1, "threads": [1]}}, {"ratio": {"a": 3}}])
def test_damaged_speeds_give_one_line(damage, tmp_path, capfd):
    file = json.loads((RESULTS / "cluster-posterior.json").read_text())
    file["records"][0] |= damage
    (tmp_path / "speeds.json").write_text(json.dumps(file))
    code, _, err = call(capfd, "report", tmp_path / "speeds.json", "--html", tmp_path / "page.html")
    assert (code, len(err.splitlines())) == (1, 1)
    assert "speeds.json: expected whole records" in err


def test_a_page_that_cannot_be_written_is_found_before_anything_is_read(made, tmp_path, capfd, monkeypatch):
    monkeypatch.setattr(record, "open_source", lambda path: pytest.fail("was read"))
    code, _, err = call(capfd, "report", made.nodes, "--html", tmp_path)
    assert (code, len(err.splitlines())) == (1, 1)
    assert "cannot be written" in err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["a", "b"], "FOLDER without --html: expected one folder, got 2: a, b"),
        (["a", "b", "--html", "p.html", "--plot"], "--plot: expected one folder"),
        (["a", "--cells"], "--cells: expected --html, got none"),
    ],
)
def test_options_that_do_not_go_together(words, message, capfd):
    code, _, err = call(capfd, "report", *words)
    assert code == 1
    assert message in err


def test_a_file_that_is_no_page_is_not_replaced(made, tmp_path, capfd):
    cells = shutil.copy(made.nodes, tmp_path / "cells.csv")
    code, _, err = call(capfd, "report", cells, "--html", cells)
    assert (code, len(err.splitlines())) == (1, 1)
    assert "--html: expected a new file, or a page to replace" in err
    assert cells.read_bytes() == made.nodes.read_bytes()


def test_options_of_cells_are_refused_for_an_audit(audited, tmp_path, capfd):
    code, _, err = call(capfd, "report", audited / "audit", "--html", tmp_path / "p.html", "--csv", tmp_path / "c.csv")
    assert code == 1
    assert "--csv: expected cells of a benchmark, got none in" in err


def test_a_page_that_is_too_large_is_refused(made, tmp_path, capfd, monkeypatch):
    monkeypatch.setattr(write, "MAX_BYTES", 900_000)
    code, _, err = call(capfd, "report", made.nodes, "--html", tmp_path / "page.html")
    assert code == 1
    assert "expected a page of at most 0 MB" in err
    assert not (tmp_path / "page.html").exists()


def test_without_the_packages_the_error_names_the_extra(made, tmp_path, capfd, monkeypatch):
    monkeypatch.setitem(sys.modules, "altair", None)
    code, _, err = call(capfd, "report", made.nodes, "--html", tmp_path / "page.html")
    assert code == 1
    assert "pip install 'graphnoise[page]'" in err


def test_figures_of_runs_with_several_initialisations_split_the_variance(planted_file, tmp_path, capfd):
    task, store = registry.task("nodes"), Store(tmp_path / "cells")
    methods = ["gcn:epochs=3", "mlp:epochs=3", "gat:epochs=3"]
    grid = {"datasets": [planted_file], "methods": methods, "noise": ["pair"], "rates": [0.2, 0.3]}
    task.run(task.Grid(**grid, seeds=2, inits=2), store)
    assert call(capfd, "report", store.folder, "--html", tmp_path / "page.html")[0] == 0
    html = (tmp_path / "page.html").read_text()
    shown = table(html, "Variance: noise draw or initialisation")
    (section,) = task.sections(record.by_task(store)[0]["nodes"])
    share = section.estimate("gcn", "pair", 0.3, "test_accuracy").draw_share
    rows = shown.query("method == 'gcn'").set_index("part")["share of the variance, %"].astype(float)
    assert rows.to_dict() == pytest.approx({"noise draw": 100 * share, "initialisation": 100 - 100 * share})
    assert set(shown["rate"]) == {"0.3"}
    ranks = table(html, "Ranking")
    assert float(ranks["mean rank"].astype(float).sum()) == pytest.approx(6)
    assert "files written" in html
