"""The training program: its truth, its losses against the engine, a very short run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cnnviz.demo import CLASSES, train, weights_path
from cnnviz.demo.architecture import build
from cnnviz.demo.scenes import scene
from cnnviz.importers.gluon import from_gluon
from tests.support.gradients import differentiate
from tests.support.mxnet import import_mxnet


@pytest.fixture(scope="module")
def few() -> train.Scenes:
    return train.render(train.TRAINING_SEED, 32)


def test_rendering_keeps_images_cells_and_wanted_probabilities_together(
    few: train.Scenes,
) -> None:
    for number in range(8):
        drawn = scene(train.TRAINING_SEED + number)
        np.testing.assert_array_equal(few.images[number], drawn.image)
        wanted = np.zeros(8)
        for thing in drawn.objects:
            wanted[thing.index] = 1 / len(drawn.objects)
            for row, column in [(3, 4), (7, 7), (9, 10)]:
                cell = thing.mask[16 * row : 16 * row + 16, 16 * column : 16 * column + 16]
                assert few.cells[number, thing.index, row, column] == (cell.sum() > 128)
        np.testing.assert_allclose(few.wanted[number], wanted)
        absent = [i for i in range(8) if wanted[i] == 0]
        assert not few.cells[number, absent].any()


def test_one_object_scenes_take_the_kinds_in_turn() -> None:
    shown = train.render(train.HELD_OUT_SEED, 9, one_object=True)
    np.testing.assert_array_equal(shown.wanted, np.eye(8)[[0, 1, 2, 3, 4, 5, 6, 7, 0]])


def test_plain_input_is_imagenets_normalization() -> None:
    pixels = np.zeros((1, 224, 224, 3), np.uint8)
    pixels[..., 1] = 255
    batch = train.plain(pixels)
    assert batch.shape == (1, 3, 224, 224)
    expected = [(0 - 0.485) / 0.229, (1 - 0.456) / 0.224, (0 - 0.406) / 0.225]
    np.testing.assert_allclose(batch[0, :, 5, 5], expected, rtol=1e-6)


def test_varied_input_moves_channels_but_keeps_the_drawing() -> None:
    pixels = np.zeros((24, 224, 224, 3), np.uint8)
    pixels[:, 10:20, 10:20] = (120, 60, 0)
    batch = train.vary(np.random.default_rng(0), pixels)
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    values = batch[:, :, 15, 15] * std + mean
    assert len({tuple(np.argsort(row)) for row in values}) == 6  # all orders of the channels occur
    ordered = np.sort(values, axis=1)
    np.testing.assert_allclose(ordered[:, 0], 0, atol=1e-6)
    np.testing.assert_allclose(ordered[:, 2], 2 * ordered[:, 1], rtol=1e-4)
    assert (ordered[:, 2] >= 0.75 * 120 / 255 - 1e-6).all()
    assert (ordered[:, 2] <= 1.25 * 120 / 255 + 1e-6).all()
    np.testing.assert_allclose(batch[:, :, 100, 100] * std + mean, 0, atol=1e-6)


@pytest.mark.needs("mxnet")
def test_the_losses_follow_from_the_logits_and_the_true_gradient(few: train.Scenes) -> None:
    """Cross-entropy and Grad-CAM's share inside, from the engine's own results, in NumPy."""
    block = build()
    block.load_parameters(str(weights_path()))
    pick = [i for i in range(32) if (few.wanted[i] == 0.5).sum() == 2][:3]
    batch, cells, wanted = train.plain(few.images[pick]), few.cells[pick], few.wanted[pick]
    network = from_gluon(block)

    entropy, terms = 0.0, []
    for own in range(2):
        targets = [int(np.flatnonzero(row)[own]) for row in wanted]
        result = differentiate(network, batch, targets, relu_rule="standard")
        weights = result.layer_gradients.astype(np.float64).mean(axis=(2, 3))
        raw = 196 * np.einsum("nk,nkij->nij", weights, result.activations.astype(np.float64))
        for number, target in enumerate(targets):
            share = np.exp(raw[number] - raw[number].max())
            inside = share[cells[number, target]].sum() / share.sum()
            terms.append(-np.log(inside + 1e-6))
            logits = result.logits[number].astype(np.float64)
            entropy -= 0.5 * (logits[target] - np.log(np.exp(logits).sum())) / len(pick)

    mx = import_mxnet()
    named, placed = train._losses(
        mx.nd,
        block,
        mx.nd.array(result.activations),
        mx.nd.array(wanted),
        mx.nd.array(cells.reshape(len(pick), len(CLASSES), -1).astype(np.float32)),
    )
    assert named.asscalar() == pytest.approx(entropy, rel=1e-3)
    assert placed.asscalar() == pytest.approx(np.mean(terms), rel=1e-3, abs=1e-5)


@pytest.mark.needs("mxnet")
def test_the_shortest_run_makes_a_file_like_the_one_that_ships(
    few: train.Scenes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    net = train.train(few, epochs=1, rate=3e-3, seed=1)
    assert "step 1 of 1" in capsys.readouterr().out
    net.save_parameters(str(tmp_path / "short.params"))
    load = import_mxnet().nd.load
    short, shipped = load(str(tmp_path / "short.params")), load(str(weights_path()))
    assert {k: v.shape for k, v in short.items()} == {k: v.shape for k, v in shipped.items()}
    assert np.abs(short["features.1.running_mean"].asnumpy()).max() > 0  # gathered statistics
    few_right, confidence = train.check(
        net, train.Scenes(*(part[:8] for part in vars(few).values()))
    )
    assert few_right * 8 == int(few_right * 8)
    assert 1 / 8 <= confidence <= 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--scenes", "5"], "at least 32 scenes"),
        (["--epochs", "0"], "one epoch"),
        (["--out", "no/such/folder/demo.params"], "no/such/folder"),
    ],
)
def test_what_cannot_be_trained_is_refused_before_any_work(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        train.main(arguments)
    assert stop.value.code == 2
    assert said in capsys.readouterr().err
