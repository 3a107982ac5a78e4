"""The page of a comparison in a real browser: filters, order, the slider, and the common scale."""

from __future__ import annotations

import base64
import json

import numpy as np
import pytest

from cnnviz.images.preprocessing import Geometry, to_image
from cnnviz.rendering.colormaps import color_scale
from tests.report.comparisons import built, large_runs, spot, two_runs
from tests.report.runs import image, manifest, score
from tests.report.test_page_in_chromium import cards, choose, click, title

pytestmark = [pytest.mark.needs("chromium"), pytest.mark.browser]

ALL = ["volcano/fixed.jpg", "volcano/broken.jpg", "web/wrong.jpg", "web/right.jpg", "unknown.jpg"]


@pytest.fixture(scope="module")
def built_page(tmp_path_factory):
    return built(tmp_path_factory.mktemp("comparison"), *two_runs())


@pytest.fixture
def page(browser, built_page):
    """The page, newly opened."""
    browser.open(built_page)
    yield browser
    assert browser.problems() == []


def canvases(browser, selector):
    """The pixels of canvases, uint8 (h, w, 3) each."""
    found = browser.run(f"""[...document.querySelectorAll({json.dumps(selector)})].map(canvas => {{
        const {{ width, height }} = canvas;
        const copy = Object.assign(document.createElement('canvas'), {{ width, height }});
        const context = copy.getContext('2d', {{ willReadFrequently: true }});
        context.drawImage(canvas, 0, 0);
        const {{ data }} = context.getImageData(0, 0, width, height);
        return [height, width, btoa(String.fromCharCode(...data.filter((_, i) => i % 4 < 3)))];
    }})""")
    return [
        np.frombuffer(base64.b64decode(text), np.uint8).reshape(height, width, 3)
        for height, width, text in found
    ]


def card_of(path):
    return f"#gallery .card:has(.path[title='photos/{path}'])"


def in_sight(browser, path):
    """Wait until the maps of a card are drawn."""
    browser.run(f'document.querySelector("{card_of(path)}").scrollIntoView()')
    browser.wait(f'document.querySelectorAll("{card_of(path)} canvas").length > 0')


def drawn(cells, factor, side):
    """A heatmap of bytes as it is to be drawn: bilinear, times a factor, in the run's colors."""
    geometry = Geometry((side, side), (0.0, 0.0, float(side), float(side)), (side, side))
    values, _ = to_image(cells.astype(np.float32), geometry, (side, side))
    return color_scale("jet")[np.rint(factor * values).astype(np.uint8)]


def cells_of(location):
    heatmap = location["heatmap"]
    return np.frombuffer(base64.b64decode(heatmap["data"]), np.uint8).reshape(heatmap["shape"])


def assert_same_pixels(found, expected):
    """The same colors but where rounding in float32 makes a value the next one."""
    colors = color_scale("jet").astype(int)
    one_step = np.abs(np.diff(colors, axis=0)).max()
    difference = np.abs(found.astype(int) - expected.astype(int))
    assert difference.max() <= one_step
    assert (difference.max(axis=2) > 0).mean() < 0.01


# --- the scale -----------------------------------------------------------------------------------


def test_maps_are_on_one_scale_that_has_no_unit(page):
    """A's spot is one cell, B's four: of each map's sum, A's has more in one place."""
    a, b = cells_of(spot(0, 0)), cells_of(spot(2, 2, width=2))
    in_sight(page, "volcano/fixed.jpg")
    selector = f"{card_of('volcano/fixed.jpg')} canvas"
    shares = [one.max() / one.sum() for one in (a, b)]
    assert shares[0] > 2 * shares[1]

    found = canvases(page, selector)
    side = found[0].shape[0]
    assert_same_pixels(found[0], drawn(a, 1, side))
    assert_same_pixels(found[1], drawn(b, shares[1] / shares[0], side))

    choose(page, "scale", "own")
    found = canvases(page, selector)
    assert_same_pixels(found[0], drawn(a, 1, side))
    assert_same_pixels(found[1], drawn(b, 1, side))
    page.wait("location.hash === '#scale=own'")


