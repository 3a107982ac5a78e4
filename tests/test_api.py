"""``cnnviz.explain``: the command's results without the command."""

from __future__ import annotations

import base64
import io
import json
import re
import subprocess
import sys

import cv2
import numpy as np
import pytest
from PIL import Image

import cnnviz
from cnnviz.attribution.cam import GradCam
from cnnviz.demo import CLASSES
from cnnviz.errors import ImageError, UsageError
from cnnviz.images.decode import read_image
from cnnviz.results import Explanations


@pytest.fixture(scope="module")
def explainer():
    return cnnviz.load("demo")


@pytest.mark.subprocess
def test_one_image_as_the_command_explains_it(photos, tmp_path, request):
    (explanation,) = cnnviz.explain(photos / "2.png", "demo")
    saved = explanation.save(tmp_path / "saved", arrays=True)
    request.getfixturevalue("cnnviz")(
        "explain", photos / "2.png", "--model", "demo", "-o", "out", "--arrays"
    )
    assert sorted(saved) == ["arrays", "gradcam", "guided_gradcam", "original", "saliency"]
    record = json.loads((tmp_path / "out/manifest.json").read_text())["images"][0]
    logits = [score["logit"] for score in record["top5"]]
    if record["engine"]["name"] == "mxnet":
        for path in saved.values():
            assert path.read_bytes() == (tmp_path / "out" / path.name).read_bytes()
        assert [score.logit for score in explanation.top()] == logits
    else:  # PyTorch adds up in an order that hangs on the threads of the process
        for name in saved.keys() - {"arrays"}:
            one, other = (
                read_image(path) for path in (saved[name], tmp_path / "out" / saved[name].name)
            )
            assert np.abs(one.astype(int) - other).max() <= 1
        np.testing.assert_allclose([each.logit for each in explanation.top()], logits, rtol=1e-5)
    best = explanation.top()[0]
    assert repr(explanation) == (
        f"<Explanation of 2: {CLASSES[best.index]} ({best.index}) {best.probability:.2f}>"
    )


def test_another_format(photos, explainer, tmp_path):
    (explanation,) = cnnviz.explain(photos / "2.png", explainer, contrast="predicted:second")
    saved = explanation.save(tmp_path, format="jpg")
    assert {path.suffix for path in saved.values()} == {".jpg"}
    assert cnnviz.about(saved["gradcam"])["shows"] == "gradcam"
    with pytest.raises(UsageError, match="written as png, jpg, webp; got 'gif'"):
        explanation.save(tmp_path / "none", format="gif")
    assert not (tmp_path / "none").exists()


def test_paths_folders_and_arrays_in_one_list(photos, explainer):
    pixels = read_image(photos / "2.png")
    found = cnnviz.explain([pixels, str(photos), photos / "sub/cat.png"], explainer)
    assert [one.name for one in found] == ["image0", "2", "10", "cat", "cat"]
    np.testing.assert_allclose(found[0].maps["gradcam"], found[1].maps["gradcam"], atol=1e-6)
    np.testing.assert_array_equal(found[0].images["original"], pixels)


def test_gray_arrays_are_as_their_colors(explainer):
    gray = np.random.RandomState(0).randint(0, 256, (40, 60), np.uint8)
    one, other = cnnviz.explain([gray, np.dstack([gray] * 3)], explainer)
    np.testing.assert_allclose(one.logits, other.logits, atol=1e-5)


def test_several_targets_are_several_explanations(photos, explainer, tmp_path):
    found = cnnviz.explain(photos / "2.png", explainer, target=["fish", 4])
    assert [one.target for one in found] == [CLASSES.index("fish"), 4]
    names = {path.name for one in found for path in one.save(tmp_path / "maps").values()}
    assert "2_1_gradcam.png" in names
    assert "2_4_gradcam.png" in names
    assert "2_original.png" in names
    assert found[0].save(tmp_path / "own", "mine")["gradcam"].name == "mine_gradcam.png"


def test_an_explainer_is_used_again_with_other_methods_and_layers(photos, explainer):
    (found,) = cnnviz.explain(
        photos / "2.png",
        explainer,
        layer=["features.5", "features.26"],
        method="layercam",
    )
    assert sorted(found.images) == ["layercam", "original"]
    assert [layer.name for layer in found.layers] == ["features.5", "features.26"]
    assert [method.name for method in explainer.methods] == [
        "gradcam",
        "guided-gradcam",
        "saliency",
    ]


def test_a_notebook_shows_the_figure(photos, explainer):
    (found,) = cnnviz.explain(photos / "2.png", explainer)
    shown = cv2.imdecode(np.frombuffer(found._repr_png_(), np.uint8), cv2.IMREAD_COLOR)
    np.testing.assert_array_equal(cv2.cvtColor(shown, cv2.COLOR_BGR2RGB), found.panel)
    height, width = found.images["original"].shape[:2]
    assert shown.shape[1] > 4 * width
    assert shown.shape[0] > height


