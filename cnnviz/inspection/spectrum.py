"""Images as functions of their cosine spectra, and the linear maps and gradients for that."""

from __future__ import annotations

import numpy as np

from cnnviz.images.input_spec import InputSpec
from cnnviz.types import Float32

_NOISE = 0.05  # standard deviation of the initial spectrum
_CONTRAST = 4.0  # how far a spectrum of unit variance spreads before the sigmoid
_ROUND = 1e-2  # of total variation: where differences of colors count as none
# In photos most of the variance is brightness, then blue against yellow-red, then green against
# magenta (Ohta et al. 1980). Moving these instead of red, green and blue keeps colors believable.
_AXES = np.array([[1, 1, 1], [1, 0, -1], [-1, 2, -1]], np.float32)
_SPREADS = np.array([1.0, 0.35, 0.22], np.float32)


class SpectralParameterization:
    """Images (N, C, H, W), channels from 0 to 1, as functions of spectra of the same shape.

    x = sigmoid(logit(mean) + w ∘ M · Dᵀ(s ∘ z)): z the spectrum, D the cosine transform, s the
    scale of each frequency, M the change from decorrelated colors to red, green and blue, w the
    window, exp(-(r / window)⁴ / 2) at a distance r from the middle.
    """

    def __init__(self, spec: InputSpec, blur: float, window: float) -> None:
        channels, height, width = spec.shape
        self._shape = (1, channels, height, width)
        self._spec = spec
        self.mean: Float32 = np.asarray(spec.ordered(spec.mean), np.float32)[:, None, None]
        self.std: Float32 = np.asarray(spec.ordered(spec.std), np.float32)[:, None, None]
        middle = np.clip(self.mean, 0.05, 0.95)  # a network's mean may be 0
        self._middle = np.log(middle / (1 - middle))
        self._down, self._across = cosines(height), cosines(width)
        rows, columns = np.arange(height)[:, None] / height, np.arange(width) / width
        # In half waves a side; the constant counts as the slowest wave.
        frequencies = np.maximum(np.hypot(rows, columns), 1 / max(height, width))
        share = frequencies**-blur
        self._share = (share / np.sqrt(np.mean(share**2))).astype(np.float32)
        down, across = (np.arange(height) + 0.5) / height, (np.arange(width) + 0.5) / width
        distances = np.hypot(down[:, None] - 0.5, across - 0.5)
        fading = np.exp(-0.5 * (distances / window) ** 4) if window else np.ones_like(distances)
        self._window: Float32 = fading.astype(np.float32)
        self._colors = np.eye(channels, dtype=np.float32)
        if channels == 3:
            lengths = np.linalg.norm(_AXES, axis=1)
            self._colors = (_AXES / lengths[:, None] * _SPREADS[:, None]).T

    def noise(self, random: np.random.Generator) -> Float32:
        """A random spectrum to begin with, (1, C, H, W)."""
        return (_NOISE * random.standard_normal(self._shape)).astype(np.float32)

    def images(self, spectra: Float32) -> Float32:
        """The images of spectra."""
        axes = self._down.T @ (self._share * spectra) @ self._across
        colors = _mixed(self._colors, axes) * self._window
        images: Float32 = 1 / (1 + np.exp(-_CONTRAST * colors - self._middle))
        return images

    def displayed(self, images: Float32) -> Float32:
        """What people are shown of images: (N, H, W, 3), or (N, H, W) in gray."""
        shown: Float32 = images[:, list(self._spec.displayed)].transpose(0, 2, 3, 1)
        return shown[..., 0] if shown.shape[3] == 1 else shown

    def spectrum_gradients(self, gradients: Float32, images: Float32) -> Float32:
        """Gradients with respect to images as gradients with respect to their spectra."""
        inner = gradients * images * (1 - images) * (np.float32(_CONTRAST) * self._window)
        axes = _mixed(self._colors.T, inner)
        spectra: Float32 = self._share * (self._down @ axes @ self._across.T)
        return spectra

    def normalize(self, images: Float32) -> Float32:
        """Images as network input."""
        fed: Float32 = self._spec.swapped((images - self.mean) / self.std)
        return np.ascontiguousarray(fed, np.float32)

    def image_gradients(self, gradients: Float32) -> Float32:
        """Gradients with respect to the network's input as gradients with respect to images."""
        found: Float32 = self._spec.swapped(gradients) / self.std
        return found


def _mixed(matrix: Float32, images: Float32) -> Float32:
    """Every pixel's channels times a matrix (C, C), (N, C, H, W)."""
    mixed: Float32 = (matrix @ images.reshape(*images.shape[:2], -1)).reshape(images.shape)
    return mixed


def cosines(length: int) -> Float32:
    """The cosine transform (DCT-II) as an orthonormal matrix (length, length), a wave a row.

    Unlike with a Fourier transform, an image does not wrap around at its edges.
    """
    waves, places = np.arange(length)[:, None], np.arange(length) + 0.5
    matrix = np.sqrt(2 / length) * np.cos(np.pi / length * waves * places)
    matrix[0] /= np.sqrt(2)
    single: Float32 = matrix.astype(np.float32)
    return single


def variation_gradient(images: Float32) -> Float32:
    """The gradient of total variation, Σ √(Δx² + Δy² + ε²), for each image and channel apart.

    Mahendran & Vedaldi 2016, eq. 6 with β = 1; ε = 0.01 keeps it smooth where colors are alike.
    """
    down = np.diff(images, axis=2, append=images[:, :, -1:])
    across = np.diff(images, axis=3, append=images[..., -1:])
    length = np.sqrt(down**2 + across**2 + np.float32(_ROUND**2))
    down /= length
    across /= length
    gradient: Float32 = -down - across
    gradient[:, :, 1:] += down[:, :, :-1]
    gradient[..., 1:] += across[..., :-1]
    return gradient


def resampling(length: int, factor: float, shift: float) -> Float32:
    """The matrix (length, length) that shrinks a line of pixels by ``factor`` and shifts it.

    Triangular filter, widened by the factor (bilinear at a factor of 1); beyond the ends there is
    zero, which is the mean color. ``shift`` is in pixels of the line that is read.
    """
    half = length / 2
    centers = (np.arange(length) + 0.5 - half) * factor + half - 0.5 + shift
    reach = max(1.0, factor)
    triangles = np.maximum(0, 1 - np.abs(centers[:, None] - np.arange(length)) / reach) / reach
    return triangles.astype(np.float32)
