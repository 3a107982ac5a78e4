"""What the benchmarks share: weights from a seed, the machine in words, medians and spreads."""

from __future__ import annotations

import os
import platform
import resource
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
#: (width, height)
TWELVE_MEGAPIXELS = (4000, 3000)
PHOTO = ROOT / "sample_images" / "photos" / "cat.jpg"
JPEG = (cv2.IMWRITE_JPEG_QUALITY, 90)


def seeded_parameters(model: str) -> dict[str, Any]:
    """A VGG's parameters, by Gluon's names: He-scaled, from a seed, the same on every machine."""
    sys.path.insert(0, str(ROOT / "tests" / "reference"))
    try:
        import seeded
    finally:
        del sys.path[0]
    from cnnviz.models import zoo

    shapes = zoo.parameter_shapes(zoo.get(model))
    return {name: seeded.parameter(name, shape) for name, shape in shapes.items()}


def write_weights(path: Path, model: str = "vgg16") -> Path:
    """Write such parameters as a ``.params`` file, which ``--weights`` takes."""
    from cnnviz.weights.params_file import write_params

    write_params(path, seeded_parameters(model))
    return path


def photo_like(size: tuple[int, int], seed: int) -> Any:
    """A photo of the samples, enlarged, with grain such as a sensor has: BGR, uint8."""
    photos = sorted(PHOTO.parent.glob("*.jpg"))
    photo = cv2.imread(str(photos[seed % len(photos)]))
    large = cv2.resize(photo, size, interpolation=cv2.INTER_CUBIC)
    grain = np.empty((min(size[1], 1000), min(size[0], 1000), 3), np.int8)
    cv2.setRNGSeed(seed)
    cv2.randn(grain, 0, 6)
    repeats = (-(-size[1] // grain.shape[0]), -(-size[0] // grain.shape[1]), 1)
    whole = np.tile(grain, repeats)[: size[1], : size[0]]
    return cv2.add(large, whole, dtype=cv2.CV_8U)


def machine() -> str:
    """Processor, cores, system and how busy it was, as a benchmark has to state them."""
    from cnnviz.machine import available_cores

    names = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    ]
    load = ", ".join(f"{value:.2f}" for value in os.getloadavg())
    return (
        f"{names[0] if names else platform.machine()}, {available_cores()} cores, "
        f"{platform.system()} {platform.release()}, Python {platform.python_version()}; "
        f"load before the run (1, 5, 15 minutes): {load}; {time.strftime('%Y-%m-%d %H:%M')}"
    )


class Neighbors:
    """How much of the processors others took, from making this to :meth:`share`."""

    def __init__(self) -> None:
        self._before = self._read()

    @staticmethod
    def _read() -> tuple[float, float, float]:
        """Core-seconds: of the machine's clock, busy or stolen, and of our own in both."""
        # user, nice, system, idle, iowait, irq, softirq, steal, and guests (in user already)
        ticks = [int(word) for word in Path("/proc/stat").read_text().split("\n")[0].split()[1:9]]
        tick = os.sysconf("SC_CLK_TCK")
        own = 0.0
        for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN):
            used = resource.getrusage(who)
            own += used.ru_utime + used.ru_stime
        return sum(ticks) / tick, (sum(ticks) - ticks[3] - ticks[4]) / tick, own

    def share(self) -> str:
        """In words; all children must have been waited for."""
        total, busy, own = (
            now - then for now, then in zip(self._read(), self._before, strict=True)
        )
        return f"Others took {max(0.0, busy - own) / total:.0%} of the processors during the run."


def spread(values: Sequence[float], digits: int = 3) -> str:
    """``median [lower quartile, upper quartile]``."""
    if len(values) < 2:
        return f"{values[0]:.{digits}f}"
    lower, middle, upper = statistics.quantiles(values, n=4, method="inclusive")
    return f"{middle:.{digits}f} [{lower:.{digits}f}, {upper:.{digits}f}]"


def seconds(function: Callable[[], Any]) -> float:
    """How long a call takes."""
    began = time.perf_counter()
    function()
    return time.perf_counter() - began


def interleaved(
    functions: Sequence[Callable[[], Any]], rounds: int, warm: int = 2
) -> list[list[float]]:
    """Seconds of each function in each round, after rounds to warm up.

    Each round calls all of them, one after the other, and starts one further on than the round
    before: what disturbs the machine for a while, and what a neighbor leaves in the caches, then
    falls on all alike.
    """
    for _ in range(warm):
        for function in functions:
            function()
    times: list[list[float]] = [[] for _ in functions]
    for turn in range(rounds):
        for place in range(len(functions)):
            which = (turn + place) % len(functions)
            times[which].append(seconds(functions[which]))
    return times


def ratios(times: Sequence[float], by: Sequence[float]) -> list[float]:
    """Round by round, one by the other."""
    return [one / other for one, other in zip(times, by, strict=True)]


def resident_mib(field: str = "VmRSS") -> float:
    """This process's resident size now (``VmRSS``) or at its peak (``VmHWM``), in MiB."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) / 1024
    raise OSError(f"the system does not tell {field}")