def test_a_notebook_shows_a_list(photos, explainer):
    """As figures in the page, those of contrasts once for each image."""
    found = cnnviz.explain(
        photos, explainer, target="top2", method="gradcam", contrast="predicted:second"
    )
    assert found._repr_png_() is None
    figures = re.findall(
        r'<figcaption>(.*?)</figcaption><img [^>]*src="data:image/png;base64,([^"]*)"',
        found._repr_html_(),
    )
    captions = [repr(one)[1:-1] for one in found]
    versus = [
        " rather than ".join(score.title for score in one.contrasts[0].scores) for one in found[::2]
    ]
    assert [caption for caption, _ in figures] == [
        *(captions[0], captions[1], versus[0]),
        *(captions[2], captions[3], versus[1]),
        *(captions[4], captions[5], versus[2]),
    ]
    for (_, data), pixels in zip(
        figures[:3],
        [found[0].panel, found[1].panel, *found[0].contrast_images.values()],
        strict=True,
    ):
        shown = np.asarray(Image.open(io.BytesIO(base64.b64decode(data))))
        np.testing.assert_array_equal(shown, pixels)


def test_one_in_a_list_is_shown_as_by_itself(photos, explainer):
    found = cnnviz.explain(photos / "2.png", explainer, method="gradcam")
    assert found._repr_png_() == found[0]._repr_png_()


def test_names_are_text_in_a_page(photos, explainer):
    path = (photos / "2.png").rename(photos / "<b>.png")
    page = cnnviz.explain(path, explainer, method="gradcam")._repr_html_()
    assert "Explanation of &lt;b&gt;:" in page


def test_a_long_list_is_cut_in_a_notebook(photos, explainer):
    (one,) = cnnviz.explain(photos / "2.png", explainer, method="gradcam", style=cnnviz.Style(16))
    page = Explanations([one] * 23)._repr_html_()
    assert page.count("<img") == 20
    assert page.endswith("<p>... and 3 more</p>")


def test_an_image_that_fails(photos, explainer):
    (photos / "3.png").write_bytes(b"no image")
    with pytest.raises(ImageError, match=r"^3: "):
        cnnviz.explain(photos, explainer)
    with pytest.warns(UserWarning, match=r"^3: ") as warned:
        found = cnnviz.explain(photos, explainer, skip_failed=True)
    assert [one.filename for one in warned] == [__file__]  # where it was called
    assert [one.name for one in found] == ["2", "10", "cat"]


@pytest.mark.parametrize(
    ("image", "told"),
    [
        (np.zeros((4, 5, 3), np.int32), "values are int32, and nothing says which"),
        (np.zeros((4, 5, 4), np.uint8), r"shape \(4, 5, 4\), and the network takes 3 channels"),
        (np.zeros((0, 5, 3), np.uint8), "with at least one pixel"),
    ],
)
def test_refuses_what_is_no_image(explainer, image, told):
    with pytest.raises(ImageError, match=told):
        cnnviz.explain(image, explainer)


def test_refuses_what_it_cannot_do(explainer, photos):
    with pytest.raises(UsageError, match="an array of pixels, a tensor or a Pillow image; got int"):
        cnnviz.explain([3], explainer)
    with pytest.raises(UsageError, match="weights is for load"):
        cnnviz.explain(photos, explainer, weights="x.params")
    with pytest.raises(UsageError, match="No class is called 'dog'"):
        cnnviz.explain(photos, explainer, target="dog")
    with pytest.raises(UsageError, match="There is no image or folder none"):
        cnnviz.explain("none.jpg", explainer)
    with pytest.raises(UsageError, match="begins with ftp://, and cnnviz reads"):
        cnnviz.explain("ftp://example.org/cat.jpg", explainer)
    with pytest.raises(UsageError, match="batch_size is a whole number, at least 1; got 0"):
        cnnviz.explain(photos, explainer, batch_size=0)
    with (photos / "2.png").open("rb") as file, pytest.raises(UsageError, match="An open file"):
        cnnviz.explain(file, explainer)


def test_images_arrays_and_paths_in_one_list(photos, explainer):
    image = Image.open(photos / "2.png")
    given = [read_image(photos / "2.png"), image, photos / "2.png", image.copy()]
    found = cnnviz.explain(given, explainer)
    assert [one.name for one in found] == ["image0", "2", "2", "image3"]
    for one in found[1:]:
        np.testing.assert_array_equal(one.images["original"], given[0])
        np.testing.assert_allclose(one.maps["gradcam"], found[0].maps["gradcam"], atol=1e-6)
    (alone,) = cnnviz.explain(image, explainer)
    np.testing.assert_array_equal(alone.images["original"], given[0])