def test_a_part_of_the_image_counts_as_a_part(browser, tmp_path):
    """A saw the center of it: the same cells are evidence on less area, so more in one place."""
    before, after = (manifest([image("a.jpg", location=spot(1, 1))]) for _ in range(2))
    before["run"]["network"]["input"]["resize"] = "crop"
    browser.open(built(tmp_path, before, after))
    in_sight(browser, "a.jpg")
    # 36 rows and 48 columns: of 256 rows that 36 are scaled to, and of 341 columns, 224 are seen.
    part = 224 / 256 * 224 / 341
    first, second = canvases(browser, "#gallery canvas")
    cells = cells_of(spot(1, 1))
    assert_same_pixels(first, drawn(cells, 1, first.shape[0]))
    assert_same_pixels(second, drawn(cells, part, first.shape[0]))
    places = browser.run("""[...document.querySelectorAll('#gallery canvas')].map(canvas => {
        const inner = canvas.getBoundingClientRect();
        const outer = canvas.parentElement.getBoundingClientRect();
        return [(inner.left - outer.left) / outer.width, (inner.top - outer.top) / outer.height,
                inner.width / outer.width, inner.height / outer.height];
    })""")
    left, top = (341 - 224) // 2 / 341, 1 / 16
    # A pixel of the card is 1/140 of the image.
    assert places[0] == pytest.approx([left, top, 224 / 341, 7 / 8], abs=0.01)
    assert places[1] == pytest.approx([0, 0, 1, 1], abs=0.01)
    click(browser, "#gallery .card button")
    told = browser.run("document.getElementById('scale-note').textContent")
    assert "Dashed lines surround" in told
    assert browser.problems() == []


def test_mean_maps_of_both_are_on_one_scale(browser, tmp_path):
    """A's five maps lie in one place: their mean has its maximum at 1. B's lie in two places."""
    before = [image(f"{n}.jpg", location=spot(0, 0)) for n in range(5)]
    after = [image(f"{n}.jpg", location=spot(3, 3 * (n % 2))) for n in range(5)]
    browser.open(built(tmp_path, manifest(before), manifest(after)))
    colors = color_scale("jet")
    first, second = canvases(browser, ".groups canvas")
    assert first[0, 0].tolist() == colors[255].tolist()
    # Three of five lie left, two right; elsewhere they have 20 of 255.
    assert second[-1, 0].tolist() == colors[round((3 * 255 + 2 * 20) / 5)].tolist()
    assert second[-1, -1].tolist() == colors[round((2 * 255 + 3 * 20) / 5)].tolist()
    assert second[0, 0].tolist() == colors[20].tolist()


def test_canvases_are_there_near_the_screen_only_and_used_again(browser, tmp_path):
    page = built(tmp_path, *large_runs(400), files=False)
    browser.open(page)
    count = "document.querySelectorAll('#gallery .card').length"
    browser.wait(f"{count} > 380")
    browser.run("document.getElementById('images').scrollIntoView()")
    browser.wait("document.querySelectorAll('#gallery canvas').length > 0")
    browser.run("for (const one of document.querySelectorAll('#gallery canvas')) one.first = true")
    last = "document.querySelector('#gallery .card:last-child')"
    browser.run(f"{last}.scrollIntoView()")
    browser.wait(f"{last}.querySelector('canvas')?.first === true")
    assert browser.run("document.querySelectorAll('#gallery canvas').length") < 120
    click(browser, "#chips [data-kind=broken]")
    assert 0 < browser.run(count) < 100


# --- filters and order ---------------------------------------------------------------------------


