"""``cnnviz explain`` from end to end, on the embedded network."""

from __future__ import annotations

import errno
import io
import json
import os
import signal
import subprocess
import sys

import cv2
import numpy as np
import pytest

from cnnviz import demo
from cnnviz.explainer import Explainer
from cnnviz.models.zoo import get
from cnnviz.runs.manifest import JOURNAL
from tests.support.mxnet import import_mxnet

#: Small, so that an image takes half the time, where nothing depends on it.
DEMO = ("--model", "demo", "--input-size", "96")
KINDS = ("original", "gradcam", "guided_gradcam", "saliency")


def files_below(folder):
    """All but the manifest, and the journal that a run has until it comes to its end."""
    files = (str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())
    return sorted(name for name in files if name not in ("manifest.json", JOURNAL))


def four(*stems):
    return sorted(f"{stem}_{kind}.png" for stem in stems for kind in KINDS)


def test_one_image(cnnviz, photos, tmp_path):
    status, out, err = cnnviz("explain", photos / "10.jpg", "--model", "demo", "-o", "out")
    assert status == 0
    assert files_below(tmp_path / "out") == four("10")
    line, *rest = out.splitlines()
    assert not rest
    path, _, said = line.partition(": ")
    assert path == str(photos / "10.jpg")
    name, index, probability = said.rsplit(" ", 2)
    assert demo.CLASSES[int(index.strip("()"))] == name
    assert 1 / 8 < float(probability) <= 1
    assert get("demo").default_layer in err
    assert "SHA-256" in err
    for kind in KINDS:
        assert cv2.imread(str(tmp_path / f"out/10_{kind}.png")).shape == (60, 80, 3)


def test_folder_is_taken_in_natural_order_with_its_sub_folders(cnnviz, photos, tmp_path):
    status, out, _ = cnnviz("explain", photos, *DEMO, "-o", "out")
    assert status == 0
    assert files_below(tmp_path / "out") == four("2", "10", "sub/cat")
    assert [line.partition(": ")[0] for line in out.splitlines()] == [
        str(photos / name) for name in ("2.png", "10.jpg", "sub/cat.png")
    ]


def test_bad_images_are_named_and_the_others_done(cnnviz, photos, tmp_path):
    (photos / "1_broken.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing more")
    (photos / "empty.jpg").write_bytes(b"")
    status, out, err = cnnviz("explain", photos, *DEMO, "-o", "out", "--json")
    assert status == 1
    assert files_below(tmp_path / "out") == four("2", "10", "sub/cat")
    records = [json.loads(line) for line in out.splitlines()]
    assert [record["status"] for record in records] == ["failed", "ok", "ok", "failed", "ok"]
    for name, record in (("1_broken.png", records[0]), ("empty.jpg", records[3])):
        assert f"Error: {photos / name}: {record['error']}" in err
    assert "empty" in records[3]["error"]
    assert list(records[3]) == list(records[1])
    assert {record["schema_version"] for record in records} == {4}
    assert "3 explained, 2 failed" in err


def test_json_says_what_was_written(cnnviz, photos, tmp_path):
    status, out, _ = cnnviz("explain", photos / "2.png", *DEMO, "-o", "out", "--json", "--arrays")
    assert status == 0
    record = json.loads(out)
    assert record["path"] == str(photos / "2.png")
    (explained,) = record["explanations"]
    assert sorted(explained["files"]) == sorted([*KINDS, "arrays"])
    assert all(os.path.isfile(path) for path in explained["files"].values())
    assert record["layers"] == [get("demo").default_layer]
    total, guided = record["relus_guided"]
    assert total == guided > 0
    assert record["seconds"] > 0
    scores = record["top5"]
    assert len(scores) == 5
    assert explained["target"] == scores[0]
    with np.load(explained["files"]["arrays"]) as arrays:
        logits = arrays["logits"].astype(np.float64)
    order = np.argsort(-logits)[:5]
    assert [score["index"] for score in scores] == list(order)
    probabilities = np.exp(logits) / np.exp(logits).sum()
    for score in scores:
        assert score["name"] == demo.CLASSES[score["index"]]
        assert score["logit"] == pytest.approx(logits[score["index"]])
        assert score["probability"] == pytest.approx(probabilities[score["index"]])


