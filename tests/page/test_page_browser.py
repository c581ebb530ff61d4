"""The page of a report in Chromium, from a file: it draws, filters, sorts, saves decisions and is accessible."""

import os
import shutil
import time
from pathlib import Path

import numpy as np
import pandas
import pytest
from audit.audits import data, noisy

import graphnoise as gn
from graphnoise.audit.decisions import read_decisions

pytest.importorskip("selenium")
from axe_core_python.selenium import Axe
from PIL import Image
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.support.select import Select

BROWSER, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(not (BROWSER and DRIVER), reason="needs chromium and chromedriver (.ci/browser)")
ARGUMENTS = [
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update"),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("downloads")


@pytest.fixture(scope="module")
def browser(folder, tmp_path_factory):
    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER
    for argument in [*ARGUMENTS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"]:
        options.add_argument(argument)
    options.add_experimental_option("prefs", {"download.default_directory": str(folder)})
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(DRIVER))
    yield driver
    driver.quit()


def wait(condition, seconds=30.0):
    end = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)
    return value


@pytest.fixture(scope="module")
def page(browser, made):
    """The page, drawn."""
    browser.get(made.path.as_uri())
    wait(lambda: browser.execute_script("return document.documentElement.dataset.drawn"))
    return browser


def find(page, selector):
    return page.find_elements(By.CSS_SELECTOR, selector)


def downloaded(folder, name):
    wait(lambda: (folder / name).exists())
    return pandas.read_csv(folder / name, dtype=str, keep_default_na=False)


def test_every_chart_is_drawn_without_an_error(page, made):
    charts = find(page, ".chart")
    assert len(charts) == made.html.count('class="chart"') > 10
    assert all(chart.find_elements(By.CSS_SELECTOR, "svg path") for chart in charts)
    assert page.get_log("browser") == []
    assert page.execute_script("return performance.getEntriesByType('resource').map(e => e.name)") == []


# Of the second combination the rules that depend on colours and sizes.
VISUAL = ["color-contrast", "scrollable-region-focusable"]


def show_as(page, width, scheme):
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    page.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)


@pytest.mark.parametrize("width", [390, 1280])
def test_screenshots_are_light_and_dark(page, width, folder):
    """The files are in GRAPHNOISE_SCREENSHOTS where the environment names a folder, to be looked at."""
    kept = Path(os.environ.get("GRAPHNOISE_SCREENSHOTS", folder))
    brightness = {}
    for scheme in ("light", "dark"):
        show_as(page, width, scheme)
        file = kept / f"report-{width}-{scheme}.png"
        assert page.save_screenshot(str(file))
        pixels = np.asarray(Image.open(file).convert("L"), dtype=float)
        assert pixels.shape == (900, width)
        assert pixels.std() > 5
        brightness[scheme] = pixels.mean()
    assert brightness["dark"] < 90 < 200 < brightness["light"]


@pytest.mark.parametrize(("width", "scheme", "rules"), [(390, "light", None), (1280, "dark", VISUAL)])
def test_it_fits_the_screen_and_is_accessible(page, width, scheme, rules):
    show_as(page, width, scheme)
    assert page.execute_script("return document.documentElement.scrollWidth <= innerWidth")
    found = Axe().run(page, options=rules and {"runOnly": rules})["violations"]
    assert [(v["id"], v["nodes"][0]["html"][:200]) for v in found] == []


def test_an_entry_of_the_legend_emphasises_its_series(page):
    button = find(page, ".legend button")[0]
    paths = "document.querySelector('.chart').querySelectorAll('.mark-line path')"

    def opacities():
        return set(page.execute_script(f"return [...{paths}].map(path => getComputedStyle(path).opacity)"))

    assert opacities() == {"1"}
    button.click()
    wait(lambda: opacities() == {"0.2", "1"})
    button.click()
    wait(lambda: opacities() == {"1"})


def test_tables_are_sorted_and_saved(page, folder):
    page.execute_script("document.querySelector('figure details').open = true")
    column = find(page, "figure th button")
    place = [button.text for button in column].index("test accuracy, %")
    read = f"return [...document.querySelector('.sortable tbody').rows].map(r => +r.cells[{place}].dataset.raw)"
    for ascending in (True, False):
        column[place].click()
        values = page.execute_script(read)
        assert values == sorted(values, reverse=not ascending)
    assert column[place].find_element(By.XPATH, "..").get_attribute("aria-sort") == "descending"
    find(page, "figure .download")[0].click()
    assert downloaded(folder, "accuracy-against-noise.csv")["test accuracy, %"].astype(float).tolist() == values


def shown(page):
    return [card for card in find(page, ".suspect") if card.is_displayed()]


def test_suspects_are_filtered_and_decisions_are_saved_as_the_audit_reads_them(page, folder, audited):
    total = len(find(page, ".suspect"))
    assert 5 < total == len(shown(page))
    given = Select(find(page, ".given")[0])
    given.select_by_visible_text("ant")
    assert 0 < len(shown(page)) < total
    assert {card.get_attribute("data-given") for card in shown(page)} == {"ant"}
    given.select_by_visible_text("all")
    first, second, third = shown(page)[:3]
    find(page, ".search")[0].send_keys(first.get_attribute("data-node"))
    assert shown(page) == [first]
    find(page, ".search")[0].clear()
    find(page, ".search")[0].send_keys("n")
    first.find_element(By.CSS_SELECTOR, ".accept").click()
    second.find_element(By.CSS_SELECTOR, ".reject").click()
    Select(third.find_element(By.CSS_SELECTOR, ".decision")).select_by_visible_text("<i>cat</i>")
    # Marks stay while the page is read anew.
    page.refresh()
    wait(lambda: page.execute_script("return document.documentElement.dataset.drawn"))
    cards = shown(page)[:3]
    marks = [card.find_element(By.CSS_SELECTOR, ".decision").get_attribute("value") for card in cards]
    suspects = pandas.read_json(audited / "audit" / "suspects.jsonl", lines=True)
    assert marks == [suspects["suggested"][0], suspects["given"][1], "<i>cat</i>"]
    find(page, ".open")[0].click()
    assert len(shown(page)) == total - 3
    find(page, ".save")[0].click()
    saved = downloaded(folder, "decisions.csv")
    assert saved.columns.tolist() == ["node", "given", "decision"]
    assert saved["decision"].tolist() == marks
    names = [f"n{i:03d}<script>alert({i})</script>" for i in range(120)]
    graph = gn.Graph.from_edge_index(data().edge_index, 120, names=names)
    labels = np.array(["ant", "bee & co", "<i>cat</i>"], dtype=object)[noisy().numpy()]
    read = read_decisions("decisions", folder / "decisions.csv", gn.Audit(graph, labels).posterior)
    assert read["node"].tolist() == suspects["node"][:3].tolist()
    assert page.get_log("browser") == []