def test_kinds_of_one_group_add_up_and_groups_narrow(page):
    def press(kind):
        click(page, f"#chips [data-kind={kind}]")

    def counts():
        return page.run("[...document.getElementById('chips').children].map(e => e.textContent)")

    assert counts() == [
        *("✓ fixed 1", "✗ broken 1", "✗ both wrong 1", "✓ both right 2"),
        *("◎ looks elsewhere 1", "≠ changed 4"),
    ]
    press("fixed")
    press("broken")
    assert set(cards(page)) == {"volcano/fixed.jpg", "volcano/broken.jpg"}
    press("elsewhere")
    assert cards(page) == ["volcano/fixed.jpg"]
    assert counts()[1] == "✗ broken 0"
    click(page, "#clear")
    press("changed")
    assert set(cards(page)) == {*ALL[:3], "unknown.jpg"}
    choose(page, "by-b", "2")
    assert cards(page) == ["web/wrong.jpg"]
    assert page.run("document.getElementById('count').textContent") == (
        "1 of 6 images: predicted by B as tabby, tabby cat"
    )
    click(page, "#clear")
    choose(page, "truth", "none")
    assert cards(page) == ["unknown.jpg"]
    choose(page, "truth", "")
    choose(page, "query", "WEB/r")
    assert cards(page) == ["web/right.jpg"]


def test_rows_classes_and_cells_filter(page):
    click(page, ".outcome.broken")
    assert cards(page) == ["volcano/broken.jpg"]
    assert page.run("document.querySelector('.outcome.broken').ariaPressed") == "true"
    click(page, ".outcome.broken")
    assert len(cards(page)) == 6
    click(page, ".outcome.changed")
    assert cards(page) == ["unknown.jpg"]
    click(page, "#classes button[data-class='0']")
    assert set(cards(page)) == {"volcano/fixed.jpg", "volcano/broken.jpg"}
    # A took one spider web for a volcano, B did not: the cell shows who left it.
    cell = "#matrix button[data-truth='1'][data-predicted='0']"
    assert page.run(f'document.querySelector("{cell}").textContent') == "−1"
    assert page.run(f'document.querySelector("{cell}").className') == "better"
    click(page, cell)
    assert cards(page) == ["web/wrong.jpg"]
    click(page, "[data-cells=b]")
    diagonal = "#matrix button[data-truth='1'][data-predicted='1']"
    assert page.run(f'document.querySelector("{diagonal}").textContent') == "2"
    click(page, diagonal)
    assert set(cards(page)) == {"web/right.jpg", "web/blank.jpg"}


def test_orders(page):
    """Most worsened first is B's loss minus A's; who has no such number comes last."""
    before, after = two_runs()
    losses = {
        a["relative"]: b["loss"] - a["loss"]
        for a, b in zip(before["images"], after["images"], strict=True)
        if a["loss"] is not None
    }
    choose(page, "sort", "loss")
    worst = sorted(losses, key=lambda path: -losses[path])
    assert cards(page) == [*worst, "unknown.jpg"]
    assert page.run("document.getElementById('direction').ariaLabel") == (
        "Order: most worsened first"
    )
    click(page, "#direction")
    assert cards(page) == [*reversed(worst), "unknown.jpg"]
    choose(page, "sort", "spearman")
    assert cards(page)[0] == "volcano/fixed.jpg"
    assert cards(page)[-1] == "web/blank.jpg"
    choose(page, "sort", "confidence")
    rises = {
        a["relative"]: b["top5"][0]["probability"] - a["top5"][0]["probability"]
        for a, b in zip(before["images"], after["images"], strict=True)
    }
    assert cards(page)[0] == max(rises, key=rises.get)
    choose(page, "sort", "path")
    assert cards(page) == sorted(rises)


# --- one image, large ----------------------------------------------------------------------------


def wiped(page):
    return page.run("document.getElementById('stage').style.getPropertyValue('--wipe')")


def clips(page):
    """What of A's layer is cut off on the right, and of B's on the left."""
    return page.run("""['.layer-a', '.layer-b'].map(layer =>
        getComputedStyle(document.querySelector(layer)).clipPath)""")


