"""cnnviz against pytorch-grad-cam and captum: the same VGG-16, image, maps and threads.

Run by hand, on a machine that does nothing else::

    python -m venv peers
    peers/bin/pip install torch==2.13.0 "numpy<2" captum==0.9.0 safetensors ttach matplotlib tqdm \
        scikit-learn scipy opencv-python-headless==4.11.0.86
    peers/bin/pip install --no-deps grad-cam==1.5.7
    python tests/benchmarks/compare_peers.py --peers peers/bin/python

(the CPU build of torch will do; the last ``python`` is one that has cnnviz). ``README.md`` in this
folder says what is and what is not compared.

Every contender lives in a process of its own, since two frameworks in one would share OpenMP, and
is told its turn over a pipe: first one pass whose maps are compared with cnnviz's, then rounds in
which each makes one pass, timed by itself, while all others sleep.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import types
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

MODEL = "vgg16"
TOLERANCE = 1e-3
#: What each contender makes of one image, as NumPy arrays.
MAPS = ("gradcam", "guided_backprop", "guided_gradcam", "saliency")
CONTENDERS = (
    "cnnviz",
    "pytorch-grad-cam, as shipped",
    "pytorch-grad-cam, weights frozen",
    "captum, as shipped",
    "captum, weights frozen",
)
#: Between two turns, for OpenMP's threads of the one before to stop spinning.
PAUSE = 0.05

Maps = dict[str, Any]
Pass = Callable[[], Maps]


# --- in a contender's own process ----------------------------------------------------------------


def cnnviz_pass(folder: Path, threads: int) -> tuple[Pass, str]:
    """One call of :meth:`cnnviz.Explainer.explain`, from prepared pixels to maps."""
    import cnnviz
    from cnnviz.images.preprocessing import prepare

    methods = cnnviz.choose_methods(("gradcam", "guided-backprop", "guided-gradcam", "saliency"))
    explainer = cnnviz.load(
        MODEL, weights=folder / "weights.safetensors", methods=methods, progress=False
    )
    prepared = prepare(np.load(folder / "image.npy"), explainer.spec)

    def explain() -> Maps:
        (explanation,) = explainer.explain([prepared])
        return {
            **explanation.maps,
            "logits": explanation.logits,
            "target": np.int64(explanation.target),
        }

    mxnet = cnnviz.import_mxnet()
    return explain, f"cnnviz {cnnviz.__version__}, mxnet {mxnet.__version__}"


def vgg16_module(side: int = 7) -> Any:
    """VGG-16 as torchvision lays it out, but for ReLUs that leave their input alone.

    torchvision's work in place: captum's hooks refuse that, and pytorch-grad-cam would then see
    the layer's output after the ReLU that follows it. ``side`` is the last maps' height and width.
    """
    from torch import nn

    features: list[Any] = []
    channels = 3
    for repeats, filters in zip((2, 2, 3, 3, 3), (64, 128, 256, 512, 512), strict=True):
        for _ in range(repeats):
            features += [nn.Conv2d(channels, filters, kernel_size=3, padding=1), nn.ReLU()]
            channels = filters
        features.append(nn.MaxPool2d(kernel_size=2, stride=2))

    class Vgg16(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.features = nn.Sequential(*features)
            self.classifier = nn.Sequential(
                nn.Linear(512 * side * side, 4096),
                nn.ReLU(),
                nn.Dropout(),
                nn.Linear(4096, 4096),
                nn.ReLU(),
                nn.Dropout(),
                nn.Linear(4096, 1000),
            )

        def forward(self, x: Any) -> Any:
            return self.classifier(self.features(x).flatten(1))

    return Vgg16().eval()


def torch_vgg(folder: Path, frozen: bool) -> Any:
    """The same with the weights in the folder."""
    from safetensors.torch import load_file

    network = vgg16_module()
    network.load_state_dict(load_file(str(folder / "weights.safetensors")))
    return network.requires_grad_(not frozen)


def gradcam_pass(folder: Path, threads: int, frozen: bool) -> tuple[Pass, str]:
    """As in pytorch-grad-cam's own example: GradCAM, GuidedBackpropReLUModel, their product."""
    torch = torch_with(threads)
    stand_in_for_torchvision()
    from pytorch_grad_cam import GradCAM, GuidedBackpropReLUModel

    network = torch_vgg(folder, frozen)
    layer = network.features[28]
    pixels = np.load(folder / "input.npy")
    target = int(np.load(folder / "target.npy"))

    class Target:
        def __call__(self, logits: Any) -> Any:
            return logits[target]

    def explain() -> Maps:
        batch = torch.from_numpy(pixels.copy())
        # With every weight frozen, only an input that wants a gradient gives GradCAM anything.
        batch.requires_grad_(frozen)
        with GradCAM(network, [layer]) as method:
            (cam,) = method(batch, targets=[Target()])
            logits = method.outputs
        guided = GuidedBackpropReLUModel(network, device="cpu")
        gradient = guided(torch.from_numpy(pixels.copy()), target_category=target)
        gradient = gradient.transpose(2, 0, 1)
        product = gradient * cam
        return {
            "gradcam": cam,
            "guided_backprop": gradient,
            "guided_gradcam": product,
            "saliency": np.abs(product).sum(axis=0),
            "logits": logits.detach().numpy()[0],
        }

    from importlib.metadata import version

    return explain, f"pytorch-grad-cam {version('grad-cam')}, torch {torch.__version__}"