def test_arrays_are_raw_and_complete(cnnviz, photos, tmp_path):
    cnnviz("explain", photos / "2.png", "--model", "demo", "-o", "out", "--arrays")
    arrays = dict(np.load(tmp_path / "out/2.npz"))
    kinds = {name: (value.shape, value.dtype.kind) for name, value in arrays.items()}
    assert kinds == {
        "input": ((3, 224, 224), "f"),
        "logits": ((8,), "f"),
        "target": ((), "i"),
        "layer": ((), "U"),
        "gradcam": ((14, 14), "f"),
        "guided_backprop": ((3, 224, 224), "f"),
        "guided_gradcam": ((3, 224, 224), "f"),
        "saliency": ((224, 224), "f"),
    }
    # The input is what the network is fed: the image, resized, as (x / 255 - mean) / std.
    image = cv2.cvtColor(cv2.imread(str(photos / "2.png")), cv2.COLOR_BGR2RGB)
    resized = cv2.resize(image, (224, 224), interpolation=cv2.INTER_LINEAR)
    expected = (resized / 255.0 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    np.testing.assert_allclose(arrays["input"], expected.transpose(2, 0, 1), atol=1e-6)
    saliency = np.abs(arrays["guided_gradcam"]).sum(axis=0)
    np.testing.assert_allclose(arrays["saliency"], saliency, rtol=1e-5, atol=1e-12)


@pytest.mark.parametrize("spec", ["3", demo.CLASSES[3], demo.CLASSES[3].upper()])
def test_target_by_index_or_name(cnnviz, photos, spec):
    status, out, _ = cnnviz("explain", photos / "2.png", *DEMO, "--target", spec, "--json")
    assert status == 0
    assert json.loads(out)["explanations"][0]["target"]["index"] == 3


def test_explained_class_is_told_apart_from_the_answer(cnnviz, photos):
    _, out, _ = cnnviz("explain", photos / "2.png", *DEMO, "--json")
    last = json.loads(out)["top5"][-1]
    _, out, _ = cnnviz("explain", photos / "2.png", *DEMO, "--target", last["index"])
    assert f"; explained: {last['name']} ({last['index']}) " in out


def test_verbose_prints_the_five_highest(cnnviz, photos):
    _, out, _ = cnnviz("explain", photos / "2.png", *DEMO, "-v")
    first, *rest = out.splitlines()
    assert len(rest) == 6
    assert first.endswith(rest[0].strip())
    assert "ReLUs guided" in rest[5]


def test_quiet_prints_only_errors(cnnviz, photos):
    assert cnnviz("explain", photos, *DEMO, "-q") == (0, "", "")
    (photos / "x.png").write_bytes(b"no image")
    status, out, err = cnnviz("explain", photos, *DEMO, "-q")
    assert (status, out) == (1, "")
    assert err.startswith(f"Error: {photos / 'x.png'}: ")
    assert len(err.splitlines()) == 1


def test_methods_can_be_chosen(cnnviz, photos, tmp_path):
    status, _, _ = cnnviz(
        *("explain", photos / "2.png", *DEMO, "-o", "out"),
        *("--method", "guided-backprop", "--method", "gradcam"),
    )
    assert status == 0
    assert files_below(tmp_path / "out") == [
        "2_gradcam.png",
        "2_guided_backprop.png",
        "2_original.png",
    ]


def test_another_layer_another_map(cnnviz, photos, tmp_path):
    arguments = ("explain", photos / "2.png", *DEMO, "--arrays")
    assert cnnviz(*arguments, "-o", "a")[0] == 0
    assert cnnviz(*arguments, "-o", "b", "--layer", "features[0]")[0] == 0
    assert np.load(tmp_path / "b/2.npz")["layer"] == "features.0"
    assert np.load(tmp_path / "b/2.npz")["gradcam"].shape != (14, 14)


def test_several_targets_have_files_of_their_own(cnnviz, photos, tmp_path):
    arguments = ("explain", photos / "2.png", *DEMO, "--arrays", "--json")
    status, out, _ = cnnviz(*arguments, "-o", "out", "--target", "top2", "--target", "0,1")
    assert status == 0
    record = json.loads(out)
    indices = [one["target"]["index"] for one in record["explanations"]]
    assert indices[:2] == [score["index"] for score in record["top5"][:2]]
    assert set(indices) == {*indices[:2], 0, 1}
    assert len(indices) == len(set(indices))
    expected = {"2_original.png"}
    for index in indices:
        expected |= {f"2_{index}_{kind}.png" for kind in KINDS[1:]} | {f"2_{index}.npz"}
    assert set(files_below(tmp_path / "out")) == expected
    for one in record["explanations"]:
        index = one["target"]["index"]
        assert one["files"]["gradcam"].endswith(f"2_{index}_gradcam.png")
        assert one["files"]["original"].endswith("2_original.png")
        # What several targets give together is what each gives alone.
        assert cnnviz(*arguments, "-o", f"alone{index}", "--target", index)[0] == 0
        together, alone = (
            np.load(path)
            for path in (one["files"]["arrays"], tmp_path / f"alone{index}/2_{index}.npz")
        )
        for key in together:
            np.testing.assert_array_equal(together[key], alone[key])


def test_layers_stand_side_by_side(cnnviz, photos, tmp_path):
    arguments = ("explain", photos / "2.png", *DEMO, "--arrays")
    names = ("features.0", get("demo").default_layer)
    layers = [part for name in names for part in ("--layer", name)]
    assert cnnviz(*arguments, "-o", "both", *layers)[0] == 0
    both = np.load(tmp_path / "both/2.npz")
    assert tuple(both["layer"]) == names
    for name in names:
        assert cnnviz(*arguments, "-o", name, "--layer", name)[0] == 0
        alone = np.load(tmp_path / name / "2.npz")
        for key in ("gradcam", "guided_gradcam", "saliency"):
            # PyTorch's engine may order its sums by what is asked for.
            atol = 1e-6 * np.abs(alone[key]).max()
            np.testing.assert_allclose(both[f"{key}@{name}"], alone[key], rtol=1e-4, atol=atol)
        guided = alone["guided_backprop"]
        atol = 1e-6 * np.abs(guided).max()
        np.testing.assert_allclose(both["guided_backprop"], guided, rtol=1e-4, atol=atol)
    one = cv2.imread(str(tmp_path / "features.0/2_gradcam.png"))
    strip = cv2.imread(str(tmp_path / "both/2_gradcam.png"))
    assert strip.shape[1] >= 2 * one.shape[1]
    assert strip.shape[0] > one.shape[0]


def test_stages_are_layers_of_every_size(cnnviz, photos, tmp_path):
    arguments = ("explain", photos / "2.png", *DEMO, "--arrays", "-o", "out")
    assert cnnviz(*arguments, "--layer", "stages")[0] == 0
    arrays = np.load(tmp_path / "out/2.npz")
    names = list(arrays["layer"])
    assert names[-1] == get("demo").default_layer
    sizes = [arrays[f"gradcam@{name}"].shape[0] for name in names]
    assert len(names) > 2
    assert sizes == sorted(set(sizes), reverse=True)


def test_one_scale_for_a_run(cnnviz, photos, tmp_path):
    """The image with the highest map keeps its colors; the others' maps are divided by that."""
    arguments = ("explain", photos, "--model", "demo", "--method", "gradcam", "--no-overlay")
    for scale in ("image", "run"):
        options = ("--scale", scale, "--target", "0", "--arrays", "--colormap", "bone")
        assert cnnviz(*arguments, *options, "-o", scale)[0] == 0
    peaks = {}
    for name in ("2", "10", "sub/cat"):
        peaks[name] = float(np.load(tmp_path / f"run/{name}_0.npz")["gradcam"].max())
    highest = max(peaks, key=peaks.get)
    assert peaks[highest] > 0
    for name, peak in peaks.items():
        image, run = (
            cv2.imread(str(tmp_path / scale / f"{name}_0_gradcam.png"))
            for scale in ("image", "run")
        )
        if name == highest:
            np.testing.assert_array_equal(image, run)
        else:
            # In the map "bone" brightness grows with the value.
            assert peak < peaks[highest]
            assert run.max() < image.max()


def test_heat_map_without_the_image(cnnviz, photos, tmp_path):
    arguments = ("explain", photos / "2.png", *DEMO, "--method", "gradcam")
    assert cnnviz(*arguments, "-o", "out", "--no-overlay")[0] == 0
    assert cnnviz(*arguments, "-o", "opaque", "--alpha", "1")[0] == 0
    alone, opaque = (
        cv2.imread(str(tmp_path / folder / "2_gradcam.png")) for folder in ("out", "opaque")
    )
    np.testing.assert_array_equal(alone, opaque)


def test_full_size_overlay_is_jet_at_two_fifths(cnnviz, photos, tmp_path):
    """The usual recipe, by hand: the map enlarged, divided by its maximum, jet, 0.4 of it."""
    arguments = ("explain", photos / "2.png", *DEMO, "--method", "gradcam", "--arrays")
    assert cnnviz(*arguments, "--size", "full", "-o", "out")[0] == 0
    image = cv2.imread(str(photos / "2.png"))
    cam = cv2.resize(np.load(tmp_path / "out/2.npz")["gradcam"], image.shape[1::-1])
    jet = cv2.applyColorMap(np.rint(255 * cam / cam.max()).astype(np.uint8), cv2.COLORMAP_JET)
    expected = 0.6 * image.astype(float) + 0.4 * jet
    written = cv2.imread(str(tmp_path / "out/2_gradcam.png"))
    assert written.shape == image.shape
    # Ours interpolates between the table's 256 colors: up to half a step of jet (2) times 0.4,
    # and rounding.
    assert np.abs(written - expected).max() <= 1.5


def test_what_a_method_costs_is_said_beforehand_and_what_it_found_afterward(
    cnnviz, photos, tmp_path
):
    arguments = ("explain", photos / "2.png", photos / "10.jpg", "--model", "demo", "-o", "out")
    options = ("--method", "occlusion", "-O", "window=64", "-O", "occlusion.stride=56")
    status, out, err = cnnviz(*arguments, *options, "--json", "--arrays", "--target", "top2")
    assert status == 0
    # 224 / 56 places each way, and three passes that measure what is rounding.
    assert "occlusion: passes per image: 19 (forward)" in err
    for line in out.splitlines():
        for explained in json.loads(line)["explanations"]:
            facts = explained["diagnostics"]["occlusion"]
            assert facts["grid"] == [4, 4]
            assert sum(facts["counts"].values()) == 16
            keys = {"occlusion", "occlusion_probability", "occlusion_classes"}
            assert set(explained["files"]) == {*keys, "original", "arrays"}
            arrays = np.load(explained["files"]["arrays"])
            assert all(arrays[key].shape == (4, 4) for key in keys)
            classes, counts = np.unique(arrays["occlusion_classes"], return_counts=True)
            assert {str(int(i)): n for i, n in zip(classes, counts, strict=True)} == facts["counts"]


def test_batches_give_what_single_images_give(cnnviz, photos, tmp_path, monkeypatch):
    together = []
    explain = Explainer.explain_targets

    def watched(self, batch, *arguments):
        together.append(len(batch))
        return explain(self, batch, *arguments)

    monkeypatch.setattr(Explainer, "explain_targets", watched)
    for size in (1, 3, "auto"):
        arguments = ("explain", photos, *DEMO, "--arrays", "-o", f"out{size}")
        assert cnnviz(*arguments, "--batch-size", size)[0] == 0
    # Three images: each alone, all together, and the two and one that auto makes of them.
    assert together == [1, 1, 1, 3, 2, 1]
    for name in ("2.npz", "10.npz", "sub/cat.npz"):
        one, *others = (np.load(tmp_path / f"out{size}" / name) for size in (1, 3, "auto"))
        for other in others:
            for key in ("logits", "gradcam", "guided_gradcam", "saliency"):
                difference = np.linalg.norm(one[key] - other[key])
                assert difference <= 1e-5 * np.linalg.norm(one[key]), key


def test_one_bad_image_in_a_batch(cnnviz, photos, tmp_path):
    (photos / "3.png").write_bytes(b"")
    status, out, _ = cnnviz("explain", photos, *DEMO, "-o", "out", "--batch-size", "4")
    assert status == 1
    assert len(out.splitlines()) == 3
    assert files_below(tmp_path / "out") == four("2", "10", "sub/cat")


@pytest.mark.parametrize(
    ("size", "shape"),
    [("model", (224, 224)), ("full", (60, 80)), ("40", (30, 40)), ("160", (120, 160))],
)
def test_sizes(cnnviz, photos, tmp_path, size, shape):
    arguments = ("explain", photos / "2.png", "--model", "demo", "-o", "out", "--size", size)
    assert cnnviz(*arguments)[0] == 0
    for kind in KINDS:
        assert cv2.imread(str(tmp_path / f"out/2_{kind}.png")).shape[:2] == shape


def test_large_images_are_written_with_a_long_side_of_1024(cnnviz, tmp_path, write_image):
    write_image(tmp_path / "large.jpg", shape=(1500, 2000))
    assert cnnviz("explain", "large.jpg", *DEMO, "-o", "out")[0] == 0
    assert cv2.imread(str(tmp_path / "out/large_saliency.png")).shape == (768, 1024, 3)


def test_overlay_follows_alpha_and_colormap(cnnviz, photos, tmp_path):
    arguments = ("explain", photos / "2.png", *DEMO)
    for name, options in {
        "none": ("--alpha", "0"),
        "jet": (),
        "turbo": ("--colormap", "turbo"),
    }.items():
        assert cnnviz(*arguments, "-o", name, *options)[0] == 0
    images = {
        name: cv2.imread(str(tmp_path / name / "2_gradcam.png"))
        for name in ("none", "jet", "turbo")
    }
    original = cv2.imread(str(tmp_path / "none/2_original.png"))
    np.testing.assert_array_equal(images["none"], original)
    assert (images["jet"] != images["turbo"]).any()


def test_paths_on_standard_input(cnnviz, photos, tmp_path, monkeypatch):
    paths = f"{photos / '2.png'}\n\n{photos / 'sub/cat.png'}\n"
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(paths.encode())))
    status, out, err = cnnviz("explain", "-", *DEMO, "-o", "out")
    assert status == 0, err
    assert len(out.splitlines()) == 2
    assert files_below(tmp_path / "out") == four("2", "cat")