def test_the_slider_by_keyboard_and_pointer_and_the_blink(page):
    page.run(f'document.querySelector("{card_of("volcano/fixed.jpg")} button").focus()')
    page.press("Enter")
    assert title(page).startswith("volcano/fixed.jpg")
    assert wiped(page) == "50%"
    page.run("document.getElementById('wipe').focus()")
    page.press("ArrowRight")
    assert wiped(page) == "51%"
    assert clips(page) == ["inset(0px 49% 0px 0px)", "inset(0px 0px 0px 51%)"]
    assert title(page).startswith("volcano/fixed.jpg")  # the key moved the handle, not the image

    box = page.run("""(() => {
        const box = document.getElementById('stage').getBoundingClientRect();
        return [box.left, box.top, box.width, box.height];
    })()""")
    at = {"y": box[1] + box[3] / 2, "button": "left", "buttons": 1, "clickCount": 1}
    for kind, part in (("mousePressed", 0.2), ("mouseMoved", 0.75), ("mouseReleased", 0.75)):
        page.call("Input.dispatchMouseEvent", type=kind, x=box[0] + part * box[2], **at)
    assert wiped(page) == "75%"

    page.press(" ")
    assert (wiped(page), page.run("document.getElementById('stage').dataset.seen")) == ("100%", "a")
    page.press(" ")
    assert wiped(page) == "0%"
    page.run("document.getElementById('large-title').focus()")
    page.press(" ")
    assert wiped(page) == "100%"
    click(page, "[data-seen=both]")
    assert wiped(page) == "75%"
    page.press("ArrowRight")
    page.press("Escape")
    page.wait("!document.getElementById('large').open")


def test_large_says_what_both_say(page):
    click(page, f"{card_of('volcano/broken.jpg')} button")
    text = " ".join(page.run("document.getElementById('large').innerText").split())
    for told in (
        "A vgg16",
        "B vgg19",
        "True class: volcano.",
        "prediction volcano 90.0% spider web 80.0%",
        "in common 100.0% of the strongest fifth",
        "rank correlation 1.000",
        "explained different classes",
        "One scale for both, from none to",
        "Guided Grad-CAM",
    ):
        assert told in text, told
    page.wait("[...document.querySelectorAll('#large img')].every(one => one.naturalWidth)")
    links = page.run("[...document.querySelectorAll('#large a')].map(one => one.href)")
    assert [link.rpartition("/comparison")[2].split("/", 1)[1] for link in links] == [
        f"{run}/volcano/broken_{key}.png"
        for key in ("gradcam", "guided_gradcam")
        for run in ("before", "after")
    ]


def test_other_maps_are_images_of_both_runs(page):
    choose(page, "map", "guided_gradcam")
    in_card = f"{card_of('web/right.jpg')} img.over"
    page.run(f'document.querySelector("{card_of("web/right.jpg")}").scrollIntoView()')
    page.wait(f'document.querySelectorAll("{in_card}").length === 2')
    sources = page.run(f'[...document.querySelectorAll("{in_card}")].map(one => one.src)')
    assert [one.rpartition("/changes/")[2] for one in sources] == [
        "a/thumbnails/web/right_guided_gradcam.jpg",
        "b/thumbnails/web/right_guided_gradcam.jpg",
    ]
    assert page.run("document.getElementById('scale-label').hidden")
    click(page, f"{card_of('web/right.jpg')} button")
    sources = page.run("[...document.querySelectorAll('#stage .layer img')].map(one => one.src)")
    assert [one.split("/")[-3] for one in sources] == ["before", "after"]
    page.wait("[...document.querySelectorAll('#stage img')].every(one => one.naturalWidth === 48)")


def test_a_blank_map_says_so(page):
    click(page, f"{card_of('web/blank.jpg')} button")
    assert page.run("document.querySelector('.layer-b').textContent") == "Blank: no evidence"
    assert "B's heatmap is blank" in page.run("document.getElementById('large').innerText")


# --- what is shared with the page of a run -------------------------------------------------------


def test_without_scripts_it_says_what_is_missing(browser, built_page):
    browser.call("Emulation.setScriptExecutionDisabled", value=True)
    try:
        browser.open(built_page)
        text = browser.run("document.body.innerText")
        assert "This page needs JavaScript" in text
        assert "What changed from vgg16 to vgg19" in text
        assert "Sort by" not in text
    finally:
        browser.call("Emulation.setScriptExecutionDisabled", value=False)


