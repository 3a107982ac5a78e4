"""What an image costs beside the network: processor time of every step, over all threads.

    python tests/benchmarks/image_costs.py [--size default] [--interpolation bicubic]
    python tests/benchmarks/image_costs.py --size model

Two images are synthesized from a photo in sample_images: a JPEG of 12 megapixels and one of
500 x 375. The maps are random, but of the shapes and smoothness that VGG's have, so no network is
run. Processor time, and not time on the clock, is what reading ahead and writing behind take away
from the network; it is also what a busy machine disturbs least. Medians of single runs.

Then the same four images in each format, by turns: their processor time by that of PNG, their size,
and by how many gray levels pixels are off.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from cnnviz.attribution import choose_methods  # noqa: E402
from cnnviz.explanation import Explanation  # noqa: E402
from cnnviz.graph.architecture import Layer  # noqa: E402
from cnnviz.images.decode import read_image, read_reduced  # noqa: E402
from cnnviz.images.input_spec import INTERPOLATIONS, InputSpec  # noqa: E402
from cnnviz.images.preprocessing import (  # noqa: E402
    canvas,
    output_shape,
    prepare,
    required_decode_size,
    to_image,
)
from cnnviz.outputs.files import OutputFolder  # noqa: E402
from cnnviz.outputs.formats import IMAGE_FORMATS, encode_image, encode_png  # noqa: E402
from cnnviz.rendering.maps import (  # noqa: E402
    grayscale,
    normalize_by_max,
    overlay,
    signed_color,
)
from cnnviz.rendering.style import Style  # noqa: E402


def photo_like(width, height, quality=90, grain=5.0):
    """A JPEG's bytes: an enlarged photo with the fine grain that a camera's sensor adds."""
    small = cv2.imread(str(ROOT / "sample_images/photos/cat.jpg"))
    large = cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)
    noise = np.random.default_rng(0).standard_normal(large.shape).astype(np.float32)
    noise = cv2.GaussianBlur(noise, (0, 0), 0.7)
    noise *= grain / noise.std()
    pixels = np.clip(np.rint(large + noise), 0, 255).astype(np.uint8)
    return cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()


def random_maps(spec):
    """Maps such as VGG gives: Grad-CAM 14 x 14 in patches, the others zero where that is."""
    rng = np.random.default_rng(1)
    patches = rng.standard_normal((5, 5)).astype(np.float32)
    cam = np.maximum(0, cv2.resize(patches, (14, 14), interpolation=cv2.INTER_CUBIC))
    gradient = rng.standard_normal((3, spec.height, spec.width)).astype(np.float32)
    guided = gradient * cv2.resize(cam, (spec.width, spec.height))
    return {"gradcam": cam, "guided_gradcam": guided, "saliency": np.abs(guided).sum(0)}


def cost(function, times):
    """Median processor time of a call in milliseconds, and what it returned."""
    spent = []
    for _ in range(times):
        before = time.process_time()
        result = function()
        spent.append(time.process_time() - before)
    return 1e3 * float(np.median(spent)), result


def measure(data, folder, style, spec, times):
    """(step, milliseconds) for one image."""
    maps = random_maps(spec)
    path = folder / "image.jpg"
    path.write_bytes(data)

    def needed(source):
        return required_decode_size(source, style.size, spec)

    rows = []

    def step(name, function):
        milliseconds, result = cost(function, times)
        rows.append((name, milliseconds))
        return result

    full_cost, full = cost(lambda: read_image(path), max(5, times // 3))
    reading = step("decode", lambda: read_reduced(path, needed))
    pixels = reading.pixels
    prepared = step("prepare", lambda: prepare(pixels, spec, reading.source))
    base = step("resize for drawing", lambda: canvas(pixels, prepared, style.size))

    def place(values):
        return to_image(values, base.geometry, base.shape)[0]

    def gradcam():
        placed, seen = to_image(maps["gradcam"], base.geometry, base.shape)
        heat, _ = normalize_by_max(placed)
        return overlay(base.image, heat, style.colormap, style.alpha, seen)

    guided = np.moveaxis(maps["guided_gradcam"], 0, 2)
    step("draw gradcam", gradcam)
    step("draw guided_gradcam", lambda: signed_color(guided, place))
    step("draw saliency", lambda: grayscale(maps["saliency"], place))

    layer = Layer("features.28", "conv", "Convolution", (512, 14, 14))
    explanation = Explanation(
        prepared, np.zeros(1000, np.float32), 0, (layer,), choose_methods(), (maps,), {}, None
    )
    drawn = explanation.render(base, style).images
    output = OutputFolder(folder / "out")
    sizes = {}
    for key, image in drawn.items():
        written = Path(f"{key}.png")
        file = step(f"write {key}", lambda p=image, w=written: output.write(w, encode_png(p)))
        sizes[key] = os.path.getsize(file) // 1000

    def whole():
        reading = read_reduced(path, needed)
        prepared = prepare(reading.pixels, spec, reading.source)
        base = canvas(reading.pixels, prepared, style.size)
        drawn = replace(explanation, prepared=prepared).render(base, style)
        for key, image in drawn.images.items():
            output.write(Path(f"{key}.png"), encode_png(image))

    total = cost(whole, times)[0]

    shape = output_shape(reading.source, style.size, spec)
    print(
        f"\n{full.shape[1]} x {full.shape[0]}, {len(data) / 1e6:.1f} MB; read at "
        f"{pixels.shape[1]} x {pixels.shape[0]} (in full: {full_cost:.1f} ms), written at "
        f"{shape[1]} x {shape[0]}"
    )
    for name, milliseconds in rows:
        size = sizes.get(name[len("write ") :]) if name.startswith("write ") else None
        print(f"  {name:24}{milliseconds:8.1f} ms" + (f"{size:7} kB" if size else ""))
    print(f"  {'sum of the steps':24}{sum(spent for _, spent in rows):8.1f} ms")
    print(f"  {'all in one':24}{total:8.1f} ms")
    compare_formats(list(drawn.values()), times)


def compare_formats(images, times):
    """Print what an image's files cost in each format."""

    def encoded(kind):
        return [b"".join(encode_image(image, kind)) for image in images]

    spent = {kind: [] for kind in IMAGE_FORMATS}
    for _ in range(times):
        for kind, own in spent.items():
            own.append(cost(lambda kind=kind: encoded(kind), 1)[0])
    for kind, own in spent.items():
        files = encoded(kind)
        off = []
        for image, data in zip(images, files, strict=True):
            read = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
            if image.ndim == 3:
                read = read[..., ::-1]
            elif read.ndim == 3:  # WebP has no gray
                read = read[..., 1]
            off.append(np.abs(read.astype(int) - image).mean())
        ratio = np.median([one / png for one, png in zip(own, spent["png"], strict=True)])
        print(
            f"  {kind:6}{np.median(own):6.1f} ms, {ratio:.2f} of PNG's; "
            f"{sum(map(len, files)) / 1000:6.0f} kB; off by {np.mean(off):.2f} on the mean, "
            f"{max(off):.2f} in the worst map"
        )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", default="default", help="default, full, model or a long side")
    parser.add_argument("--resize", default="stretch", choices=("stretch", "crop"))
    parser.add_argument("--interpolation", default="area", choices=INTERPOLATIONS)
    parser.add_argument("--threads", type=int, default=1, help="OpenCV's threads")
    parser.add_argument("--times", type=int, default=21)
    options = parser.parse_args()
    cv2.setNumThreads(options.threads)
    size = int(options.size) if options.size.isdigit() else options.size
    style = Style(size=size)
    spec = InputSpec(resize=options.resize, interpolation=options.interpolation)
    print(
        f"processor time, medians of {options.times}; OpenCV with {cv2.getNumThreads()} thread(s)"
    )
    with tempfile.TemporaryDirectory() as folder:
        for width, height in ((4000, 3000), (500, 375)):
            measure(photo_like(width, height), Path(folder), style, spec, options.times)


if __name__ == "__main__":
    main()