def test_again_into_the_same_folder(cnnviz, photos, tmp_path):
    for _ in range(2):
        assert cnnviz("explain", photos, *DEMO, "-o", "out")[0] == 0
    assert files_below(tmp_path / "out") == four("2", "10", "sub/cat")


def test_somebody_elses_file_is_left_alone(cnnviz, photos, tmp_path, write_image):
    mine = tmp_path / "out/2_gradcam.png"
    write_image(mine, 9)
    before = mine.read_bytes()
    status, _, err = cnnviz("explain", photos, *DEMO, "-o", "out")
    assert status == 1
    assert str(mine.relative_to(tmp_path)) in err
    assert mine.read_bytes() == before
    # The image failed as a whole: no other file of it is left.
    assert files_below(tmp_path / "out") == sorted(["2_gradcam.png", *four("10", "sub/cat")])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("nosuch.jpg",), "nosuch.jpg"),
        (("{image}", "--model", "vgg61"), "vgg16"),
        (("{image}", "--layer", "features.82"), "features.28"),
        (("{image}", "--layer", "output"), "without height and width"),
        (("{image}", "--target", "taby cat"), "tabby"),
        (("{image}", "--target", "1000"), "0 to 999"),
        (("{image}", "--target", "-1"), "0 to 999"),
        (("{image}", "--target", "281,1000"), "0 to 999"),
        (("{image}", "--target", "top0"), "top0"),
        (("{image}", "--target", "top1001"), "1001"),
        (("{image}", "--option", "samples"), "NAME=VALUE"),
        (("{image}", "-O", "sampels=3"), "sampels"),
        (("{image}", "--relu", "leaky"), "deconvnet"),
        (("{image}", "--method", "saliency", "--relu", "guided"), "gradcam"),
        (("{image}", "--method", "gradcam", "--saliency", "gradient"), "saliency.source"),
        (("{image}", "--scale", "folder"), "run"),
        (("{image}", "--ctx", "tpu"), "tpu"),
        (("{image}", "--method", "gradcm"), "gradcam"),
        (("{image}", "--saliency", "noise"), "deconvnet"),
        (("{image}", "--colormap", "rainbowish"), "jet"),
        (("{image}", "--alpha", "2"), "alpha"),
        (("{image}", "--size", "0"), "size"),
        (("{image}", "--size", "big"), "size"),
        (("{image}", "--batch-size", "0"), "batch-size"),
        (("{image}", "--batch-size", "all"), "auto"),
        (("{image}", "--labels", "nosuch.txt"), "nosuch.txt"),
        (("{image}", "--json", "--quiet"), "--quiet"),
        (("{image}", "-o", "{image}"), "is not a folder"),
        (("{image}", "-o", "{image}/below"), "is not a folder"),
        (("{image}", "--nosuch"), "--nosuch"),
        ((), "INPUT"),
    ],
)
def test_wrong_usage_is_told_before_weights_are_looked_for(
    cnnviz, photos, tmp_path, monkeypatch, arguments, message
):
    """vgg16 has no weights here: had they been looked for, the exit status would be 3."""
    monkeypatch.setenv("MXNET_HOME", str(tmp_path / "mxnet"))
    monkeypatch.setenv("MXNET_GLUON_REPO", "http://127.0.0.1:9/")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    filled = [argument.format(image=photos / "2.png") for argument in arguments]
    status, out, err = cnnviz("explain", *filled)
    assert status == 2
    assert out == ""
    assert message in err
    assert "Traceback" not in err
    assert not (tmp_path / "explanations").exists()


