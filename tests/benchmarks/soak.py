"""Ten thousand small images in one run: do memory, handles and threads stay flat?

Run by hand::

    python tests/benchmarks/soak.py

The command is run as a user runs it, on a folder of small images of all kinds, some of them
broken, with the embedded network. Its worker process is watched from outside (``/proc``). What was
found, on 2 cores (AMD EPYC), Linux 6.18, Python 3.11.7::

       100 images: 436 MiB resident, 5 open files, 13 threads
      1000 images: 455 MiB resident, 5 open files, 13 threads
      2000 images: 467 MiB resident, 5 open files, 13 threads
      5000 images: 498 MiB resident, 6 open files, 13 threads
      8000 images: 498 MiB resident, 5 open files, 13 threads
     10000 images: 499 MiB resident, 5 open files, 11 threads
    exit status 1; 9800 explained, 200 failed
      of 10000 images, 200 of them broken
      in the manifest: 9800 explained, 200 failed
      left behind: 0 temporary files

Memory grows by 14 % within the first 5,000 images, and then stays where it is.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import common
import cv2
import numpy as np

SUFFIXES = (".png", ".jpg", ".webp", ".bmp", ".tif")
SIZES = ((60, 80), (33, 21), (120, 90), (64, 64))
BROKEN = 50  # one image in so many
EVERY = 1000


def make_images(folder: Path, number: int) -> int:
    """Write them, in folders of a hundred; how many are broken."""
    broken = 0
    for place in range(number):
        path = folder / f"{place // 100:03}" / f"{place}{SUFFIXES[place % len(SUFFIXES)]}"
        path.parent.mkdir(parents=True, exist_ok=True)
        random = np.random.RandomState(place)
        coarse = random.randint(0, 256, (6, 8, 3), np.uint8)
        pixels = cv2.resize(coarse, SIZES[place % len(SIZES)], interpolation=cv2.INTER_CUBIC)
        if not cv2.imwrite(str(path), pixels):
            raise OSError(f"{path} could not be written")
        if place % BROKEN == BROKEN - 1:
            data = path.read_bytes()
            path.write_bytes(data[: len(data) // 3])
            broken += 1
    return broken


def worker_of(process: int) -> int:
    """The process that was started by another."""
    for name in os.listdir("/proc"):
        if name.isdecimal():
            try:
                status = Path(f"/proc/{name}/stat").read_text()
            except OSError:  # it has ended
                continue
            if int(status.rpartition(")")[2].split()[1]) == process:
                return int(name)
    raise SystemExit("the worker is not there")


def state(process: int) -> tuple[float, int, int]:
    """Resident MiB, open files, threads."""
    status = Path(f"/proc/{process}/status").read_text()
    fields = dict(line.split(":", 1) for line in status.splitlines())
    return (
        int(fields["VmRSS"].split()[0]) / 1024,
        len(os.listdir(f"/proc/{process}/fd")),
        int(fields["Threads"]),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="memory and handles over a long run")
    parser.add_argument("--images", type=int, default=10_000)
    options = parser.parse_args()
    if options.images < EVERY:
        parser.error(f"give at least {EVERY} images: nothing is seen with fewer")
    print(common.machine())
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        broken = make_images(folder / "images", options.images)
        command = [sys.executable, "-m", "cnnviz", "explain", "images", "--model", "demo"]
        began = time.perf_counter()
        with open(folder / "errors", "wb") as errors:
            process = subprocess.Popen(
                [*command, "--json"], cwd=folder, stdout=subprocess.PIPE, stderr=errors
            )
            counts = {"ok": 0, "failed": 0}
            seen: dict[int, tuple[float, int, int]] = {}
            for line in process.stdout or ():
                counts[json.loads(line)["status"]] += 1
                done = sum(counts.values())
                if done % EVERY == 0 or done == EVERY // 10:
                    seen[done] = state(worker_of(process.pid))
                    resident, files, threads = seen[done]
                    print(
                        f"  {done:6} images: {resident:.0f} MiB resident, {files} open files, "
                        f"{threads} threads"
                    )
            status = process.wait()
        took = time.perf_counter() - began
        manifest = json.loads((folder / "explanations/manifest.json").read_text())
        left = sum(path.name.startswith(".cnnviz-") for path in folder.rglob("*"))
    summary = manifest["summary"]
    print(f"exit status {status}; {counts['ok']} explained, {counts['failed']} failed")
    print(f"  of {options.images} images, {broken} of them broken, in {took:.0f} s")
    print(f"  in the manifest: {summary['ok']} explained, {summary['failed']} failed")
    print(f"  left behind: {left} temporary files")
    first, *_, last = seen.values()
    print(
        f"after all by after {next(iter(seen))} images: {last[0] / first[0] - 1:+.1%} resident, "
        f"{last[1] - first[1]:+d} open files, {last[2] - first[2]:+d} threads"
    )


if __name__ == "__main__":
    main()