def captum_pass(folder: Path, threads: int, frozen: bool) -> tuple[Pass, str]:
    """LayerGradCam and GuidedBackprop, multiplied as captum's GuidedGradCam multiplies them.

    Not GuidedGradCam itself: it makes the same two passes and keeps the Grad-CAM to itself.
    """
    torch = torch_with(threads)
    import captum
    from captum.attr import GuidedBackprop, LayerAttribution, LayerGradCam

    warnings.filterwarnings("ignore", message="Setting backward hooks on ReLU activations")
    network = torch_vgg(folder, frozen)
    pixels = np.load(folder / "input.npy")
    target = int(np.load(folder / "target.npy"))
    cams = LayerGradCam(network, network.features[28])
    guided = GuidedBackprop(network)

    def explain() -> Maps:
        batch = torch.from_numpy(pixels.copy())
        cam = cams.attribute(batch, target=target, relu_attributions=True)
        batch.requires_grad_()
        gradient = guided.attribute(batch, target=target)
        product = gradient * LayerAttribution.interpolate(cam, tuple(batch.shape[2:]), "bilinear")
        return {
            "gradcam": cam[0, 0].detach().numpy(),
            "guided_backprop": gradient[0].detach().numpy(),
            "guided_gradcam": product[0].detach().numpy(),
            "saliency": product[0].detach().abs().sum(dim=0).numpy(),
        }

    return explain, f"captum {captum.__version__}, torch {torch.__version__}"


def torch_with(threads: int) -> Any:
    import torch

    torch.set_num_threads(threads)
    return torch


def stand_in_for_torchvision() -> None:
    """Let pytorch-grad-cam be imported where torchvision is not installed.

    It imports four names from it, for test-time augmentation and images' transforms; none is
    used by what is measured here. Whatever does use one fails.
    """
    try:
        import torchvision  # noqa: F401
    except ImportError:
        pass
    else:
        return

    def absent(*_: Any, **__: Any) -> Any:
        raise RuntimeError("this benchmark runs without torchvision")

    root = types.ModuleType("torchvision")
    transforms = types.ModuleType("torchvision.transforms")
    functional = types.ModuleType("torchvision.transforms.functional")
    vars(transforms).update(Compose=absent, Normalize=absent, ToTensor=absent)
    vars(functional).update(resize=absent)
    vars(root).update(transforms=transforms)
    vars(transforms).update(functional=functional)
    for module in (root, transforms, functional):
        sys.modules[module.__name__] = module