def test_no_weights_anywhere(cnnviz, photos, tmp_path, monkeypatch):
    monkeypatch.setenv("MXNET_HOME", str(tmp_path / "mxnet"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setenv("MXNET_GLUON_REPO", "http://127.0.0.1:9/")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    status, out, err = cnnviz("explain", photos / "2.png")
    assert (status, out) == (3, "")
    assert "vgg16" in err
    assert "--model demo" in err
    assert "Traceback" not in err


def test_file_that_is_no_weights(cnnviz, photos):
    status, _, err = cnnviz("explain", photos / "2.png", "--weights", photos / "10.jpg")
    assert status == 3
    assert "10.jpg" in err


@pytest.mark.parametrize("spec", ["gpu", "gpu:3", "gpu(0)"])
def test_missing_gpu_is_told_before_any_work(cnnviz, photos, tmp_path, spec):
    mx = import_mxnet()
    if mx.runtime.Features().is_enabled("CUDA"):
        pytest.skip("this build of MXNet can use a GPU")
    given = (*DEMO, "--engine", "mxnet", "--ctx", spec)
    status, out, err = cnnviz("explain", photos, *given)
    assert (status, out) == (3, "")
    assert "the MXNet installed here is the CPU build" in err
    assert not (tmp_path / "explanations").exists()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_interrupt_within_a_destructor_is_not_lost(cnnviz, photos, tmp_path, monkeypatch):
    """Python drops what is raised in a __del__, and MXNet's arrays have one."""
    explain = Explainer.explain_targets

    class Interrupting:
        def __del__(self):
            os.kill(os.getpid(), signal.SIGINT)
            for _ in range(1000):
                pass  # the signal is delivered between two of these steps

    def destroy(self, *arguments):
        thing = Interrupting()
        del thing
        return explain(self, *arguments)

    monkeypatch.setattr(Explainer, "explain_targets", destroy)
    status, out, err = cnnviz("explain", photos, *DEMO, "-o", "out")
    assert status == 130
    assert "Interrupted" in err
    assert len(out.splitlines()) * 4 == len(files_below(tmp_path / "out")) > 0


@pytest.mark.subprocess
def test_reader_of_the_output_that_leaves_early(photos, tmp_path):
    """What it does not want to read is done all the same."""
    command = f"'{sys.executable}' -u -m cnnviz explain photos --model demo -o out | head -c 1"
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert "Traceback" not in done.stderr
    assert "BrokenPipe" not in done.stderr
    assert done.returncode == 0
    assert len(json.loads((tmp_path / "out/manifest.json").read_text())["images"]) == 3


def test_a_name_that_the_output_cannot_hold_fails_alone(cnnviz, photos, tmp_path, monkeypatch):
    """exFAT and NTFS have no colons; the same command goes on from there, on another day."""
    (photos / "12:30.png").write_bytes((photos / "2.png").read_bytes())
    replace = os.replace

    def strict(source, target):
        if ":" in os.fspath(target):
            raise OSError(errno.EINVAL, "Invalid argument")
        replace(source, target)

    command = ("explain", photos, "-m", "demo", "--method", "gradcam", "-o", "out")
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", strict)
        for before in ("", " (3 of them already done)"):
            status, _, err = cnnviz(*command)
            assert status == 1
            assert (
                f"Error: {photos}/12:30.png: out/12:30_original.png cannot be written: Inv" in err
            )
            assert f"3 explained{before}, 1 failed" in err
    status, _, err = cnnviz(*command)
    assert status == 0
    assert "4 explained (3 of them already done)" in err
