"""``cnnviz report`` from end to end, on runs that never were."""

from __future__ import annotations

import pytest

from tests.report.runs import failed, image, manifest, write_run


@pytest.fixture
def folder(tmp_path):
    return write_run(tmp_path / "run", manifest([image("a.jpg", 1, truth=0), failed("b.jpg")]))


def test_it_says_where_the_page_is(cnnviz, folder):
    status, out, err = cnnviz("report", "run")
    assert (status, out, err) == (0, "run/index.html\n", "")
    assert "Where" in (folder / "index.html").read_text()
    assert (folder / "thumbnails/a_gradcam.jpg").exists()


def test_quietly_and_again(cnnviz, folder):
    for _ in range(2):
        assert cnnviz("report", folder, "--quiet") == (0, "", "")


def test_an_image_that_is_gone(cnnviz, folder):
    (folder / "a_gradcam.png").unlink()
    status, out, err = cnnviz("report", "run")
    assert (status, out) == (0, "run/index.html\n")
    assert "a_gradcam.png" in err
    assert len(err.splitlines()) == 1


def test_no_run(cnnviz, tmp_path):
    status, out, err = cnnviz("report", "nowhere")
    assert (status, out) == (2, "")
    assert err.startswith("Error: There is no manifest.json in nowhere.")
    assert cnnviz("report")[0] == 2


def test_somebody_elses_page(cnnviz, folder):
    (folder / "index.html").write_text("mine")
    status, _, err = cnnviz("report", "run")
    assert status == 1
    assert "was not written by cnnviz" in err
    assert (folder / "index.html").read_text() == "mine"