def make_pass(contender: str, folder: Path, threads: int) -> tuple[Pass, str]:
    name, _, mode = contender.partition(", ")
    if name == "cnnviz":
        return cnnviz_pass(folder, threads)
    maker = gradcam_pass if name == "pytorch-grad-cam" else captum_pass
    return maker(folder, threads, mode == "weights frozen")


def keep_freed_memory() -> None:
    """What ``cnnviz explain`` does for its process, for any contender."""
    mallopt = ctypes.CDLL(None).mallopt
    for parameter, value in ((-4, 0), (-1, -1), (-8, 1)):  # no mmap, no trimming, one arena
        if not mallopt(parameter, value):
            raise OSError(f"malloc refuses parameter {parameter}")


def work(contender: str, folder: Path, threads: int, keep_memory: bool) -> None:
    """Answer the parent's lines: ``save FILE`` and ``time``, until its pipe closes."""
    if keep_memory:
        keep_freed_memory()
    # Libraries may print; what the parent reads must not mix with that.
    replies = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    explain, versions = make_pass(contender, folder, threads)
    print(json.dumps(versions), file=replies, flush=True)
    for line in sys.stdin:
        command, _, argument = line.strip().partition(" ")
        if command == "save":
            np.savez(argument, **explain())
            reply: Any = "saved"
        else:
            began = time.perf_counter()
            explain()
            reply = time.perf_counter() - began
        print(json.dumps(reply), file=replies, flush=True)


# --- in the parent -------------------------------------------------------------------------------


class Worker:
    """A contender in its own process."""

    def __init__(
        self, contender: str, python: str, folder: Path, threads: int, keep_memory: bool
    ) -> None:
        self.contender = contender
        variables = {**os.environ, "OMP_NUM_THREADS": str(threads)}
        command = [python, __file__, "--worker", contender, "--folder", str(folder)]
        self._process = subprocess.Popen(
            [*command, "--threads", str(threads), *["--keep-memory"] * keep_memory],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=variables,
        )
        self.versions = self._reply()

    def ask(self, command: str) -> Any:
        assert self._process.stdin is not None
        self._process.stdin.write(command + "\n")
        self._process.stdin.flush()
        return self._reply()

    def _reply(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"{self.contender} ended with status {self._process.wait()}")
        return json.loads(line)

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


def stretched(cam: Any) -> Any:
    """What pytorch-grad-cam does with a Grad-CAM: from 0 to 1, enlarged, and from 0 to 1 again."""
    import cv2

    def normalized(values: Any) -> Any:
        values = values - values.min()
        return values / (1e-7 + values.max())

    return normalized(cv2.resize(normalized(cam), (224, 224)))


def expected_of(contender: str, ours: Maps) -> Maps:
    """cnnviz's maps in the contender's own normalization."""
    if not contender.startswith("pytorch-grad-cam"):
        return ours
    cam = stretched(ours["gradcam"])
    product = ours["guided_backprop"] * cam
    return {
        **ours,
        "gradcam": cam,
        "guided_gradcam": product,
        "saliency": np.abs(product).sum(axis=0),
    }


def compare(workers: list[Worker], folder: Path) -> None:
    """Print how far every map of every peer is from cnnviz's; stop if one is too far."""
    found = {}
    for number, worker in enumerate(workers):
        file = folder / f"maps{number}.npz"
        worker.ask(f"save {file}")
        with np.load(file) as archive:
            found[worker.contender] = dict(archive)
    ours = found.pop(CONTENDERS[0])
    print(f"Relative L2 distance from cnnviz's maps (at most {TOLERANCE:g} allowed):")
    worst = 0.0
    for contender, theirs in found.items():
        expected = expected_of(contender, ours)
        distances = {}
        for name in theirs:
            if theirs[name].shape != expected[name].shape:
                raise SystemExit(f"{contender}: {name} has another shape than cnnviz's")
            truth = expected[name].astype(np.float64)
            distances[name] = float(np.linalg.norm(theirs[name] - truth) / np.linalg.norm(truth))
        worst = max([worst, *distances.values()])
        listed = ", ".join(f"{name} {far:.1e}" for name, far in distances.items())
        print(f"  {contender}: {listed}")
    if not worst <= TOLERANCE:
        raise SystemExit("The maps do not agree; nothing was timed.")


