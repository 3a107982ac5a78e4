"""The page of a large run in a real browser: what it loads, and when."""

from __future__ import annotations

import json
import os

import pytest

from cnnviz.report import build_report, parts
from tests.report.runs import large, write_lines

pytestmark = [pytest.mark.needs("chromium"), pytest.mark.browser]

COUNT = 2300
SETTLED = """(() => {
    const count = document.getElementById("count").textContent;
    const cards = [...document.querySelectorAll("#gallery .card")];
    return /image/.test(count) && !/Reading|searched/.test(count)
        && cards.every((card) => card.querySelector(".badges, .note"));
})()"""


@pytest.fixture(scope="module")
def record():
    return large(COUNT)


@pytest.fixture(scope="module")
def folder(record, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    write_lines(folder, record)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parts, "COLUMNS", 1000)
        patch.setattr(parts, "PATHS", 700)
        build_report(folder, whole=100)
    return folder


@pytest.fixture
def page(browser, folder):
    browser.open(folder / "index.html")
    browser.wait(SETTLED)
    yield browser
    assert browser.problems() == []


def names(browser):
    """What the cards that are there say, in order."""
    return browser.run(
        "[...document.querySelectorAll('#gallery .card .path')].map(e => e.textContent)"
    )


def loaded(browser):
    return {os.path.basename(url) for url in browser.requested() if url.endswith(".js")}


def choose(browser, element, value):
    browser.run(f"""(() => {{
        const element = document.getElementById({json.dumps(element)});
        element.value = {json.dumps(value)};
        element.dispatchEvent(new Event(element.tagName === 'SELECT' ? 'change' : 'input'));
    }})()""")
    browser.wait(SETTLED)


def said(browser):
    return browser.run("document.getElementById('count').textContent")


def lead(images):
    return [one["relative"] for one in images[:20]]


def test_it_opens_without_any_part(page, record):
    """What is seen first stands in the page, with the counts of all."""
    assert names(page)[:20] == lead(record["images"])
    assert len(names(page)) <= 60
    assert said(page) == f"All {COUNT} images"
    correct = record["summary"]["correct"]
    assert f"✓ correct {correct}" in page.run("document.getElementById('chips').textContent")
    assert page.run("document.querySelectorAll('#worth .badges').length") == 6
    assert not loaded(page)


def test_filters_and_orders_load_columns_and_what_they_show(page, record):
    choose(page, "sort", "loss")
    known = [one for one in record["images"] if one["loss"] is not None]
    worst = sorted(known, key=lambda one: -one["loss"])  # stable: in the order of the run
    assert names(page)[:20] == lead(worst)
    assert {f"columns-000{number}.js" for number in (1, 2, 3)} <= loaded(page)
    assert not any(name.startswith("paths") for name in loaded(page))
    page.run("document.querySelector('#chips [data-kind=incorrect]').click()")
    page.wait(SETTLED)
    wrong = [one for one in worst if one["correct"] is False]
    assert names(page)[:20] == lead(wrong)
    assert said(page) == f"{len(wrong)} of {COUNT} images"
    choose(page, "truth", "3")
    of_class = [one for one in wrong if one["ground_truth"]["index"] == 3]
    assert names(page)[:20] == lead(of_class)
    page.run("document.getElementById('clear').click()")
    page.wait(SETTLED)
    choose(page, "sort", "margin")
    page.run("document.getElementById('direction').click()")
    page.wait(SETTLED)
    least = sorted(known, key=lambda one: one["margin"])
    assert names(page)[:20] == lead(least)


def test_paths_are_searched(page, record):
    choose(page, "query", "CRANE/0")
    found = [one for one in record["images"] if "crane/0" in one["path"]]
    assert said(page) == f"{len(found)} of {COUNT} images"
    assert names(page)[:20] == lead(found)
    assert {f"paths-000{number}.js" for number in range(1, 5)} <= loaded(page)


