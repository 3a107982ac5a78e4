"""How many requests, and of which kind, does an image from a bucket into a bucket make?

Run by hand, where ``cnnviz[s3]`` and ``moto[server]`` are installed::

    python tests/benchmarks/bucket_requests.py [--images 200] [--method gradcam]

An S3 server runs on this machine, behind a proxy that takes note of all requests
(``tests/support/s3_server.py``). The command runs over objects of a bucket, then once more when all
is done, and over the same images in a tar archive. Requests are counted, not timed.
"""

from __future__ import annotations

import argparse
import io
import os
import subprocess
import sys
import tarfile
import urllib.parse
from collections import Counter
from typing import Any

import common
import cv2

sys.path.insert(0, str(common.ROOT / "tests" / "support"))

from s3_server import s3_server

SIZE = (500, 375)
BUCKET = "s3://photos"


def filesystem(url: str) -> Any:
    """The bucket as it is seen here, not through the proxy's count."""
    import s3fs

    return s3fs.S3FileSystem(key="one", secret="two", endpoint_url=url)


def fill(files: Any, images: int) -> None:
    """Put the images there, and a tar of them."""
    files.mkdir("photos")
    data = cv2.imencode(".jpg", common.photo_like(SIZE, 0), common.JPEG)[1].tobytes()
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for number in range(images):
            files.pipe(f"photos/single/{number:06}.jpg", data)
            member = tarfile.TarInfo(f"{number:06}.jpg")
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    files.pipe("photos/packed/x-000000.tar", packed.getvalue())
    print(f"{images} JPEGs of {len(data)} bytes")


def kind(method: str, path: str) -> str:
    """What a request is called in a bill."""
    query = urllib.parse.parse_qs(urllib.parse.urlsplit(path).query, keep_blank_values=True)
    if method == "GET" and "list-type" in query:
        return "LIST"
    return method


def explain(proxy: Any, inputs: str, output: str, options: list[str]) -> Counter[str]:
    """The command's requests."""
    proxy.requests.clear()
    command = [sys.executable, "-m", "cnnviz", "explain", f"{BUCKET}/{inputs}", "-m", "demo"]
    command += ["-o", f"{BUCKET}/{output}", "--size", "model", "--quiet", *options]
    own = {"AWS_ENDPOINT_URL": proxy.url, "AWS_ACCESS_KEY_ID": "one"}
    own |= {"AWS_SECRET_ACCESS_KEY": "two", "AWS_DEFAULT_REGION": "us-east-1"}
    subprocess.run(command, check=True, env={**os.environ, **own}, stdout=subprocess.DEVNULL)
    return Counter(kind(*request) for request in proxy.requests)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument(
        "--method", default="gradcam", help="how many files that means, see explain"
    )
    options = parser.parse_args()
    with s3_server() as proxy:
        fill(filesystem(proxy.url), options.images)
        given = ["--method", options.method]
        runs = {
            "objects": explain(proxy, "single", "a", given),
            "again, all done": explain(proxy, "single", "a", given),
            "a tar": explain(proxy, "packed", "b", given),
        }
    kinds = sorted(set().union(*runs.values()))
    print("requests an image".ljust(20) + "".join(one.rjust(9) for one in kinds))
    for name, counts in runs.items():
        each = (f"{counts[one] / options.images:9.3f}" for one in kinds)
        print(name.ljust(20) + "".join(each))


if __name__ == "__main__":
    main()
