"""The demo network as it is trained: a small VGG with batch norm, for images of 224 by 224 pixels.

Laid out like the VGGs of Gluon's model zoo (``features`` and ``output``): blocks of 3x3
convolution, batch norm and ReLU with a max pool between blocks. The last block ends in a plain
ReLU, its map of 14 by 14 positions is averaged and one dense layer gives the logits.
"""

from __future__ import annotations

from typing import Any

from cnnviz.demo import CHANNELS, CLASSES
from cnnviz.engines.mxnet.runtime import import_mxnet


def build() -> Any:
    """A new demo network: a Gluon ``HybridBlock`` without parameters' values.

    It takes float32 ``(N, 3, 224, 224)``, RGB / 255 normalized with ImageNet's mean and standard
    deviation, and gives float32 ``(N, 8)`` logits in the order of
    :data:`cnnviz.demo.CLASSES`. ``features`` ends in a ReLU over ``(N, 128, 14, 14)``; the
    batch norm before that ReLU is the default layer of Grad-CAM.
    """
    mxnet = import_mxnet()
    nn = mxnet.gluon.nn

    class DemoNetwork(mxnet.gluon.HybridBlock):  # type: ignore[misc, name-defined]
        """``features``, then the mean of every channel, then ``output``."""

        def __init__(self) -> None:
            super().__init__(prefix="")
            with self.name_scope():
                self.features = nn.HybridSequential(prefix="")
                for number, block in enumerate(CHANNELS):
                    if number:
                        self.features.add(nn.MaxPool2D(pool_size=2, strides=2))
                    for channels in block:
                        self.features.add(
                            nn.Conv2D(channels, kernel_size=3, padding=1, use_bias=False)
                        )
                        self.features.add(nn.BatchNorm())
                        self.features.add(nn.Activation("relu"))
                self.pool = nn.GlobalAvgPool2D()
                self.output = nn.Dense(len(CLASSES))

        def hybrid_forward(self, F: Any, x: Any) -> Any:
            """Logits of a batch of preprocessed images."""
            return self.output(self.pool(self.features(x)))

    return DemoNetwork()