def test_a_single_file_needs_nothing_else(browser, tmp_path):
    page = built(tmp_path, *two_runs(), single_file=True)
    alone = page.rename(tmp_path / "alone.html")
    for run in ("before", "after", "changes"):
        (tmp_path / run).rename(tmp_path / f"gone {run}")
    browser.open(alone)
    in_sight(browser, "volcano/fixed.jpg")
    browser.wait("[...document.images].every(one => one.complete && one.naturalWidth)")
    click(browser, "#gallery .card button")
    browser.wait("[...document.querySelectorAll('#large img')].every(one => one.naturalWidth)")
    assert [url for url in browser.requested() if not url.startswith("data:")] == [alone.as_uri()]
    assert browser.problems() == []


@pytest.mark.parametrize("large", [False, True])
def test_every_control_has_a_name(page, large):
    if large:
        click(page, "#gallery .card button")
    nodes = page.call("Accessibility.getFullAXTree")["nodes"]
    roles = ("button", "combobox", "searchbox", "slider", "link", "image", "table", "dialog")
    controls = [node for node in nodes if not node["ignored"] and node["role"]["value"] in roles]
    assert len(controls) > (15 if large else 30)
    assert [node["role"] for node in controls if not node["name"]["value"]] == []


def test_a_narrow_window_scrolls_down_only(browser, built_page):
    try:
        for width in (320, 360):
            browser.look(width, 700, phone=True)
            for fragment in ("", "open=0"):
                browser.open(built_page, fragment)
                assert browser.run("document.documentElement.scrollWidth") == width
                body = "document.getElementById('large-body')"
                assert browser.run(f"{body}.scrollWidth <= {body}.clientWidth")
    finally:
        browser.look()


def test_an_address_can_be_shared(page, built_page):
    choose(page, "sort", "loss")
    choose(page, "scale", "own")
    click(page, "#chips [data-kind=broken]")
    click(page, "#gallery .card button")
    page.wait("location.hash.includes('open=')")
    shared = page.run("location.hash")
    page.open(built_page, shared[1:])
    assert title(page).startswith("volcano/broken.jpg")
    assert cards(page) == ["volcano/broken.jpg"]
    assert "Each map up to its own maximum" in page.run("document.body.innerText")
    page.open(built_page, "truth=99&by-a=x&sort=constructor&map=?&mix=900&show=all&open=length")
    assert len(cards(page)) == 6


def _several(record, *, true, predicted):
    """An image that may belong to several classes."""
    record["true_classes"] = {
        "positive": [score(index, 0.5) for index in true],
        "unknown": [],
        "logits": [1.0, 0.0, -1.0, -2.0, -3.0],
    }
    record["predicted_classes"] = [score(index, 0.9) for index in predicted]
    record["correct"] = set(true) == set(predicted)
    return record


def _similar(record):
    record["explanations"][0]["target"] = {"other": "in/dog.jpg", "sha256": None, "cosine": 0.834}
    return record


def _numbers(record):
    for one in (*record["top5"], record["explanations"][0]["target"]):
        one["probability"] = one["name"] = None
    return record


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        (image("a.jpg"), image("a.jpg", 1), "The true class is unknown."),
        (image("a.jpg", blank=True), image("a.jpg", blank=True), "A's heatmap is blank"),
        (_numbers(image("a.jpg")), _numbers(image("a.jpg")), "prediction volcano 8 volcano 8"),
        (_similar(image("a.jpg")), _similar(image("a.jpg")), "similarity to dog.jpg"),
        (
            _several(image("a.jpg"), true=(0, 2), predicted=(0, 2)),
            _several(image("a.jpg"), true=(0, 2), predicted=()),
            "volcano 90.0%, tabby, tabby cat 90.0%",
        ),
    ],
    ids=["no truth", "no map", "numbers", "similarity", "several classes"],
)
def test_images_of_every_kind(browser, tmp_path, before, after, told):
    browser.open(built(tmp_path, manifest([before]), manifest([after])), "open=0")
    text = " ".join(browser.run("document.getElementById('large').innerText").split())
    assert told in text
    assert cards(browser) == ["a.jpg"]
    assert browser.problems() == []
