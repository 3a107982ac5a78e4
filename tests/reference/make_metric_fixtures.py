"""Make the reference numbers for infidelity and max-sensitivity with captum, in float64.

Run by hand in the environment of ``make_gradient_fixtures.py``, whose network, image and target are
taken::

    captum-venv/bin/python tests/reference/make_metric_fixtures.py

It writes ``metrics.npz`` beside itself. The squares and the noise are drawn here as the metrics'
options say: from NumPy's generator with seed 0, sides and corners of squares of 1 to 4 of 12
pixels; uniform numbers, one image after another. Infidelity is captum's with ``normalize=True``,
which scales maps as the paper's authors do. The file holds, for seed 0:

- ``gradient`` (3, 16, 12), the target's; ``magnitude`` (16, 12), the sum of its magnitudes;
- ``infidelity_gradient`` of the first, ``infidelity_magnitude`` of the second as a map with one
  value a pixel, for which the perturbations are 1 in a square and 0 elsewhere;
- ``sensitivity`` of the second, within a radius of 0.02 of ImageNet's normalized pixels.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import seeded
import torch
from captum.metrics import infidelity, sensitivity_max
from make_gradient_fixtures import STD, TARGET, network

SAMPLES = {"infidelity": 60, "sensitivity": 10}
RADIUS = 0.02


def squares(height: int, width: int) -> torch.Tensor:
    """Which pixels each of the squares has, (samples, 1, H, W)."""
    random = np.random.default_rng(0)
    sides = random.integers(1, 5, SAMPLES["infidelity"])
    corners = random.integers(0, np.array([height, width]) - sides[:, None] + 1)
    drawn = torch.zeros(len(sides), 1, height, width, dtype=torch.float64)
    for one, (top, left), side in zip(drawn, corners, sides, strict=True):
        one[:, top : top + side, left : left + side] = 1
    return drawn


def main() -> None:
    """Write the file."""
    here = Path(__file__).parent
    with np.load(here / "gradient_family.npz") as file:
        seed, target = int(file["picture_seed"]), int(file["target"])
    assert target == TARGET
    net = network()
    image = torch.from_numpy(seeded.image(seed)[None, :, :16, :12]).double()

    @torch.enable_grad()  # captum explains without
    def gradient(batch: torch.Tensor) -> torch.Tensor:
        batch = batch.detach().clone().requires_grad_()
        net(batch)[:, target].sum().backward()
        return batch.grad

    def magnitude(batch: torch.Tensor) -> torch.Tensor:
        return gradient(batch).abs().sum(dim=1, keepdim=True)

    drawn = squares(16, 12)

    def removed(batch: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        assert len(batch) == len(drawn)
        return drawn * batch, batch * (1 - drawn)

    def counted(batch: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        # captum wants perturbations of the input's shape; a third of 1 in each channel makes 1.
        return drawn.expand_as(batch) / 3, batch * (1 - drawn)

    def score(batch: torch.Tensor) -> torch.Tensor:
        return net(batch)[:, target]

    count = SAMPLES["infidelity"]
    slope, size = gradient(image), magnitude(image)
    options = {"n_perturb_samples": count, "normalize": True}
    of_gradient = infidelity(score, removed, image, slope, **options)
    of_size = infidelity(score, counted, image, size.expand_as(image), **options)

    random = np.random.default_rng(0)
    noise = [random.uniform(-1, 1, image.shape[1:]) for _ in range(SAMPLES["sensitivity"])]
    changes = torch.from_numpy(RADIUS * np.stack(noise) / STD)
    # In tuples: of a bare tensor captum would take each image for a map of its own.
    sensitivity = sensitivity_max(
        lambda batches: (magnitude(batches[0]),),
        image,
        lambda batch: (batch + changes,),
        n_perturb_samples=SAMPLES["sensitivity"],
    )
    found = {
        "gradient": slope[0],
        "magnitude": size[0, 0],
        "infidelity_gradient": of_gradient[0],
        "infidelity_magnitude": of_size[0],
        "sensitivity": sensitivity[0],
    }
    arrays = {name: value.detach().numpy() for name, value in found.items()}
    path = here / "metrics.npz"
    np.savez_compressed(path, **arrays)
    numbers = {name: float(value) for name, value in arrays.items() if value.ndim == 0}
    print(path.name, path.stat().st_size, "bytes", numbers)


if __name__ == "__main__":
    main()