def test_images_of_one_name_do_not_replace_each_other(photos, explainer, tmp_path, request):
    """Their files are called as the command calls them."""
    (photos / "other").mkdir()
    (photos / "sub/cat.png").rename(photos / "other/2.png")
    given = [photos / "2.png", photos / "other/2.png"]
    command = request.getfixturevalue("cnnviz")
    assert command("explain", *given, "-m", "demo", "-o", "command")[0] == 0
    found = cnnviz.explain([*given, Image.open(given[1])], explainer)
    assert [one.name for one in found] == ["2", "2", "2"]
    saved = [one.save(tmp_path / "python")["gradcam"] for one in found]
    assert saved[1] == saved[2]
    for path in saved:
        assert (tmp_path / "command" / path.relative_to(tmp_path / "python")).is_file()
    assert len(list((tmp_path / "python").rglob("*_gradcam.png"))) == 4  # two of them guided


def test_a_folders_images_keep_their_sub_folders(photos, explainer, tmp_path):
    for one in cnnviz.explain(photos, explainer):
        one.save(tmp_path / "maps")
    assert (tmp_path / "maps/sub/cat_gradcam.png").is_file()


def test_the_bytes_of_a_file_are_as_the_file(photos, explainer):
    path = photos / "10.jpg"
    one, other = cnnviz.explain([path, path.read_bytes()], explainer)
    assert (one.name, other.name) == ("10", "image1")
    np.testing.assert_array_equal(one.images["gradcam"], other.images["gradcam"])
    assert one.origin.sha256 == other.origin.sha256


def test_the_first_of_several_failures_is_raised(photos, explainer):
    """Also where another error is being handled."""
    for name in ("1.png", "3.png"):
        (photos / name).write_bytes(b"no image")
    try:
        raise ValueError
    except ValueError:
        with pytest.raises(ImageError, match=r"^1: "):
            cnnviz.explain(photos, explainer, method="gradcam", batch_size=4)


def test_one_image_of_pillows_given_several_times(photos, explainer):
    image = Image.open(photos / "10.jpg")
    found = cnnviz.explain([image] * 5, explainer, method="gradcam")
    for one in found[1:]:
        np.testing.assert_array_equal(one.images["gradcam"], found[0].images["gradcam"])


def test_four_dimensions_are_several_images(photos, explainer):
    pixels = read_image(photos / "2.png")
    found = cnnviz.explain(np.stack([pixels, pixels[:, ::-1]]), explainer, method="gradcam")
    assert [one.name for one in found] == ["image0", "image1"]
    np.testing.assert_array_equal(found[1].images["original"], pixels[:, ::-1])


def test_an_image_beyond_the_limit_is_refused_before_it_is_decoded(photos, explainer):
    with pytest.raises(ImageError, match=r"^2: .* the limit is 4,799: .*raise max_pixels$"):
        cnnviz.explain(photos / "2.png", explainer, max_pixels=60 * 80 - 1)
    assert len(cnnviz.explain(photos / "2.png", explainer, max_pixels=60 * 80)) == 1


def test_why_this_class_and_not_that(photos, tmp_path, request):
    found = cnnviz.explain(photos / "2.png", "demo", contrast=["predicted:second", "fish:4"])
    contrasts = found[0].contrasts
    assert [(one.a, one.b) for one in contrasts[1:]] == [(CLASSES.index("fish"), 4)]
    assert [one.a for one in contrasts[:1]] == [found[0].target]
    saved = found[0].save(tmp_path / "saved")
    request.getfixturevalue("cnnviz")(
        *("explain", photos / "2.png", "--model", "demo", "-o", "out"),
        *("--contrast", "predicted:second", "--contrast", "fish:4"),
    )
    written = {path.name for path in (tmp_path / "out").glob("*_contrast.png")}
    assert written == {path.name for key, path in saved.items() if key.startswith("contrast")}
    for name in written:
        assert (tmp_path / "saved" / name).read_bytes() == (tmp_path / "out" / name).read_bytes()


@pytest.mark.parametrize("number", [3, np.int64(3), np.uint8(3), np.array(3)])
def test_whole_numbers_of_any_kind(photos, number):
    style = cnnviz.Style(size=np.int32(100))
    explainer = cnnviz.load("demo", input_size=np.array([224, 224]))
    for target in (number, [number], np.array([number])):
        (found,) = cnnviz.explain(
            photos / "2.png", explainer, target=target, style=style, batch_size=np.int16(1)
        )
        assert found.target == 3
        assert max(found.images["original"].shape) == 100
    (found,) = explainer.explain([explainer.prepare(read_image(photos / "2.png"))], np.int64(3))
    assert found.target == 3