def test_far_down_and_large(page, record):
    """Cards are there where one scrolls to, and no others; the large view goes on from there."""
    page.run("""(() => {
        const { top, height } = document.getElementById("gallery").getBoundingClientRect();
        scrollTo(0, scrollY + top + 0.7 * height);
    })()""")
    page.wait("document.querySelector('#gallery .card').ariaPosInSet > 1000")
    page.wait(SETTLED)
    there = names(page)
    order = [one["relative"] for one in record["images"]]
    start = order.index(there[0])
    assert there == order[start : start + len(there)]
    assert len(there) < 200
    assert start > 1000
    assert page.run("document.querySelectorAll('#gallery .card')[0].ariaPosInSet") == str(start + 1)
    page.run("document.querySelectorAll('#gallery button')[9].click()")
    page.wait("document.getElementById('large').open")
    for number in range(120):  # beyond the parts and the cards that are there
        page.press("ArrowRight")
        place = f"{start + 11 + number} of {COUNT}"
        page.wait(f"document.getElementById('large-place').textContent === '{place}'")
    assert order[start + 129] in page.run("document.getElementById('large-title').textContent")
    page.press("Escape")
    page.wait(f"document.activeElement.dataset.place === '{start + 129}'")
    # The arrow keys go on among the cards.
    page.press("ArrowRight")
    page.wait(f"document.activeElement.dataset.place === '{start + 130}'")


def test_the_selection_has_all_paths(page, record):
    page.run("document.querySelector('#chips [data-kind=failed]').click()")
    page.wait(SETTLED)
    page.run("""(() => {
        URL.createObjectURL = (blob) => {
            blob.text().then((text) => { window.saved = text; });
            return "#";
        };
        HTMLAnchorElement.prototype.click = () => {};
        document.getElementById("download").click();
    })()""")
    page.wait("window.saved !== undefined")
    paths = [one["path"] for one in record["images"] if one["status"] != "ok"]
    assert page.run("window.saved") == "".join(f"{path}\n" for path in paths)


def test_an_address_with_an_order_and_an_open_image(browser, folder, record):
    browser.open(folder / "index.html", "sort=loss&open=1500")
    browser.wait("document.getElementById('large').open")
    known = [one for one in record["images"] if one["loss"] is not None]
    worst = sorted(known, key=lambda one: -one["loss"])
    place = worst.index(record["images"][1500]) + 1
    browser.wait(f"document.getElementById('large-place').textContent === '{place} of {COUNT}'")
    assert browser.problems() == []


def test_a_gallery_too_tall_for_a_browser_comes_in_stretches(browser, folder, record, tmp_path):
    text = (folder / "index.html").read_text()
    assert "const TALLEST = 15e6;" in text
    lower = tmp_path / "lower"
    lower.mkdir()
    for name in ("report", "shared", "thumbnails"):
        (lower / name).symlink_to(folder / name)
    # Its program is another then, and so is its hash, which the policy would have to name.
    text = text.replace("const TALLEST = 15e6;", "const TALLEST = 3e4;")
    (lower / "index.html").write_text(text.replace("Content-Security-Policy", "x"))
    browser.open(lower / "index.html")
    browser.wait(SETTLED)
    note = "document.querySelector('#gallery + p span').textContent"
    last = int(browser.run(note).split()[3])
    assert last < COUNT
    browser.run("document.querySelector('#gallery + p [data-by=\"1\"]').click()")
    browser.wait(f"{note}.startsWith('Images {last + 1} to ')")
    browser.wait(SETTLED)
    order = [one["relative"] for one in record["images"]]
    assert names(browser)[:20] == order[last : last + 20]


def test_a_part_that_is_missing_or_of_another_report(browser, record, tmp_path):
    write_lines(tmp_path, record)
    build_report(tmp_path, whole=100)
    (tmp_path / "report" / "columns-0001.js").unlink()
    part = tmp_path / "report" / "0002.js"
    part.write_text(part.read_text().replace('"run":"', '"run":"0'))
    browser.open(tmp_path / "index.html")
    browser.wait(SETTLED)
    browser.run("document.getElementById('sort').value = 'loss'")
    browser.run("document.getElementById('sort').dispatchEvent(new Event('change'))")
    browser.wait("/columns-0001.js is missing/.test(document.getElementById('copied').textContent)")
    (tmp_path / "report" / "paths-0001.js").unlink()
    browser.run("document.getElementById('download').click()")
    browser.wait("/paths-0001.js is missing/.test(document.getElementById('copied').textContent)")
    browser.open(tmp_path / "index.html", "open=150")
    browser.wait(
        "/0002.js is missing or belongs/.test(document.getElementById('copied').textContent)"
    )
    assert not browser.run("document.getElementById('large').open")
