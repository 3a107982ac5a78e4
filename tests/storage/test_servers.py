"""A run from one place of a store to another, on real servers, with what can go wrong between."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from cnnviz.images.sources import find_sources
from cnnviz.storage import retries
from cnnviz.storage.remote import RemotePath
from cnnviz.storage.stores import Store
from tests.support.store_servers import SECRET, SERVERS, serving


@pytest.fixture(
    scope="module", params=[pytest.param(one, marks=pytest.mark.needs(one)) for one in SERVERS]
)
def store(request):
    return SERVERS[request.param]


@pytest.fixture(scope="module")
def server(store):
    with serving(store) as proxy:
        yield proxy


def no_fault(_request):
    return None


@pytest.fixture
def bucket(store, server, monkeypatch, photos, tmp_path):
    """The photos in a bucket of their own."""
    kind = store.connect(server.url, monkeypatch, tmp_path)
    monkeypatch.setattr(retries, "_FIRST_WAIT", 0.001)
    kind.clear_instance_cache()
    server.fault = no_fault
    name = tmp_path.name.replace("_", "-").lower()
    system = kind(use_listings_cache=False)
    system.mkdir(name)
    for path in photos.rglob("*.*"):
        system.pipe_file(f"{name}/in/{path.relative_to(photos).as_posix()}", path.read_bytes())
    server.requests.clear()
    yield f"{store.scheme}://{name}"
    server.fault = no_fault
    kind.clear_instance_cache()


def explain(cnnviz, *arguments):
    options = ("--model", "demo", "--method", "gradcam", "--batch-size", "1", "--report")
    return cnnviz("explain", *arguments, *options)


def objects(url):
    root = RemotePath.of(url)
    return {path.path_from(root): path.read_bytes() for path in root.below()}


def files(folder):
    found = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}


def records(manifest):
    """What a manifest says of its images, but for where they lie and how long they took."""
    images = json.loads(manifest)["images"]
    return [{**image, "path": None, "etag": None, "seconds": None} for image in images]


def assert_same(bucket, folder):
    """Whether a run into the bucket has written what one into a folder did."""
    ours, theirs = objects(f"{bucket}/out"), files(folder)
    assert ours.keys() == theirs.keys()
    assert records(ours["manifest.json"]) == records(theirs["manifest.json"])
    images = [name for name in ours if name.endswith((".png", ".jpg"))]
    assert {name: ours[name] for name in images} == {name: theirs[name] for name in images}


def test_from_a_bucket_into_a_bucket(cnnviz, bucket, tmp_path, server):
    status, out, _ = explain(cnnviz, f"{bucket}/in", "-o", f"{bucket}/out")
    assert (status, out.splitlines()[0].partition(":")[0]) == (0, bucket.partition(":")[0])
    assert explain(cnnviz, "photos", "-o", "here")[0] == 0
    assert_same(bucket, tmp_path / "here")
    # Each image is fetched once, and its length known from the list.
    assert server.count("read", "in/") == 3
    assert server.count("stat", "in/") == 0
    # Again none is: the list says that they are what they were.
    server.requests.clear()
    _, _, err = explain(cnnviz, f"{bucket}/in", "-o", f"{bucket}/out")
    assert "3 explained (3 of them already done)" in err
    assert (server.count("read", "in/"), server.count("stat", "in/")) == (0, 0)
    # Other contents of the same length; the same contents in another place.
    data = bytearray((tmp_path / "photos" / "10.jpg").read_bytes())
    data[13] ^= 1  # in its header, the unit of its resolution
    RemotePath.of(f"{bucket}/in/10.jpg").write([data])
    RemotePath.of(f"{bucket}/in2/2.png").write([(tmp_path / "photos" / "2.png").read_bytes()])
    server.requests.clear()
    _, _, err = explain(cnnviz, f"{bucket}/in", "-o", f"{bucket}/out")
    assert "3 explained (2 of them already done)" in err
    assert server.count("read", "in/") == 1
    _, _, err = explain(cnnviz, f"{bucket}/in2", "-o", f"{bucket}/out")
    assert "1 explained, in" in err


def test_an_archive_a_list_and_the_report_made_again(cnnviz, bucket, tmp_path, monkeypatch):
    import io
    import tarfile

    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as tar:
        for name in ("2.png", "sub/cat.png"):
            tar.add(tmp_path / "photos" / name, name)
    RemotePath.of(f"{bucket}/shards/x-0.tar").write([data.getvalue()])
    listed = f"{bucket}/shards\n{bucket}/in/10.jpg\nphotos/2.png\n".encode()
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(listed)))
    status, out, err = explain(cnnviz, "-", "-o", f"{bucket}/out")
    assert status == 0, err
    assert [line.partition(": ")[0] for line in out.splitlines()] == [
        f"{bucket}/shards/x-0.tar/2.png",
        f"{bucket}/shards/x-0.tar/sub/cat.png",
        f"{bucket}/in/10.jpg",
        "photos/2.png",
    ]
    page = RemotePath.of(f"{bucket}/out/index.html")
    before = page.read_bytes()
    page.unlink()
    assert cnnviz("report", f"{bucket}/out")[0] == 0
    assert page.read_bytes() == before


@pytest.mark.parametrize(
    "store", [pytest.param("s3", marks=pytest.mark.needs("s3"))], indirect=True
)
def test_a_list_of_more_than_a_page(bucket, server, monkeypatch):
    folder = RemotePath.of(f"{bucket}/many")
    monkeypatch.setattr(Store, "page", 4)
    for number in range(10):
        (folder / f"{number % 2}/{number}.jpg").write([b"x"])
    names = [str(one.relative) for one in find_sources([str(folder)]).sources]
    assert names == [f"{last}/{number}.jpg" for last in (0, 1) for number in range(last, 10, 2)]
    assert server.count("list") == 4  # and one for its kind


@pytest.mark.parametrize("fault", [503, 500, "dropped", "truncated", "slow"])
def test_what_passes_is_not_noticed(cnnviz, bucket, tmp_path, server, fault):
    """Every request fails at first; those that may be tried again are."""
    failed = set()

    def once(request):
        if (fault == "truncated" and request.method != "GET") or request in failed:
            return None
        failed.add(request)
        return fault

    server.fault = once
    status, _, err = explain(cnnviz, f"{bucket}/in", "-o", f"{bucket}/out")
    assert status == 0, err
    assert len(failed) > 10
    server.fault = no_fault
    assert explain(cnnviz, "photos", "-o", "here")[0] == 0
    assert_same(bucket, tmp_path / "here")


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (503, "the server answered with status 503 (5 tries)"),
        ("dropped", "the connection broke"),
        ("truncated", "the connection broke"),
        (404, "there is no such file"),
        (403, "there is no permission to read it"),
    ],
)
def test_what_stays_fails_that_image_alone(cnnviz, bucket, server, fault, reason):
    server.fault = lambda request: fault if request.key == "in/10.jpg" else None
    status, _, err = explain(cnnviz, f"{bucket}/in", "-o", f"{bucket}/out")
    assert status == 1
    assert f"Error: {bucket}/in/10.jpg: " in err
    assert reason in err
    assert SECRET not in err
    assert "2 explained, 1 failed" in err
    server.fault = no_fault
    _, _, err = explain(cnnviz, f"{bucket}/in", "-o", f"{bucket}/out")
    assert "3 explained (2 of them already done)" in err


def test_objects_that_cannot_be_written(cnnviz, bucket, server):
    def fails(key, status):
        server.fault = lambda request: (
            status if request.does == "write" and request.key == key else None
        )

    fails("out/10_gradcam.png", 503)
    status, _, err = explain(cnnviz, f"{bucket}/in", "-o", f"{bucket}/out")
    assert status == 1
    assert f"{bucket}/out/10_gradcam.png cannot be written: the server answered with stat" in err
    assert "10_original.png" not in objects(f"{bucket}/out")
    fails("out/manifest.json", 503)
    status, _, err = explain(cnnviz, f"{bucket}/in", "-o", f"{bucket}/out")
    assert status == 1
    assert f"{bucket}/out/manifest.json cannot be written" in err
    server.fault = no_fault
    status, _, err = explain(cnnviz, f"{bucket}/in", "-o", f"{bucket}/out")
    assert "3 explained (3 of them already done)" in err


def test_a_bucket_that_is_not_there_or_closed(cnnviz, bucket, server):
    nowhere = f"{bucket}-not-here/x"
    assert explain(cnnviz, nowhere, "-o", "out")[0] == 2
    status, _, err = explain(cnnviz, "photos", "-o", nowhere)
    assert status == 2
    assert f"The output folder {nowhere} cannot be used" in err
    server.fault = lambda request: 403 if request.does == "write" else None
    status, _, err = explain(cnnviz, "photos", "-o", f"{bucket}/out")
    assert status == 2
    assert "there is no permission" in err


def test_parts_and_their_merge(cnnviz, bucket):
    options = ("-m", "demo", "--method", "gradcam")
    command = ("explain", f"{bucket}/in", *options, "-o", f"{bucket}/out", "--shard")
    said = [cnnviz(*command, f"{number}/3") for number in (3, 1)]
    assert [status for status, _, _ in said] == [0, 0]
    status, _, err = cnnviz("merge", f"{bucket}/out")
    assert status == 2
    assert "of 3 is missing" in err or "of 3 are missing" in err
    status, _, err = cnnviz(*command, "2/3", "--report")
    assert status == 0
    assert f"all parts are merged: 3 images, in {bucket}/out/manifest.json" in err
    assert cnnviz("explain", f"{bucket}/in", *options, "-o", f"{bucket}/whole", "--report")[0] == 0
    out, whole = (
        [one.path_from(folder) for one in sorted(folder.below(), key=str)]
        for folder in (RemotePath.of(f"{bucket}/out"), RemotePath.of(f"{bucket}/whole"))
    )
    assert out == whole  # no journal, and no part's file, is left


@pytest.mark.subprocess
def test_a_process_that_is_killed_goes_on(bucket, tmp_path, server, cnnviz):
    """Killed at the manifest, when all images are done."""
    command = [sys.executable, "-m", "cnnviz", "explain", f"{bucket}/in", "-o", f"{bucket}/out"]
    command += ["--model", "demo", "--method", "gradcam"]
    started = []

    def kill(request):
        if request.does == "write" and request.key == "out/manifest.json":
            started[0].kill()
            return "dropped"
        return None

    server.fault = kill
    with subprocess.Popen(command, stderr=subprocess.PIPE, env=dict(os.environ)) as process:
        started.append(process)
        process.communicate()
    assert process.returncode == -9
    assert "manifest.json" not in objects(f"{bucket}/out")
    server.fault = no_fault
    again = subprocess.run(command, capture_output=True, text=True, check=False)
    assert again.returncode == 0, again.stderr
    assert "manifest.json" in objects(f"{bucket}/out")
    assert not any("journal" in name for name in objects(f"{bucket}/out"))
