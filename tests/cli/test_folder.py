"""``cnnviz explain`` on folders: truth, choosing, contrasts, figures, the manifest."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import math
import os
import tarfile
from pathlib import Path

import cv2
import numpy as np
import pytest

import cnnviz as package
from cnnviz.demo import CLASSES
from cnnviz.demo.scenes.held_out import one_object_scenes
from cnnviz.explainer import Explainer
from cnnviz.images.loading import load_image

#: (folder, what is drawn): two images lie in the wrong folder, so that the network is "wrong".
SCENES = (
    ("fish", "fish"),
    ("fish", "snail"),
    ("snail", "snail"),
    ("teapot", "teapot"),
    ("umbrella", "umbrella"),
    ("umbrella", "fish"),
)


@pytest.fixture(scope="module")
def scenes():
    drawn = {scene.objects[0].index: scene.image for scene in one_object_scenes(8, 7_000_000)}
    return [(folder, drawn[CLASSES.index(kind)]) for folder, kind in SCENES]


@pytest.fixture
def folder(tmp_path, scenes):
    """Scenes in folders that are called after classes."""
    for number, (name, image) in enumerate(scenes):
        path = tmp_path / "scenes" / name / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        assert cv2.imwrite(str(path), cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    return tmp_path / "scenes"


def manifest(tmp_path, name="out"):
    return json.loads((tmp_path / name / "manifest.json").read_text("ascii"))


def explain(cnnviz, folder, *options):
    return cnnviz("explain", folder, "--model", "demo", "-o", "out", *options)


def test_truth_from_an_archive(cnnviz, scenes, tmp_path):
    """As WebDataset writes it: the same as from folders."""
    with tarfile.open(tmp_path / "scenes-000000.tar", "w") as tar:
        for number, (name, image) in enumerate(scenes):
            ok, png = cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
            assert ok
            for suffix, data in (("cls", b"%d" % CLASSES.index(name)), ("png", png.tobytes())):
                member = tarfile.TarInfo(f"{number}.{suffix}")
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))
    status, _, err = explain(
        cnnviz, "scenes-000000.tar", "--truth", "cls", "--method", "gradcam", "--target", "truth"
    )
    assert status == 0
    assert "4 correct and 2 incorrect: accuracy 66.7%\n    1 x fish predicted as snail\n" in err
    assert manifest(tmp_path)["run"]["ground_truth"] == {"source": "cls", "known": 6}


def test_truth_from_folders(cnnviz, folder, tmp_path):
    status, out, err = explain(cnnviz, folder, "--truth", "folders", "--method", "gradcam")
    assert status == 0
    assert "4 correct and 2 incorrect: accuracy 66.7%\n    1 x fish predicted as snail\n" in err
    wrong = [line for line in out.splitlines() if "incorrect" in line]
    assert [line.partition(": ")[0] for line in wrong] == [
        str(folder / "fish/1.png"),
        str(folder / "umbrella/5.png"),
    ]
    assert ", incorrect: the true class is fish (1) 0." in wrong[0]
    found = manifest(tmp_path)
    assert found["run"]["ground_truth"] == {"source": "folders", "known": 6}
    assert found["summary"] == {
        "images": 6,
        "ok": 6,
        "failed": 0,
        "blank": 0,
        "correct": 4,
        "incorrect": 2,
        "accuracy": 4 / 6,
        "confusions": [
            {
                "ground_truth": truth,
                "prediction": answer,
                "ground_truth_index": CLASSES.index(truth),
                "prediction_index": CLASSES.index(answer),
                "count": 1,
            }
            for truth, answer in (("fish", "snail"), ("umbrella", "fish"))
        ],
        "scanned": None,
        "skipped_own": 0,
        "left_behind": [],
        "mean_average_precision": None,
        "average_precisions": [],
    }
    for image, (name, kind) in zip(found["images"], SCENES, strict=True):
        truth = image["ground_truth"]
        assert truth["name"] == name
        assert image["top5"][0]["name"] == kind
        assert image["correct"] is (name == kind)
        assert image["loss"] == pytest.approx(-math.log(truth["probability"]), rel=1e-9)
        first, second = image["top5"][:2]
        margin = first["probability"] - second["probability"]
        assert image["margin"] == pytest.approx(margin, rel=1e-9)


def test_classes_of_one_name_are_told_apart(cnnviz, folder, tmp_path):
    """Fish and snail are both called crane: whoever goes by names sees no error, or merges two."""
    names = ["crane" if name in ("fish", "snail") else name for name in CLASSES]
    (tmp_path / "names.txt").write_text("\n".join(names))
    rows = [f"{name}/{n}.png,{CLASSES.index(name)}" for n, (name, _) in enumerate(SCENES)]
    rows[3] = f"teapot/3.png,{CLASSES.index('snail')}"
    (tmp_path / "truth.csv").write_text("\n".join(rows))
    options = ("--labels", "names.txt", "--truth", "truth.csv", "--method", "gradcam")
    status, _, err = explain(cnnviz, folder, *options)
    assert status == 0
    fish, snail, teapot, umbrella = map(CLASSES.index, ("fish", "snail", "teapot", "umbrella"))
    assert f"    1 x crane ({fish}) predicted as crane ({snail})\n" in err
    assert f"    1 x crane ({snail}) predicted as teapot\n" in err
    assert f"    1 x umbrella predicted as crane ({fish})\n" in err
    keys = ("ground_truth_index", "prediction_index", "count")
    found = manifest(tmp_path)["summary"]["confusions"]
    assert {tuple(one[key] for key in keys) for one in found} == {
        (fish, snail, 1),
        (snail, teapot, 1),
        (umbrella, fish, 1),
    }


def test_the_manifest_says_all_of_an_image(cnnviz, folder, tmp_path):
    path = folder / "fish/0.png"
    status, _, _ = explain(cnnviz, path, "--arrays")
    assert status == 0
    found = manifest(tmp_path)
    assert found["cnnviz_manifest"] == 4
    run = found["run"]
    assert run["versions"]["cnnviz"] == package.__version__
    assert run["network"]["labels"] == list(CLASSES)
    weights = Path(run["network"]["weights"]["path"]).read_bytes()
    assert run["network"]["weights"]["sha256"] == hashlib.sha256(weights).hexdigest()
    assert [method["name"] for method in run["methods"]] == [
        "gradcam",
        "guided-gradcam",
        "saliency",
    ]
    assert [method["guided"] for method in run["methods"]] == [False, True, True]
    (image,) = found["images"]
    assert image["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert image["size"] == list(cv2.imread(str(path)).shape[:2])
    assert (image["relative"], image["status"], image["error"]) == ("0.png", "ok", None)
    assert image["ground_truth"] is image["correct"] is image["loss"] is None
    (explanation,) = image["explanations"]
    with np.load(tmp_path / "out" / explanation["files"]["arrays"]) as arrays:
        for name in ("gradcam", "guided_backprop", "guided_gradcam", "saliency"):
            assert explanation["ranges"][name] == [arrays[name].min(), arrays[name].max()]
        cam = arrays["gradcam"]
    location = explanation["location"]
    coded = np.frombuffer(base64.b64decode(location["heatmap"]["data"]), np.uint8)
    np.testing.assert_allclose(coded, cam.ravel() / cam.max() * 255, atol=0.51)
    for file in explanation["files"].values():
        assert (tmp_path / "out" / file).is_file()


def test_images_that_cnnviz_wrote_are_left_out(cnnviz, folder, tmp_path):
    cnnviz("explain", folder / "fish", "--model", "demo", "-o", folder / "earlier")
    status, out, err = explain(cnnviz, folder, "--method", "gradcam")
    assert status == 0
    assert "8 images written by cnnviz were skipped" in err
    assert len(out.splitlines()) == 6
    assert manifest(tmp_path)["summary"]["skipped_own"] == 8


def test_failures_are_in_the_manifest(cnnviz, folder, tmp_path):
    (folder / "fish/2.png").write_bytes(b"no image")
    status, _, _ = explain(cnnviz, folder, "--truth", "folders", "--method", "gradcam")
    assert status == 1
    found = manifest(tmp_path)
    assert (found["summary"]["ok"], found["summary"]["failed"]) == (6, 1)
    (failed,) = [image for image in found["images"] if image["status"] == "failed"]
    assert failed["relative"] == "fish/2.png"
    assert failed["sha256"] == hashlib.sha256(b"no image").hexdigest()
    assert failed["error"]
    assert failed["explanations"] == []


@pytest.mark.parametrize(
    ("options", "stems"),
    [
        (["--only", "wrong"], {"fish/1", "umbrella/5"}),
        (["--only", "right"], {"fish/0", "snail/2", "teapot/3", "umbrella/4"}),
        (["--only", "wrong", "--limit", "1"], {"fish/1"}),
    ],
)
def test_choosing(cnnviz, folder, tmp_path, options, stems):
    status, out, err = explain(
        cnnviz, folder, "--truth", "folders", "--method", "gradcam", *options
    )
    assert status == 0
    assert len(out.splitlines()) == len(stems)
    assert f"{len(stems)} of 6 images selected" in err
    found = manifest(tmp_path)
    assert {image["stem"] for image in found["images"]} == stems
    scanned = found["summary"]["scanned"]
    assert (scanned["images"], scanned["correct"], scanned["incorrect"]) == (6, 4, 2)


def test_a_limit_alone_looks_at_no_other_image(cnnviz, folder, tmp_path, monkeypatch):
    read = []
    monkeypatch.setattr(
        "cnnviz.runs.items.load_image",
        lambda path, *rest, **more: read.append(path) or load_image(path, *rest, **more),
    )
    status, out, err = explain(
        cnnviz, folder, "--truth", "folders", "--method", "gradcam", "--limit", "2"
    )
    assert status == 0
    assert "the first 2 of 6 images" in err
    assert "1 correct and 1 incorrect: accuracy 50.0%" in err
    assert [path.name for path in sorted(read)] == ["0.png", "1.png"]
    found = manifest(tmp_path)
    assert [image["stem"] for image in found["images"]] == ["fish/0", "fish/1"]
    assert found["summary"]["scanned"] is None
    assert found["run"]["ground_truth"]["known"] == 2
    assert len(out.splitlines()) == 2


def test_of_some_images_the_accuracy_is_that_of_all(cnnviz, folder):
    _, _, err = explain(
        cnnviz, folder, "--truth", "folders", "--method", "gradcam", "--only", "wrong"
    )
    assert (
        "of 6 images looked at, 4 correct and 2 incorrect: accuracy 66.7%; of those explained, 0 "
        in err
    )


def test_sorting(cnnviz, folder, tmp_path):
    def losses(order):
        explain(cnnviz, folder, "--truth", "folders", "--method", "gradcam", "--sort", order)
        images = manifest(tmp_path)["images"]
        return [image["loss"] for image in images], [image["margin"] for image in images]

    by_loss, _ = losses("loss")
    assert by_loss == sorted(by_loss, reverse=True)
    _, by_margin = losses("margin")
    assert by_margin == sorted(by_margin)


def test_nothing_chosen_is_no_error(cnnviz, folder, tmp_path):
    status, out, err = explain(
        cnnviz, folder / "snail", "--truth", "folders", "--only", "wrong", "--method", "gradcam"
    )
    assert (status, out) == (0, "")
    assert "0 of 1 images selected" in err
    assert manifest(tmp_path)["images"] == []


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--only", "wrong"], "--only wrong needs the images' true classes: give --truth"),
        (["--sort", "loss"], "--sort loss needs the images' true classes: give --truth"),
        (["--target", "truth"], "`truth` needs the images' true classes: give --truth"),
        (["--contrast", "predicted:truth"], "`truth` needs the images' true classes"),
        (["--contrast", "fish"], "A contrast is two classes"),
        (["--contrast", "fish:fich"], "Similar: fish (1)"),
        (["--only", "blank"], "'blank' is not one of wrong, right, uncertain"),
        (["--sort", "name"], "'name' is not one of loss, confidence, margin"),
        (["--truth", "folder.txt"], "folder.txt"),
        (["--truth", "none.csv"], "none.csv"),
    ],
)
def test_wrong_usage(cnnviz, folder, tmp_path, options, told):
    status, out, err = explain(cnnviz, folder, *options)
    assert (status, out) == (2, "")
    assert told in err
    assert "Traceback" not in err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("text", "said"),
    [('{"name": "a web app"}', "was not written by cnnviz: move it"), ("", "is empty: move it")],
)
def test_somebody_elses_manifest_stops_the_run_before_it_begins(
    cnnviz, folder, tmp_path, text, said
):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/manifest.json").write_text(text)
    status, out, err = explain(cnnviz, folder)
    assert (status, out) == (2, "")
    assert said in err
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["manifest.json"]


def test_contrast_of_the_answer_and_the_truth(cnnviz, folder, tmp_path):
    status, _, _ = explain(
        cnnviz, folder, "--truth", "folders", "--contrast", "predicted:truth", "--method", "gradcam"
    )
    assert status == 0
    images = manifest(tmp_path)["images"]
    for image in images:
        if image["correct"]:  # there is nothing to tell apart
            assert image["contrasts"] == []
            continue
        (contrast,) = image["contrasts"]
        assert contrast["positive"] == image["top5"][0]
        assert contrast["negative"] == image["ground_truth"]
        ends = f"{contrast['positive']['index']}-{contrast['negative']['index']}"
        assert contrast["file"] == f"{image['stem']}_{ends}_contrast.png"
        figure = cv2.imread(str(tmp_path / "out" / contrast["file"]))
        assert figure.shape[1] > 3 * figure.shape[0] / 2


def test_contrasts_are_called_after_their_classes(cnnviz, folder, tmp_path):
    explain(
        cnnviz, folder / "fish/0.png", "--contrast", "fish:snail", "--contrast", "second:predicted"
    )
    (image,) = manifest(tmp_path)["images"]
    first, second = (score["index"] for score in image["top5"][:2])
    files = [contrast["file"] for contrast in image["contrasts"]]
    assert files == ["0_1-4_contrast.png", f"0_{second}-{first}_contrast.png"]
    assert all((tmp_path / "out" / file).is_file() for file in files)


def test_contrast_shares_the_forward_pass(cnnviz, folder, tmp_path, monkeypatch):
    passes = []
    explain_targets = Explainer.explain_targets

    def watched(self, batch, *arguments):
        run = self.network.run
        monkeypatch.setattr(
            self.network, "run", lambda *a, **k: passes.append(len(batch)) or run(*a, **k)
        )
        try:
            return explain_targets(self, batch, *arguments)
        finally:
            monkeypatch.setattr(self.network, "run", run)

    monkeypatch.setattr(Explainer, "explain_targets", watched)
    status, _, _ = explain(cnnviz, folder / "fish/0.png", "--contrast", "predicted:second")
    assert status == 0
    assert passes == [1]


def test_target_truth_is_each_images_own(cnnviz, folder, tmp_path):
    explain(cnnviz, folder, "--truth", "folders", "--target", "truth", "--method", "gradcam")
    for image in manifest(tmp_path)["images"]:
        (explanation,) = image["explanations"]
        assert explanation["target"] == image["ground_truth"]


@pytest.mark.parametrize(
    ("options", "columns", "rows"),
    [
        ([], 4, 1),
        (["--layer", "stages", "--method", "gradcam"], 5, 2),
        (["--target", "top2"], 4, 2),
    ],
)
def test_panels(cnnviz, folder, tmp_path, options, columns, rows):
    status, _, _ = explain(cnnviz, folder / "fish/0.png", "--panel", *options)
    assert status == 0
    (image,) = manifest(tmp_path)["images"]
    indices = [one["target"]["index"] for one in image["explanations"]]
    own = f"_{'-'.join(map(str, indices))}" if "--target" in options else ""
    assert image["panel"] == f"0{own}_panel.png"
    height, width = cv2.imread(str(tmp_path / "out" / image["panel"])).shape[:2]
    side = cv2.imread(str(tmp_path / "out/0_original.png")).shape[0]
    # Images of one size in columns, with gaps; letters above.
    assert columns * side <= width <= columns * side * 1.05
    assert rows * side < height < rows * side * 1.5


def test_json_is_json_whatever_files_are_called(cnnviz, folder, tmp_path):
    name = b"\xff\xe9.png"
    (folder / "fish/0.png").rename(folder / "fish" / os.fsdecode(name))
    status, out, _ = explain(cnnviz, "scenes/fish", "--json")
    assert status == 0
    records = [json.loads(line) for line in out.splitlines()]
    (file,) = {os.fsencode(record["relative"]) for record in records} - {b"1.png"}
    assert file == name
    for record in records:
        assert all(
            (tmp_path / path).is_file() for path in record["explanations"][0]["files"].values()
        )


def test_json_names_files_where_they_are(cnnviz, folder, tmp_path):
    status, out, _ = explain(
        cnnviz, folder / "fish/0.png", "--panel", "--contrast", "fish:snail", "--json"
    )
    assert status == 0
    record = json.loads(out)
    files = [*record["explanations"][0]["files"].values(), record["panel"]]
    files.append(record["contrasts"][0]["file"])
    assert len(files) == 6
    assert all((tmp_path / file).is_file() for file in files)
    assert record["layers"]
    assert record["error"] is None