def prepare_folder(folder: Path) -> None:
    """Weights, image and network input, for all contenders."""
    import common
    from safetensors.numpy import save_file

    from cnnviz.images.decode import read_image
    from cnnviz.images.preprocessing import InputSpec, prepare

    dense = {"features.31": "classifier.0", "features.33": "classifier.3", "output": "classifier.6"}
    arrays = {}
    for name, array in common.seeded_parameters(MODEL).items():
        module, _, kind = name.rpartition(".")
        arrays[f"{dense.get(module, module)}.{kind}"] = array
    save_file(arrays, str(folder / "weights.safetensors"))
    image = read_image(common.PHOTO)
    np.save(folder / "image.npy", image)
    np.save(folder / "input.npy", prepare(image, InputSpec()).input[np.newaxis])


def main() -> None:
    parser = argparse.ArgumentParser(description="cnnviz against pytorch-grad-cam and captum")
    parser.add_argument("--peers", help="a Python that has torch, captum and pytorch-grad-cam")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, help="by default, all cores")
    parser.add_argument(
        "--keep-memory",
        action="store_true",
        help="let all contenders keep the memory that they free, as `cnnviz explain` does",
    )
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        work(options.worker, options.folder, options.threads, options.keep_memory)
        return
    if not options.peers:
        parser.error("--peers is needed: see the top of this file")

    import common

    from cnnviz.machine import available_cores

    threads = options.threads or available_cores()
    print(common.machine())
    neighbors = common.Neighbors()
    print(f"{MODEL}, one image of 224x224, {threads} threads, {options.rounds} rounds")
    print(f"freed memory {'kept' if options.keep_memory else 'given back'}\n")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepare_folder(folder)
        workers = []
        try:
            for contender in CONTENDERS:
                python = sys.executable if contender == "cnnviz" else options.peers
                workers.append(Worker(contender, python, folder, threads, options.keep_memory))
                if contender == "cnnviz":
                    # The peers explain the class that cnnviz found to be the highest.
                    workers[0].ask(f"save {folder / 'first.npz'}")
                    with np.load(folder / "first.npz") as archive:
                        np.save(folder / "target.npy", archive["target"])
                        blank = not archive["gradcam"].any()
                    if blank:
                        raise SystemExit("The Grad-CAM is blank and would compare nothing.")
            compare(workers, folder)

            def turn(worker: Worker) -> float:
                time.sleep(PAUSE)
                return float(worker.ask("time"))

            times: list[list[float]] = [[] for _ in workers]
            for number in range(-2, options.rounds):  # two to warm up
                for place in range(len(workers)):
                    which = (number + place) % len(workers)
                    took = turn(workers[which])
                    if number >= 0:
                        times[which].append(took)
        finally:
            for worker in workers:
                worker.close()

    print("\nSeconds an image, median [quartiles], lowest; and by cnnviz's in the same round:")
    for worker, own in zip(workers, times, strict=True):
        ratio = common.spread(common.ratios(own, times[0]), 2)
        print(
            f"  {worker.contender:34} {common.spread(own)}  {min(own):.3f}   x {ratio}"
            f"   ({worker.versions})"
        )
    medians = {w.contender: statistics.median(own) for w, own in zip(workers, times, strict=True)}
    best = min((value, key) for key, value in medians.items() if key != "cnnviz")
    shipped = medians["pytorch-grad-cam, as shipped"]
    print(f"\ncnnviz is {best[0] / medians['cnnviz']:.2f} times as fast as the best, {best[1]};")
    print(f"and {shipped / medians['cnnviz']:.2f} times as fast as pytorch-grad-cam as shipped.")
    print("Goals: 2.3 and 6.")
    print(neighbors.share())


if __name__ == "__main__":
    main()
