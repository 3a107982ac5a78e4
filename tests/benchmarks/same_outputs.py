"""Does this version give what another one gave? A dozen runs of both, compared to the last bit.

    python tests/benchmarks/same_outputs.py --before COMMIT [--only demo] [--keep FOLDER]

Both run on this machine, with this Python, one after the other: the numbers of two machines differ
in their last bits. Arrays are compared bit by bit, images pixel by pixel, manifests key by key but
for times and versions. Prints what differs, with the size of the difference; exits with 1 if
anything does. The real networks beside the checkout (``../shared/real``) are taken where they are.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from common import ROOT, write_weights

REAL = ROOT.parent / "shared" / "real"
SCENES = ROOT / "sample_images" / "scenes"
PHOTOS = ROOT / "sample_images" / "photos"
METHODS = (
    "gradcam",
    "gradcam-plusplus",
    "xgradcam",
    "layercam",
    "hirescam",
    "eigencam",
    "scorecam",
    "ablationcam",
    "guided-gradcam",
    "guided-backprop",
    "saliency",
    "gradient",
    "deconvnet",
    "input-x-gradient",
    "smoothgrad",
    "integrated-gradients",
    "occlusion",
    "rise",
)
#: Enough passes to differ if anything does.
FEW = {
    "smoothgrad.samples": 3,
    "integrated-gradients.steps": 4,
    "occlusion.window": 64,
    "occlusion.stride": 64,
    "rise.masks": 12,
}
#: What says when, where and with what something was computed.
IGNORED = {"started", "seconds", "versions", "fingerprint", "parameters"}


@dataclass(frozen=True)
class Case:
    """One run: what it is called, and the arguments of ``cnnviz explain``."""

    name: str
    arguments: tuple[str, ...]


def every_method(*few: str) -> tuple[str, ...]:
    """All methods, with options that cost little; further ones replace these."""
    chosen = {**FEW, **dict(option.split("=") for option in few)}
    methods = [word for method in METHODS for word in ("--method", method)]
    return (*methods, *(word for key, value in chosen.items() for word in ("-O", f"{key}={value}")))


def cases(weights: Path) -> Iterator[Case]:
    """The runs."""
    scenes = sorted(map(str, SCENES.glob("*.png")))
    photos = sorted(map(str, PHOTOS.glob("*.jpg")))
    demo = (*scenes[:3], "-m", "demo")
    yield Case("demo, as it comes", (str(ROOT / "sample_images"), "-m", "demo"))
    yield Case("demo, every method", (*demo, *every_method()))
    yield Case("demo, layers", (*demo, "--layer", "stages", "--panel", "--target", "top2"))
    yield Case(
        "demo, rules and contrast",
        (
            *demo,
            *("--method", "gradient", "--relu", "standard", "--relu", "guided"),
            *("--relu", "deconvnet", "--method", "gradcam", "--contrast", "predicted:second"),
            *("--scale", "run", "--report", "--size", "model"),
        ),
    )
    yield Case("demo, one at a time", (*demo, "--batch-size", "1", "--resize", "crop"))
    vgg = (*photos[:1], "-m", "vgg16", "--weights", str(weights))
    yield Case("vgg16, as it comes", vgg)
    yield Case("vgg16, every method but two", (*vgg, *_without("scorecam", "ablationcam")))
    if REAL.is_dir():
        real = sorted(map(str, (REAL / "photos").glob("*.jpg")))
        squeezenet = (*real[:2], "-m", "squeezenet1.1", "--weights")
        squeezenet = (*squeezenet, str(REAL / "squeezenet1.1.params"))
        yield Case("squeezenet, as it comes", squeezenet)
        yield Case("squeezenet, every method", (*squeezenet[1:], *every_method()))
        yield Case("squeezenet, layers", (*squeezenet, "--layer", "stages", "--target", "36"))
        cifar = (*real, "-m", str(REAL / "cifar_resnet56-symbol.json"), "--input-size", "32")
        cifar = (*cifar, "--mean", ".4914,.4822,.4465", "--std", ".2023,.1994,.2010")
        yield Case("cifar, as it comes", cifar)
        few = ("occlusion.window=8", "occlusion.stride=8")
        yield Case("cifar, every method", (*cifar, *every_method(*few)))


def _without(*methods: str) -> tuple[str, ...]:
    """Every method but these, which take a pass a channel."""
    words = every_method()
    kept = []
    for place, word in enumerate(words):
        if word in methods or (word == "--method" and words[place + 1] in methods):
            continue
        kept.append(word)
    return tuple(kept)


def explain(tree: Path, case: Case, output: Path) -> None:
    """Run a case with the code in a tree."""
    command = (sys.executable, "-m", "cnnviz", "explain", *case.arguments)
    done = subprocess.run(
        (*command, "-q", "--arrays", "-o", str(output)),
        env={**os.environ, "PYTHONPATH": str(tree)},
        cwd=output.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"{case.name} with {tree}: exit {done.returncode}\n{done.stderr}")


def differences(before: Path, after: Path, old: Path) -> Iterator[str]:
    """What differs between two output folders; the first is from the code in ``old``."""
    names = {path.relative_to(folder) for folder in (before, after) for path in folder.rglob("*.*")}
    for name in sorted(names):
        one, other = before / name, after / name
        if not (one.is_file() and other.is_file()):
            yield f"{name} is only in the {'old' if one.is_file() else 'new'} output"
        elif name.suffix == ".npz":
            yield from (f"{name}: {text}" for text in array_differences(one, other))
        elif name.suffix in (".png", ".jpg"):
            a, b = (cv2.imread(str(path), cv2.IMREAD_UNCHANGED) for path in (one, other))
            if a.shape != b.shape:
                yield f"{name}: {a.shape} has become {b.shape}"
            elif (a != b).any():
                apart = np.abs(a.astype(int) - b)
                yield f"{name}: {np.mean(apart > 0):.2%} of values differ, by up to {apart.max()}"
        elif name.suffix == ".json":
            texts = (path.read_text().replace(str(old), str(ROOT)) for path in (one, other))
            a, b = map(json.loads, texts)
            yield from (f"{name}: {text}" for text in value_differences(a, b, ""))


def array_differences(before: Path, after: Path) -> Iterator[str]:
    """What differs between two archives of arrays."""
    with np.load(before) as one, np.load(after) as other:
        for key in sorted({*one.files, *other.files}):
            if key not in one.files or key not in other.files:
                yield f"{key} is only in one"
            elif one[key].dtype != other[key].dtype or one[key].shape != other[key].shape:
                yield f"{key} has become {other[key].dtype} {other[key].shape}"
            elif one[key].tobytes() != other[key].tobytes():
                if one[key].dtype.kind != "f":
                    yield f"{key} has become {other[key]}"
                    continue
                a, b = one[key].astype(float), other[key].astype(float)
                apart = np.linalg.norm(a - b) / max(np.linalg.norm(a), 1e-300)
                yield f"{key} differs by {apart:.1e} (relative L2)"


def value_differences(before: Any, after: Any, where: str) -> Iterator[str]:
    """What differs between two JSON values."""
    if isinstance(before, dict) and isinstance(after, dict):
        for key in sorted({*before, *after} - IGNORED):
            if key not in before or key not in after:
                yield f"{where}{key} is only in the {'old' if key in before else 'new'} one"
            else:
                yield from value_differences(before[key], after[key], f"{where}{key}.")
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        for place, (one, other) in enumerate(zip(before, after, strict=True)):
            yield from value_differences(one, other, f"{where}{place}.")
    elif before != after:
        yield f"{where.rstrip('.')} was {str(before)[:60]} and is {str(after)[:60]}"


def main() -> int:
    """Compare; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--before", required=True, help="the commit to compare with")
    parser.add_argument("--only", default="", help="only runs whose name has this in it")
    parser.add_argument("--keep", type=Path, help="where the outputs stay")
    parser.add_argument("--most", type=int, default=12, help="lines a run")
    arguments = parser.parse_args()
    differing = 0
    with tempfile.TemporaryDirectory() as temporary:
        work = arguments.keep or Path(temporary)
        work.mkdir(parents=True, exist_ok=True)
        weights = write_weights(Path(temporary) / "vgg16.params")
        old = Path(temporary) / "old"
        git = ("git", "-C", str(ROOT), "worktree")
        subprocess.run((*git, "add", "-q", "--detach", str(old), arguments.before), check=True)
        try:
            for number, case in enumerate(cases(weights)):
                if arguments.only not in case.name:
                    continue
                folders = []
                for tree, which in ((old, "before"), (ROOT, "after")):
                    folders.append(work / f"{number:02}-{which}")
                    explain(tree, case, folders[-1])
                found = list(differences(*folders, old))
                differing += bool(found)
                print(f"{case.name}: {'the same' if not found else f'{len(found)} differences'}")
                for line in found[: arguments.most]:
                    print(f"    {line}")
        finally:
            subprocess.run((*git, "remove", "--force", str(old)), check=True)
    return 1 if differing else 0


if __name__ == "__main__":
    sys.exit(main())
