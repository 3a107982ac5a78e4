"""A run from one place of a real S3 server to another, with what can go wrong between."""

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
from tests.support.s3_server import s3_server

pytestmark = pytest.mark.needs("s3")

SECRET = "wJalrXUtnFEMIK7MDENG"
ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE",
    "AWS_SECRET_ACCESS_KEY": SECRET,
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_MAX_ATTEMPTS": "1",  # botocore has tries and waits of its own
}


@pytest.fixture(scope="module")
def server():
    with s3_server() as proxy:
        yield proxy


@pytest.fixture
def bucket(server, monkeypatch, photos, tmp_path):
    """The photos in a bucket of their own."""
    import s3fs

    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "no-such-file"))
    for name, value in {**ENVIRONMENT, "AWS_ENDPOINT_URL": server.url}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(retries, "_FIRST_WAIT", 0.001)
    monkeypatch.setattr(s3fs.S3FileSystem, "retries", 1)  # and so has s3fs
    s3fs.S3FileSystem.clear_instance_cache()
    server.fault = lambda _method, _path: None
    name = tmp_path.name.replace("_", "-").lower()
    system = s3fs.S3FileSystem(use_listings_cache=False)
    system.mkdir(name)
    for path in photos.rglob("*.*"):
        system.pipe_file(f"{name}/in/{path.relative_to(photos).as_posix()}", path.read_bytes())
    server.requests.clear()
    yield f"s3://{name}"
    server.fault = lambda _method, _path: None
    s3fs.S3FileSystem.clear_instance_cache()


def explain(cnnviz, *arguments):
    return cnnviz("explain", *arguments, "--model", "demo", "--method", "gradcam", "--report")


def objects(url):
    root = RemotePath.of(url)
    return {path.path_from(root): path.read_bytes() for path in root.below()}


def files(folder):
    found = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}


def records(manifest):
    """What a manifest says of its images, but for where they lie and how long they took."""
    return [{**one, "path": None, "seconds": None} for one in json.loads(manifest)["images"]]


def assert_same(bucket, folder):
    """Whether a run into the bucket has written what one into a folder did."""
    ours, theirs = objects(f"{bucket}/out"), files(folder)
    assert ours.keys() == theirs.keys()
    assert records(ours["manifest.json"]) == records(theirs["manifest.json"])
    images = [name for name in ours if name.endswith((".png", ".jpg"))]
    assert {name: ours[name] for name in images} == {name: theirs[name] for name in images}


def test_from_a_bucket_into_a_bucket(cnnviz, bucket, tmp_path, server):
    status, out, _ = explain(cnnviz, f"{bucket}/in", "-o", f"{bucket}/out")
    assert (status, out.splitlines()[0].partition(":")[0]) == (0, "s3")
    assert explain(cnnviz, "photos", "-o", "here")[0] == 0
    assert_same(bucket, tmp_path / "here")
    # Each image is fetched once, and its length known from the list.
    fetched = [path for method, path in server.requests if "/in/" in path and method == "GET"]
    assert len(fetched) == 3
    assert not [path for method, path in server.requests if "/in/" in path and method == "HEAD"]
    assert (
        "3 explained (3 of them already done)"
        in (explain(cnnviz, f"{bucket}/in", "-o", f"{bucket}/out")[2])
    )


def test_a_list_of_more_than_a_page(bucket, server, monkeypatch):
    import s3fs

    system = s3fs.S3FileSystem()
    folder = f"{bucket}/many"
    monkeypatch.setattr(Store, "page", 4)
    for number in range(10):
        system.pipe_file(f"{folder}/{number % 2}/{number}.jpg", b"x")
    names = [str(one.relative) for one in find_sources([folder]).sources]
    assert names == [f"{last}/{number}.jpg" for last in (0, 1) for number in range(last, 10, 2)]
    assert sum("list-type=2" in path for _, path in server.requests) == 4  # and one for its kind


