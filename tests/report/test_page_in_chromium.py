"""The page in a real browser: filters, keyboard, names that nobody can trust."""

from __future__ import annotations

import json
import os
import re
import time
from pathlib import Path, PurePosixPath

import numpy as np
import pytest

from cnnviz.outputs.files import OutputFolder
from cnnviz.outputs.formats import encode_jpeg, encode_png
from cnnviz.report import build_report
from tests.report.runs import failed, image, large, located, manifest, score, write_run

pytestmark = [pytest.mark.needs("chromium"), pytest.mark.browser]

SCRIPT = "<script>window.broken = 1<script><img src=x onerror=window.broken=2>.jpg"
STAMP = located(0.5, (0.0, 0.0, 0.0, 0.7), [[0, 0, 0], [0, 0, 0], [0, 0, 255]])
IMAGES = [
    image("volcano/1.jpg", 0, 0.9, truth=0),
    image("volcano/2.jpg", 1, 0.7, truth=0, location=STAMP),
    image("volcano/3.jpg", 1, 0.6, truth=0, location=STAMP),
    image("volcano/4.jpg", 1, 0.8, truth=0, location=STAMP),
    image("web/5.jpg", 1, 0.95, truth=1),
    image("web/6.jpg", 2, 0.5, truth=1, blank=True),
    image("7.jpg", 2, 0.4),
    failed("8.jpg", error="It is no image: <b>the file</b> is empty."),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = write_run(tmp_path_factory.mktemp("run"), manifest(IMAGES))
    build_report(folder)
    return folder


@pytest.fixture
def page(browser, folder):
    """The page, newly opened."""
    browser.open(folder / "index.html")
    yield browser
    assert browser.problems() == []


def built(folder, record, **options):
    write_run(folder, record, **options)
    return build_report(folder)


def cards(browser):
    return browser.run(
        "[...document.querySelectorAll('#gallery .card .path')].map(e => e.textContent)"
    )


def choose(browser, element, value):
    browser.run(f"""(() => {{
        const element = document.getElementById({json.dumps(element)});
        element.value = {json.dumps(value)};
        element.dispatchEvent(new Event(element.tagName === 'SELECT' ? 'change' : 'input'));
    }})()""")


def click(browser, selector):
    browser.run(f"document.querySelector({json.dumps(selector)}).click()")


def focused(browser):
    return browser.run("document.activeElement.textContent")


# --- what is seen --------------------------------------------------------------------------------


def test_all_images_are_there_from_the_disk_alone(page):
    assert cards(page) == [one["relative"] for one in IMAGES]
    page.run("document.getElementById('gallery').scrollIntoView()")  # images load in sight only
    page.wait("[...document.images].every(image => image.complete)")
    assert (
        page.run(
            "[...document.querySelectorAll('#gallery img')].map(image => image.naturalWidth > 0)"
        )
        == [True] * 14
    )
    assert all(url.startswith("file:") for url in page.requested())
    assert page.run("document.querySelectorAll('#gallery img')[1].src").endswith(
        "/thumbnails/volcano/1_gradcam.jpg"
    )
    assert page.run("document.getElementById('count').textContent") == "All 8 images"


def test_a_card_says_what_became_of_its_image(page):
    page.run("document.getElementById('gallery').scrollIntoView()")  # cards are there in sight only
    page.wait("document.querySelector('#gallery .card').innerText !== ''")
    texts = page.run("[...document.querySelectorAll('#gallery .card')].map(card => card.innerText)")
    assert " ".join(texts[1].split()) == (
        "volcano/2.jpg spider web 70.0% true: volcano 15.0% ✗ incorrect"
    )
    assert "✓ correct" in texts[0]
    assert "true:" not in texts[0]
    assert "✗ incorrect" in texts[5]
    assert "○ blank map" in texts[5]
    assert "? true class unknown" in texts[6]
    assert "It is no image: <b>the file</b> is empty." in texts[7]
    assert "! failed" in texts[7]


def test_without_scripts_it_says_what_is_missing(browser, folder):
    browser.call("Emulation.setScriptExecutionDisabled", value=True)
    try:
        browser.open(folder / "index.html")
        assert "This page needs JavaScript" in browser.run("document.body.innerText")
        assert "Where vgg16 looked" in browser.run("document.body.innerText")
        assert "Sort by" not in browser.run("document.body.innerText")
    finally:
        browser.call("Emulation.setScriptExecutionDisabled", value=False)


def test_a_mean_map_shows_the_corner(browser, tmp_path):
    """The mean of five maps with all in the bottom right cell: dark red there, dark blue else."""
    stamped = [image(f"{n}.jpg", 1, 0.7, truth=0, location=STAMP) for n in range(5)]
    browser.open(built(tmp_path, manifest(stamped)))
    pixels = browser.run("""(() => {
        const canvas = document.querySelector('#pairs canvas');
        const { data } = canvas.getContext('2d').getImageData(0, 0, 120, 120);
        const at = (x, y) => [...data.slice(4 * (120 * y + x), 4 * (120 * y + x) + 3)];
        return [canvas.width, at(119, 119), at(60, 60), at(0, 0)];
    })()""")
    assert pixels == [120, [128, 0, 0], [0, 0, 128], [0, 0, 128]]
    first = browser.run("document.querySelector('#pairs li').innerText")
    assert "volcano predicted as spider web" in first
    assert "18 times as much evidence in the bottom-right corner as expected: 70% of it" in first
    assert "5 images" in first
    assert browser.problems() == []


def test_the_slider_fades_the_maps(page):
    page.run("document.activeElement.blur()")
    over = "getComputedStyle(document.querySelector('#gallery .card .over')).opacity"
    page.wait(f"{over} === '1'")
    choose(page, "mix", "25")
    page.wait(f"{over} === '0.25'")
    page.run("document.querySelector('#gallery .card button').focus({focusVisible: true})")
    page.wait(f"{over} === '1'")
    page.wait("location.hash === '#mix=25'")


def test_drawings_that_do_not_lie_on_the_original(browser, tmp_path):
    """Layers side by side are broader: the original does not show through, only in their place."""
    page = built(tmp_path, manifest([image("a.jpg"), image("b.jpg")]))
    strip = np.full((36, 150, 3), 200, np.uint8)
    output = OutputFolder(tmp_path)
    output.write(PurePosixPath("a_gradcam.png"), encode_png(strip))
    output.write(PurePosixPath("thumbnails/a_gradcam.jpg"), encode_jpeg(strip, 85))
    browser.open(page)
    first, second = (
        f"getComputedStyle(document.querySelectorAll('#gallery .card img:not(.over)')[{n}]).opacity"
        for n in (0, 1)
    )
    browser.wait(f"{first} === '0'")
    assert browser.run(second) == "1"
    choose(browser, "mix", "0")
    browser.wait(f"{first} === '1'")
    click(browser, "#gallery .card button")
    browser.wait("document.querySelector('#large figure.broad') !== null")
    assert browser.run("document.querySelectorAll('#large figure.broad img').length") == 1


def test_another_map(page):
    choose(page, "map", "guided_gradcam")
    sources = "[...document.querySelectorAll('#gallery .card .over')].map(one => one.src)"
    page.wait(f"{sources}.filter(one => one.endsWith('_guided_gradcam.jpg')).length === 7")
    assert len(page.run(sources)) == 7
    page.wait("location.hash === '#map=guided_gradcam'")


# --- filters and order ---------------------------------------------------------------------------


def test_filters(page):
    choose(page, "predicted", "1")
    assert cards(page) == ["volcano/2.jpg", "volcano/3.jpg", "volcano/4.jpg", "web/5.jpg"]
    choose(page, "truth", "0")
    assert cards(page) == ["volcano/2.jpg", "volcano/3.jpg", "volcano/4.jpg"]
    choose(page, "query", "O/4")
    assert cards(page) == ["volcano/4.jpg"]
    assert page.run("document.getElementById('count').textContent") == (
        "1 of 8 images: volcano predicted as spider web"
    )
    click(page, "#clear")
    assert len(cards(page)) == 8
    choose(page, "query", "no such path")
    assert cards(page) == []
    assert page.run("document.getElementById('nothing').innerText") == (
        "No images match these filters."
    )
    click(page, "#clear")
    choose(page, "truth", "none")
    assert cards(page) == ["7.jpg"]


def test_kinds(page):
    def press(kind):
        click(page, f"#chips [data-kind={kind}]")

    press("incorrect")
    assert cards(page) == ["volcano/2.jpg", "volcano/3.jpg", "volcano/4.jpg", "web/6.jpg"]
    press("failed")
    assert cards(page)[-1] == "8.jpg"
    assert page.run(
        "[...document.querySelectorAll('#chips [aria-pressed=true]')].map(one => one.textContent)"
    ) == ["✗ incorrect 4", "! failed 1"]
    press("incorrect")
    press("failed")
    press("blank")
    assert cards(page) == ["web/6.jpg"]
    press("blank")
    press("correct")
    assert cards(page) == ["volcano/1.jpg", "web/5.jpg"]
    press("correct")
    assert len(cards(page)) == 8


def test_orders_both_ways(page):
    """Who has no such number comes last, whichever way."""
    for key, value in (
        ("confidence", lambda one: one["top5"][0]["probability"]),
        ("margin", lambda one: one["margin"]),
        ("loss", lambda one: one["loss"]),
    ):
        known = [one for one in IMAGES if one["status"] == "ok" and value(one) is not None]
        rest = [one["relative"] for one in IMAGES if one not in known]
        choose(page, "sort", key)
        down = sorted(known, key=lambda one: -value(one))
        assert cards(page) == [one["relative"] for one in down] + rest
        assert page.run("document.getElementById('direction').ariaLabel") == (
            "Order: highest first"
        )
        click(page, "#direction")
        assert cards(page) == [one["relative"] for one in sorted(known, key=value)] + rest
    choose(page, "sort", "run")
    click(page, "#direction")
    assert cards(page) == [one["relative"] for one in reversed(IMAGES)]


def test_the_matrix_filters_by_keyboard(page):
    page.run("document.querySelector('#matrix button[tabindex=\"0\"]').focus()")
    assert page.run("document.activeElement.ariaLabel") == "volcano (correct): 1 image"
    page.press("ArrowRight")
    assert page.run("document.activeElement.ariaLabel") == (
        "volcano predicted as spider web: 3 images"
    )
    page.press("Enter")
    assert cards(page) == ["volcano/2.jpg", "volcano/3.jpg", "volcano/4.jpg"]
    assert page.run("document.activeElement.id") == "images-title"
    # Back there with Tab: the cell that was left, and no other.
    page.run("document.querySelector('#matrix button[tabindex=\"0\"]').focus()")
    page.press("ArrowDown")
    page.press("ArrowRight")
    assert page.run("document.activeElement.ariaLabel") == "spider web predicted as tabby: 1 image"
    page.press("Enter")
    assert cards(page) == ["web/6.jpg"]
    page.run("document.querySelector('#matrix [aria-pressed=true]').click()")
    assert len(cards(page)) == 8


def test_pairs_and_errors_filter_and_forget_other_filters(page):
    click(page, "#chips [data-kind=blank]")
    choose(page, "query", "web")
    click(page, "#pairs button")
    assert cards(page) == ["volcano/2.jpg", "volcano/3.jpg", "volcano/4.jpg"]
    click(page, "#errors li:nth-child(2) button")
    assert cards(page) == ["web/6.jpg"]


def test_the_selection_goes_out_as_paths(browser, tmp_path):
    """What the filters leave, in the page's order, byte for byte; no path with a line break."""
    names = ["b.jpg", os.fsdecode(b"\xff\xc3.jpg"), "two\nlines.jpg", "\U0001f431 é.jpg", "a.png"]
    browser.open(built(tmp_path / "run", manifest([image(name) for name in names])))
    downloads = tmp_path / "downloads"
    downloads.mkdir()
    browser.call("Page.setDownloadBehavior", behavior="allow", downloadPath=str(downloads))
    choose(browser, "query", ".jpg")
    click(browser, "#download")
    assert browser.run("document.getElementById('copied').textContent") == (
        "Saved 3 paths; 1 with a line break left out."
    )
    file = downloads / "selection.txt"
    paths = [f"photos/{names[place]}" for place in (0, 1, 3)]
    expected = b"".join(os.fsencode(path) + b"\n" for path in paths)
    for _ in range(400):
        if file.exists() and file.stat().st_size == len(expected):
            break
        time.sleep(0.05)
    assert file.read_bytes() == expected

    browser.run("""(() => {
        window.copied = [];
        const clipboard = {writeText: async (text) => window.copied.push(text)};
        Object.defineProperty(navigator, 'clipboard', {value: clipboard});
    })()""")
    choose(browser, "query", "a.png")
    click(browser, "#copy")
    browser.wait("document.getElementById('copied').textContent === 'Copied 1 path.'")
    assert browser.run("window.copied") == ["photos/a.png\n"]
    assert browser.problems() == []


def test_counts_become_shares_of_the_true_class(page):
    cells = "[...document.querySelectorAll('#matrix button')].map(one => one.textContent)"
    assert page.run(cells) == ["1", "3", "1", "1"]
    click(page, "[data-cells=shares]")
    assert page.run(cells) == ["25%", "75%", "50%", "50%"]
    click(page, "[data-cells=counts]")
    assert page.run(cells) == ["1", "3", "1", "1"]


def test_a_table_is_sorted_by_its_headings(page):
    rows = "[...document.querySelectorAll('#classes tbody tr')]"
    column = f"{rows}.map(one => one.cells[{{}}].textContent)"
    # F1 is 2/6 and 2/5; no image is of a tabby.
    assert page.run(column.format(0)) == ["spider web", "volcano", "tabby, tabby cat"]
    click(page, "#classes th:nth-child(5) button")
    assert page.run(column.format(4)) == ["0", "2", "4"]
    click(page, "#classes th:nth-child(5) button")
    assert page.run(column.format(4)) == ["4", "2", "0"]
    for _ in range(2):  # what has no number is last either way
        click(page, "#classes th:nth-child(4) button")
        assert page.run(column.format(3))[-1] == "–"


def test_what_is_worth_a_look_opens(page):
    why = page.run("[...document.querySelectorAll('#worth .why')].map(one => one.textContent)")
    assert why[0] == "wrong with 80.0%, loss 2.30"
    assert len(why) == 5
    click(page, "#worth li:nth-child(1) button")
    assert title(page).startswith("volcano/4.jpg")
    page.press("Escape")
    page.wait("document.activeElement.closest('#worth') !== null")


def test_a_single_file_needs_no_folder(browser, tmp_path):
    write_run(tmp_path / "run", manifest(IMAGES))
    page = build_report(tmp_path / "run", single_file=True)
    moved = tmp_path / "sent.html"
    moved.write_bytes(page.read_bytes())
    browser.open(moved)
    browser.run("document.getElementById('gallery').scrollIntoView()")  # images load in sight only
    browser.wait("[...document.images].every(one => one.complete && one.naturalWidth)")
    click(browser, "#gallery .card button")
    browser.wait("[...document.querySelectorAll('#large img')].every(one => one.naturalWidth)")
    assert browser.run("document.querySelector('#large a').download") == "1_original.png"
    assert [url for url in browser.requested() if not url.startswith("data:")] == [moved.as_uri()]
    assert browser.problems() == []


# --- one image, large --------------------------------------------------------------------------


def title(page):
    return page.run("document.getElementById('large-title').innerText")


def test_large_by_keyboard_through_the_filtered_order_and_back(page):
    choose(page, "predicted", "1")
    choose(page, "sort", "loss")
    order = cards(page)
    page.run("document.querySelector('#gallery .card button').focus()")
    page.press("ArrowRight")
    assert focused(page).startswith(order[1])
    page.press("Enter")
    assert page.run("document.getElementById('large').open")
    assert title(page).startswith(order[1])
    page.press("ArrowRight")
    assert title(page).startswith(order[2])
    assert page.run("document.getElementById('large-place').textContent") == "3 of 4"
    page.press("ArrowLeft")
    page.press("ArrowLeft")
    page.press("ArrowLeft")  # there is none before the first
    assert title(page).startswith(order[0])
    page.press("ArrowRight")
    page.press("ArrowRight")
    page.press("Escape")
    page.wait(f"document.activeElement.textContent.startsWith({json.dumps(order[2])})")
    assert not page.run("document.getElementById('large').open")


def test_arrows_in_a_slider_move_the_slider(page):
    click(page, "#gallery .card button")
    page.run("document.querySelector('#large input[type=range]').focus()")
    page.press("ArrowLeft")
    assert title(page).startswith("volcano/1.jpg")
    assert page.run("document.querySelector('#large input[type=range]').value") == "95"
    page.wait("getComputedStyle(document.querySelector('#large .over')).opacity === '0.95'")


def test_large_has_every_image_and_number(browser, tmp_path):
    record = image("a.jpg", 1, 0.7, truth=0)
    other = json.loads(json.dumps(record["explanations"][0]).replace("a_", "a_0_"))
    other["target"] = record["ground_truth"]
    other["files"]["original"] = "a_original.png"
    record["explanations"].append(other)
    record["contrasts"] = [
        {
            "positive": record["top5"][0],
            "negative": record["ground_truth"],
            "file": "a_original.png",
        }
    ]
    record["panel"] = "a_original.png"
    record["explanations"][0]["diagnostics"] = {"gradcam": {"noisy_logit": 3.14159}}
    browser.open(built(tmp_path, manifest([record])), "open=0")

    text = browser.run("document.getElementById('large').innerText")
    for words in (
        "Explained: spider web (1), 70.0%, the prediction",
        "Explained: volcano (0), 15.0%, the true class",
        "Why spider web (1) rather than volcano (0)",
        "Panel",
        "volcano (0) ← true class",
        "Grad-CAM: noisy logit\t3.142",
        "Grad-CAM\t0 to 3.21",
        "at the border\t36.0% of the heatmap (36% if even)",
        "x 4 to 20, y 3 to 15",
        "48 × 36 pixels",
        "ab" * 32,
        "0.31 s",
    ):
        assert words in text, words
    browser.wait("[...document.querySelectorAll('#large img')].every(one => one.naturalWidth)")
    links = browser.run("[...document.querySelectorAll('#large a')].map(one => one.href)")
    assert [link.rpartition("/")[2] for link in links] == [
        *("a_original.png", "a_gradcam.png", "a_guided_gradcam.png"),
        *("a_0_gradcam.png", "a_0_guided_gradcam.png", "a_original.png", "a_original.png"),
    ]
    box = browser.run("document.querySelector('#large .box').getAttribute('style')")
    percents = [float(value) for value in re.findall(r"([0-9.]+)%", box)]
    # x from 4 to 20 of 48, y from 3 to 15 of 36.
    assert percents == pytest.approx([100 * 4 / 48, 100 * 3 / 36, 100 * 16 / 48, 100 / 3], abs=1e-3)
    assert browser.problems() == []


def test_a_failed_image_tells_its_error(page):
    click(page, "#gallery .card:last-child button")
    assert title(page) == "8.jpg ! failed"
    text = page.run("document.getElementById('large-body').innerText")
    assert "Failed: It is no image: <b>the file</b> is empty." in text


# --- the address ---------------------------------------------------------------------------------


def test_an_address_can_be_shared(page, folder):
    choose(page, "predicted", "1")
    choose(page, "query", "volcano")
    choose(page, "sort", "loss")
    click(page, "#direction")
    click(page, "#gallery .card:nth-child(2) button")
    shown, order = title(page), cards(page)
    page.wait("location.hash.includes('open=')")
    shared = page.run("location.hash")

    page.open(folder / "index.html", shared[1:])

    assert page.run("document.getElementById('large').open")
    assert title(page) == shown
    assert cards(page) == order
    assert page.run("document.getElementById('query').value") == "volcano"
    page.run("location.hash = '#show=failed'")
    page.wait("!document.getElementById('large').open")
    assert cards(page) == ["8.jpg"]


@pytest.mark.parametrize(
    "fragment",
    [
        "predicted=99&truth=x&sort=constructor&map=?&mix=900&show=all&open=length",
        "%",
        "open=-1",
        "q",
    ],
)
def test_an_address_that_makes_no_sense(page, folder, fragment):
    page.open(folder / "index.html", fragment)
    assert len(cards(page)) == 8
    assert not page.run("document.getElementById('large').open")


# --- what others named ---------------------------------------------------------------------------


def test_names_are_text_and_files_are_found(browser, tmp_path):
    names = [
        SCRIPT.replace("/", ""),
        "100% #1?.jpg",
        "two\nlines.jpg",
        "\U0001f431 é.jpg",
        os.fsdecode(b"\xff\xfe.jpg"),
        "javascript:alert(1).jpg",
        "a'b\"c\\d.jpg",
    ]
    classes = (SCRIPT, "&lt;b&gt;", "</script>")
    images = [image(name, 0, truth=1, names=classes) for name in names]
    images.append(failed(SCRIPT, error=SCRIPT))
    browser.open(built(tmp_path, manifest(images, name=SCRIPT)))

    assert cards(browser)[0] == names[0]
    assert cards(browser)[1:4] == names[1:4]
    assert SCRIPT in browser.run("document.querySelector('h1').textContent")
    assert (
        browser.run("document.querySelector('#gallery .card .prediction span').textContent")
        == SCRIPT
    )
    click(browser, "#gallery .card button")
    assert title(browser).startswith(names[0])
    assert browser.run("document.getElementById('large').innerText").count("&lt;b&gt;") >= 2
    browser.wait("[...document.querySelectorAll('#large img')].every(one => one.complete)")
    widths = "[...document.querySelectorAll('#large img')].map(image => image.naturalWidth)"
    assert set(browser.run(widths)) == {48}
    for _ in names:
        browser.press("ArrowRight")
    assert SCRIPT in browser.run("document.querySelector('.failure').textContent")
    assert browser.run("window.broken") is None
    assert browser.run("document.scripts.length") == 3
    assert browser.problems() == []


def test_a_script_that_got_in_would_not_run(page):
    """The page's policy allows its own program, by its hash, and no other."""
    page.run("""(() => {
        const script = document.createElement('script');
        script.textContent = 'window.broken = 3';
        document.body.append(script);
        document.body.insertAdjacentHTML('beforeend', '<img src=x onerror="window.broken = 4">');
    })()""")
    page.wait("document.images[document.images.length - 1].complete")
    assert page.run("window.broken") is None
    assert any("Content Security Policy" in problem for problem in page.problems())
    page.events.clear()


# --- what is not there ---------------------------------------------------------------------------


def test_images_that_are_gone(browser, tmp_path):
    page = built(tmp_path, manifest([image("a.jpg"), image("b.jpg")]))
    for name in ("thumbnails/a_gradcam.jpg", "thumbnails/b_gradcam.jpg", "b_gradcam.png"):
        (tmp_path / name).unlink()
    browser.open(page)
    browser.wait("document.querySelector('#gallery .card:nth-child(2) .note') !== null")
    source = "document.querySelector('#gallery .card:nth-child(1) .over').src"
    browser.wait(f"{source}.endsWith('/a_gradcam.png')")
    assert browser.run(
        "document.querySelector('#gallery .card:nth-child(2) .note').textContent"
    ) == ("The file is missing.")


@pytest.mark.parametrize(
    "images",
    [[], [failed("a.jpg")], [image("a.jpg", 2, names=None)], [image("a.jpg", blank=True)]],
    ids=["none", "all failed", "no names", "no map"],
)
def test_runs_with_little_in_them(browser, tmp_path, images):
    browser.open(built(tmp_path, manifest(images)))
    assert len(cards(browser)) == len(images)
    if images:
        click(browser, "#gallery .card button")
        assert title(browser).startswith("a.jpg")
    assert browser.problems() == []


def test_classes_without_names(browser, tmp_path):
    record = image("a.jpg", 2, truth=1, names=None)
    record["top5"][0] = score(2, 0.8, None)
    browser.open(built(tmp_path, manifest([record], labels=[])))
    assert "class 2" in browser.run("document.querySelector('#gallery .card').textContent")
    assert "class 1 predicted as class 2" in " ".join(
        browser.run("document.getElementById('errors').innerText").split()
    )


# --- many ----------------------------------------------------------------------------------------


def test_two_thousand_images(browser, tmp_path):
    """No image is on the disk: what is asked for is what the window shows, or nearly."""
    record = large(2000)
    page = built(tmp_path, record, files=False)
    for _ in range(2):  # the second time thumbnails were once asked for before they were lazy
        browser.open(page)
        browser.wait("document.querySelectorAll('#gallery .card').length === 2000")
        assert cards(browser) == [one["relative"] for one in record["images"]]
        assert len([url for url in browser.requested() if "/thumbnails/" in url]) < 200
    # Another map leaves everything where it is; a filter begins at its beginning.
    browser.run("scrollTo(0, 20000)")
    choose(browser, "map", "guided_gradcam")
    assert browser.run("scrollY") == 20000
    last = "document.querySelector('#gallery .card:last-child').dataset.map"
    browser.wait(f"{last} === 'guided_gradcam'")
    wrong = [one["relative"] for one in record["images"] if one["correct"] is False]
    click(browser, "#chips [data-kind=incorrect]")
    browser.wait(f"document.querySelectorAll('#gallery .card').length === {len(wrong)}")
    assert cards(browser) == wrong
    assert abs(browser.run("document.getElementById('images').getBoundingClientRect().top")) < 2
    first = browser.run("document.querySelector('#pairs li').innerText")
    assert "volcano predicted as spider web" in first
    assert "Check this" in first


# --- accessible ----------------------------------------------------------------------------------


def test_every_control_has_a_name(page):
    nodes = page.call("Accessibility.getFullAXTree")["nodes"]
    roles = ("button", "combobox", "searchbox", "slider", "link", "image", "table", "dialog")
    controls = [node for node in nodes if not node["ignored"] and node["role"]["value"] in roles]
    assert len(controls) > 30
    assert [node["role"] for node in controls if not node["name"]["value"]] == []


def _luminance(color):
    """WCAG 2.1's relative luminance."""
    parts = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_text_has_contrast(scheme):
    """WCAG AA: 4.5 to 1 for text."""
    import cnnviz.report

    css = (Path(cnnviz.report.__file__).parent / "page.css").read_text()
    block = css.split("@media (prefers-color-scheme: dark)")[scheme]
    colors = dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{6})", block))
    pairs = [
        *((text, ground) for text in ("ink", "quiet", "accent") for ground in ("ground", "sheet")),
        *((kind, f"{kind}-ground") for kind in ("correct", "incorrect", "note")),
        *(("on-accent", "accent"), ("quiet", "frame"), ("note", "ground")),
    ]
    for text, ground in pairs:
        light, dark = sorted(map(_luminance, (colors[text], colors[ground])), reverse=True)
        assert (light + 0.05) / (dark + 0.05) >= 4.5, (text, ground)


