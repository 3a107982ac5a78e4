"""How much is done at once: threads beside the network's, and images that share a pass."""

from __future__ import annotations

import math
import os
import sys
import threading

from cnnviz.engines.base import Device
from cnnviz.explainer import Explainer
from cnnviz.images.preprocessing import ImageSize
from cnnviz.machine import available_cores, single_threaded, threads

#: Images of a batch are ready together, so that larger ones let the first wait.
_LARGEST_BATCH = 8
#: Memory that explaining takes for each number that a layer outputs: float32, and by measurement
#: (batches of 1 to 5) 1.2 times as much as the outputs alone for VGG-16, 2.2 with batch norm, 3.0
#: for ResNet-50.
_BYTES_PER_VALUE = 4 * 4
_NICENESS = 10


#: Threads that wait for a network. An image takes some five requests of 20 to 100 ms each.
_WAITING = 8


def default_helpers(device: Device, size: ImageSize = "default", *, waits: bool = False) -> int:
    """How many threads read, and as many write, beside those of the network.

    A network on the CPU needs the cores itself. A GPU leaves all of them idle, and reading and
    writing then take longer than the network: as many threads of each kind as there are cores keep
    these busy, whichever kind of work there is more of. Images at full size take too much memory
    for that.

    Who restricts the network to one of several cores wants the others left alone. Where there is
    only one core, a thread that waits for the disk still saves time.

    Args:
        device: where the network is computed.
        size: of the images that are written.
        waits: whether they spend most of their time waiting for what is behind a URL.
    """
    cores = min(threads(), available_cores())
    if single_threaded() or cores == 1 < available_cores():
        return 0
    busy = cores if device.kind != "cpu" and size != "full" else max(1, cores // 4)
    return max(busy, _WAITING) if waits and size != "full" else busy


def automatic_batch_size(
    explainer: Explainer, images: int, size: ImageSize = "default", free: int | None = None
) -> int:
    """How many images to put through the network together.

    The largest power of two, 8 at most, that is no more than there are images and whose memory
    fits into half of what is free. 1 for images written at full size, because how much memory
    those take that wait is not known beforehand.

    Args:
        explainer: the network.
        images: how many there are.
        size: the size at which they are written.
        free: bytes; None asks the system (:meth:`cnnviz.engines.base.Engine.free_memory`).
    """
    if size == "full":
        return 1
    if free is None:
        free = explainer.network.engine.free_memory(explainer.network.device)
    one = _BYTES_PER_VALUE * sum(math.prod(layer.shape) for layer in explainer.network.layers)
    batch = 1
    while 2 * batch <= min(_LARGEST_BATCH, images) and 2 * (2 * batch * one) <= free:
        batch *= 2
    return batch


def lower_priority() -> None:
    """Let the network's threads go first: they stop as a team whenever one of them has to wait.

    Linux keeps a priority for each thread; elsewhere this would be the process's.
    """
    if sys.platform == "linux":
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)