@pytest.mark.parametrize("fault", [503, 500, "dropped", "truncated", "slow"])
def test_what_passes_is_not_noticed(cnnviz, bucket, tmp_path, server, fault):
    """Every request fails at first; those that may be tried again are."""
    failed = set()

    def once(method, path):
        if fault == "truncated" and method != "GET":
            return None
        if (method, path) in failed:
            return None
        failed.add((method, path))
        return fault

    server.fault = once
    status, _, err = explain(cnnviz, f"{bucket}/in", "-o", f"{bucket}/out")
    assert status == 0, err
    assert len(failed) > 10
    server.fault = lambda _method, _path: None
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
    server.fault = lambda method, path: fault if path.endswith("/in/10.jpg") else None
    status, _, err = explain(cnnviz, f"{bucket}/in", "-o", f"{bucket}/out")
    assert status == 1
    assert f"Error: {bucket}/in/10.jpg: " in err
    assert reason in err
    assert SECRET not in err
    assert "2 explained, 1 failed" in err
    server.fault = lambda _method, _path: None
    _, _, err = explain(cnnviz, f"{bucket}/in", "-o", f"{bucket}/out")
    assert "3 explained (2 of them already done)" in err


def test_objects_that_cannot_be_written(cnnviz, bucket, server):
    def fails(ending, status):
        server.fault = lambda method, path: (
            status if method == "PUT" and path.endswith(ending) else None
        )

    fails("/out/10_gradcam.png", 503)
    status, _, err = explain(cnnviz, f"{bucket}/in", "-o", f"{bucket}/out")
    assert status == 1
    assert f"{bucket}/out/10_gradcam.png cannot be written: the server answered with stat" in err
    assert "10_original.png" not in objects(f"{bucket}/out")
    fails("manifest.json", 503)
    status, _, err = explain(cnnviz, f"{bucket}/in", "-o", f"{bucket}/out")
    assert status == 1
    assert f"{bucket}/out/manifest.json cannot be written" in err
    server.fault = lambda _method, _path: None
    status, _, err = explain(cnnviz, f"{bucket}/in", "-o", f"{bucket}/out")
    assert "3 explained (3 of them already done)" in err


def test_a_bucket_that_is_not_there_or_closed(cnnviz, bucket, server):
    assert explain(cnnviz, "s3://no-such-bucket-here/x", "-o", "out")[0] == 2
    status, _, err = explain(cnnviz, "photos", "-o", "s3://no-such-bucket-here/x")
    assert status == 2
    assert "The output folder s3://no-such-bucket-here/x cannot be used" in err
    server.fault = lambda method, _path: 403 if method == "PUT" else None
    status, _, err = explain(cnnviz, "photos", "-o", f"{bucket}/out")
    assert status == 2
    assert "there is no permission" in err


@pytest.mark.subprocess
def test_a_process_that_is_killed_goes_on(bucket, tmp_path, server, cnnviz):
    """Killed at the manifest, when all images are done."""
    command = [sys.executable, "-m", "cnnviz", "explain", f"{bucket}/in", "-o", f"{bucket}/out"]
    command += ["--model", "demo", "--method", "gradcam"]
    started = []

    def kill(method, path):
        if method == "PUT" and path.endswith("manifest.json"):
            started[0].kill()
            return "dropped"
        return None

    server.fault = kill
    with subprocess.Popen(command, stderr=subprocess.PIPE, env=dict(os.environ)) as process:
        started.append(process)
        process.communicate()
    assert process.returncode == -9
    assert "manifest.json" not in objects(f"{bucket}/out")
    server.fault = lambda _method, _path: None
    again = subprocess.run(command, capture_output=True, text=True, check=False)
    assert again.returncode == 0, again.stderr
    assert "manifest.json" in objects(f"{bucket}/out")
    assert not any("journal" in name for name in objects(f"{bucket}/out"))