def test_images_of_several_classes_and_an_image_without_explanation(browser, tmp_path):
    several, nothing, similar = (image(name, 0, 0.9) for name in ("a.jpg", "b.jpg", "c.jpg"))
    classes = ((0, 2), (0, 1)), ((), ()), ((1,), (0,))  # true and predicted
    for one, (true, predicted) in zip((several, nothing, similar), classes, strict=True):
        one["true_classes"] = {
            "positive": [score(index, 0.5) for index in true],
            "unknown": [],
            "logits": [1.0, 0.0, -1.0],
        }
        one["predicted_classes"] = [score(index, 0.9) for index in predicted]
        one["correct"] = true == predicted
    nothing["explanations"], nothing["remark"] = [], "no class has a probability above 0.95"
    other = {"other": "in/dog.jpg", "sha256": None, "cosine": 0.834}
    similar["explanations"][0]["target"] = other
    record = manifest([several, nothing, similar])
    record["summary"]["average_precisions"] = [
        {"name": "x", "index": 0, "images": 3, "positives": 1, "average_precision": 1.0}
    ]
    record["summary"]["mean_average_precision"] = 1.0
    browser.open(built(tmp_path, record))
    texts = browser.run("[...document.querySelectorAll('#gallery .card')].map(e => e.textContent)")
    assert "true: " in texts[0]
    assert "incorrect" in texts[0]
    assert "no class has a probability above 0.95" in texts[1]
    assert "correct" in texts[1]
    assert "explained: similarity to dog.jpg" in texts[2]
    choose(browser, "truth", "2")
    assert cards(browser) == ["a.jpg"]
    choose(browser, "truth", "empty")
    assert cards(browser) == ["b.jpg"]
    choose(browser, "truth", "")
    for place, told in enumerate(("true classes", "above 0.95", "similarity to dog.jpg, 0.83")):
        browser.wait("document.querySelector('#large-body').textContent === ''")
        click(browser, f"button[data-place='{place}']")
        browser.wait(
            f"document.querySelector('#large-body').textContent.includes({json.dumps(told)})"
        )
        browser.press("Escape")
    assert browser.problems() == []
