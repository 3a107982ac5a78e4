"""Make similarity.npz: pairs of maps, and what SciPy and scikit-image say of them.

python tests/reference/make_similarity_fixtures.py    with NumPy, SciPy and scikit-image installed
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from scipy.stats import rankdata, spearmanr
from skimage.metrics import structural_similarity


def pairs() -> np.ndarray:
    """Pairs of maps, (P, 2, H, W) float32: smooth, rectified, rounded, signed and unrelated."""
    random = np.random.default_rng(2004)
    down, across = np.mgrid[0:24, 0:31] / 8.0
    smooth = np.sin(down) * np.cos(across)
    noise = random.standard_normal(smooth.shape)
    found = [
        (smooth, smooth + 0.5 * noise),
        (np.maximum(smooth, 0), np.maximum(smooth + 0.3 * noise, 0)),  # many zeros
        (np.round(3 * smooth), np.round(3 * smooth + noise)),  # a handful of values
        (smooth, -(smooth**3)),  # the other way around
        (noise, random.standard_normal(smooth.shape)),
        (1e-6 * smooth, 40 + 1e3 * np.abs(smooth)),  # other scales
    ]
    return np.asarray(found, np.float32)


def unit(values: np.ndarray) -> np.ndarray:
    """From 0 to 1, in float64."""
    wide = values.astype(np.float64)
    return (wide - wide.min()) / (wide.max() - wide.min())


def ssim(a: np.ndarray, b: np.ndarray) -> float:
    """As in Wang et al. 2004."""
    return structural_similarity(
        unit(a),
        unit(b),
        data_range=1,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
    )


if __name__ == "__main__":
    maps = pairs()
    np.savez_compressed(
        Path(__file__).with_name("similarity.npz"),
        maps=maps,
        ranks=np.stack([rankdata(a, "average") for a, _ in maps]),
        spearman=[spearmanr(a.ravel(), b.ravel()).statistic for a, b in maps],
        absolute=[spearmanr(np.abs(a).ravel(), np.abs(b).ravel()).statistic for a, b in maps],
        ssim=[ssim(a, b) for a, b in maps],
    )