def test_methods_may_be_names(photos):
    explainer = cnnviz.load("demo", methods=["layercam"])
    assert [method.name for method in explainer.methods] == ["layercam"]
    assert [one.name for one in explainer.replace(methods="gradcam").methods] == ["gradcam"]
    with pytest.raises(UsageError, match=r"methods are names, or what choose_methods\(\) gives"):
        explainer.replace(methods=[3])


@pytest.mark.parametrize(
    ("keywords", "told"),
    [
        ({"methods": ["gradcam"]}, r"^explain\(\) takes no methods\. Did you mean method\?$"),
        ({"targets": 3}, "takes no targets. Did you mean target"),
        ({"ctx": "cpu"}, "takes no ctx. Did you mean device"),
        ({"xyzzy": 1}, "takes no xyzzy. It takes inputs, model, target"),
        ({"target": 2.5}, r"^target is a word or a whole number, or several in a list; got 2\.5"),
        ({"method": [GradCam()]}, "^method is a word"),
        ({"batch_size": 1.5}, "^batch_size is a whole number, at least 1; got 1.5"),
        ({"max_pixels": 0}, "^max_pixels is a whole number, at least 1; got 0"),
        ({"size": 512}, r"^explain\(\) takes no size: give style=cnnviz.Style\(size=\.\.\.\)\.$"),
        ({"panel": True}, r"each explanation has \.panel"),
        ({"target": "truth"}, "does not know the images' true classes"),
        ({"contrast": "predicted:truth"}, "does not know the images' true classes"),
        ({"contrast": "fish"}, "^A contrast is two classes, A:B"),
        ({"input_size": "large"}, r"^input_size is a whole number, or two: .* got 'large'"),
        ({"input_size": (1, 2, 3)}, "^input_size is a whole number"),
        ({"head": "x"}, "; head is for exported networks"),
        ({"options": ["masks"]}, r"options are values by name, .* got \['masks'\]"),
        ({"style": {"size": 512}}, r"^style is a cnnviz\.Style, .* got \{'size': 512\}"),
        (
            {"mean": "half"},
            "^mean is a number for each channel, three for a color network; got 'half'",
        ),
        ({"std": (None, 1, 1)}, "^std is a number for each channel"),
        ({"device": 3}, "^There is no device '3'"),
    ],
)
def test_errors_speak_of_keywords(photos, keywords, told):
    with pytest.raises(UsageError, match=told):
        cnnviz.explain(photos / "2.png", "demo", **keywords)


def test_maps_of_two_relu_rules_have_two_captions(photos, explainer):
    (found,) = cnnviz.explain(
        photos / "2.png", explainer, method="gradient", relu=["guided", "standard"]
    )
    rendered = found.render(read_image(photos / "2.png"))
    captions = [cell.caption for row in found.panel_cells(rendered) for cell in row]
    assert captions[1:] == ["gradient with guided ReLUs", "gradient"]


def test_so_do_those_of_loading():
    with pytest.raises(UsageError, match="; head is for exported networks"):
        cnnviz.load("demo", head="x")
    with pytest.raises(
        UsageError, match=r"^model is a network's name, a file or a module of PyTorch; got int"
    ):
        cnnviz.load(3)


def test_one_number_is_the_mean_of_a_gray_network():
    with pytest.raises(UsageError, match="demo takes color images: give three numbers each"):
        cnnviz.load("demo", mean=0.5, std=0.5)


def test_paths_of_any_kind_name_a_network(tmp_path):
    (tmp_path / "cnnviz.yaml").write_text("model: demo\n")
    assert cnnviz.load(tmp_path / "cnnviz.yaml").network.architecture.classes == 8
    assert cnnviz.load(tmp_path).labels == CLASSES


def test_an_empty_batch_has_no_explanations(explainer):
    assert explainer.explain([]) == []


def test_a_folder_is_searched_as_by_the_command(photos, explainer, tmp_path):
    """What cnnviz has written there is no input."""
    cnnviz.explain(photos / "2.png", explainer)[0].save(photos / "explanations")
    with pytest.warns(UserWarning, match="4 images written by cnnviz were skipped"):
        names = [one.name for one in cnnviz.explain(photos, explainer, method="gradcam")]
    assert names == ["2", "10", "cat"]


def test_all_that_is_public_is_there():
    assert {"explain", "load", "Style", "Explainer", "CnnvizError"} <= set(dir(cnnviz))
    assert all(getattr(cnnviz, name) is not None for name in cnnviz.__all__)
    assert not hasattr(cnnviz, "import_module_of_mine")


@pytest.mark.subprocess
def test_importing_the_package_imports_nothing_heavy():
    code = (
        "import sys, cnnviz; assert set(cnnviz.__all__) <= set(dir(cnnviz));"
        "print(sorted({'mxnet', 'numpy', 'cv2', 'PIL'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
