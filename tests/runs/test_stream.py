"""A run over many images: order, isolation, what is left behind when it is stopped."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from cnnviz.errors import ExitCode, NetworkError, OutputUnavailableError
from cnnviz.explainer import Explainer
from cnnviz.images.preprocessing import InputSpec
from cnnviz.images.sources import find_sources
from cnnviz.importers.gluon import from_gluon
from cnnviz.outputs.files import OutputFolder
from tests.support.mxnet import import_mxnet
from tests.support.runs import explain_into

mx = import_mxnet()
nn = mx.gluon.nn


class Logarithm(mx.gluon.HybridBlock):
    """A network whose first step, log(x + 1), is no number for images below -1: black ones."""

    def __init__(self):
        super().__init__()
        self.body = nn.HybridSequential()
        self.body.add(nn.Conv2D(4, 3), nn.Activation("relu"), nn.Flatten(), nn.Dense(3))

    def hybrid_forward(self, F, x):
        return self.body(F.log(x + 1))


@pytest.fixture(scope="module")
def explainer():
    net = Logarithm()
    net.initialize()
    spec = InputSpec(16, 20)
    return Explainer(from_gluon(net, (3, 16, 20)), spec)


@pytest.fixture
def many(tmp_path):
    """Twelve images that the network can take: nothing in them is as dark as -1."""
    (tmp_path / "photos").mkdir()
    for number in range(12):
        pixels = np.random.RandomState(number).randint(140, 256, (30, 40, 3), np.uint8)
        assert cv2.imwrite(str(tmp_path / f"photos/{number}.png"), pixels)
    return tmp_path / "photos"


def run(explainer, folder, output, **options):
    outcomes = []
    sources = find_sources([str(folder)]).sources
    report = explain_into(explainer, sources, output, outcomes.append, **options)
    return report, outcomes


@pytest.mark.parametrize("helpers", [0, 1, 3])
@pytest.mark.parametrize("batch_size", [1, 5])
def test_outcomes_come_in_order_with_their_own_files(
    tmp_path, explainer, many, helpers, batch_size
):
    (many / "3.png").write_bytes(b"no image")
    report, outcomes = run(
        explainer, many, tmp_path / "out", helpers=helpers, batch_size=batch_size
    )
    assert [outcome.record.relative for outcome in outcomes] == [f"{n}.png" for n in range(12)]
    assert [outcome.record.status for outcome in outcomes] == ["ok"] * 3 + ["failed"] + ["ok"] * 8
    assert (report.done, report.failed, report.exit_code) == (11, 1, ExitCode.SOME_FAILED)
    for outcome in outcomes:
        for one in outcome.record.explanations:
            for kind, name in one.files.items():
                assert name == f"{outcome.record.stem}_{kind}.png"
                assert (tmp_path / "out" / name).is_file()


def test_numbers_that_overflow_are_that_images_failure(tmp_path, explainer, many):
    cv2.imwrite(str(many / "4.png"), np.zeros((30, 40, 3), np.uint8))
    report, outcomes = run(explainer, many, tmp_path / "out", batch_size=6)
    assert (report.done, report.failed) == (11, 1)
    assert "NaN or infinity" in outcomes[4].record.error
    assert not list((tmp_path / "out").glob("4_*"))


@pytest.mark.parametrize("helpers", [0, 2])
def test_whoever_stops_the_run_leaves_whole_images_and_is_told_of_them(
    tmp_path, explainer, many, helpers, monkeypatch
):
    explain = Explainer.explain_targets
    calls = []

    def interrupted(self, batch, *arguments):
        calls.append(len(batch))
        if len(calls) == 5:
            raise KeyboardInterrupt
        return explain(self, batch, *arguments)

    monkeypatch.setattr(Explainer, "explain_targets", interrupted)
    outcomes = []
    sources = find_sources([str(many)]).sources
    with pytest.raises(KeyboardInterrupt):
        explain_into(explainer, sources, tmp_path / "out", outcomes.append, helpers=helpers)
    written = {path.name for path in (tmp_path / "out").iterdir()}
    told = {name for outcome in outcomes for name in outcome.record.files}
    assert written == told
    assert len(written) == 4 * len(outcomes)
    assert 1 <= len(outcomes) <= 4


def test_a_full_disk_stops_the_run(tmp_path, explainer, many, monkeypatch):
    write = OutputFolder.write

    def full(self, relative, parts):
        if relative.name == "5_guided_gradcam.png":
            raise OutputUnavailableError("No space left on device")
        return write(self, relative, parts)

    monkeypatch.setattr(OutputFolder, "write", full)
    with pytest.raises(OutputUnavailableError, match="No space left"):
        run(explainer, many, tmp_path / "out")
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert not any(name.startswith("5_") for name in names)
    assert {"4_saliency.png", "0_original.png"} <= names


def test_a_network_that_fails_stops_the_run(tmp_path, explainer, many, monkeypatch):
    def broken(self, *arguments):
        raise NetworkError("out of memory")

    monkeypatch.setattr(Explainer, "explain_targets", broken)
    with pytest.raises(NetworkError, match="out of memory"):
        run(explainer, many, tmp_path / "out")
    assert not (tmp_path / "out").exists()
