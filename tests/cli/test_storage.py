"""``cnnviz explain`` on what lies behind URLs and in archives."""

from __future__ import annotations

import json
import tarfile

import pytest

from cnnviz.storage import retries


@pytest.fixture
def bucket(photos):
    """The photos in a bucket in memory."""
    import fsspec

    system = fsspec.filesystem("memory")
    for path in photos.rglob("*.*"):
        system.pipe_file(f"/bucket/{path.relative_to(photos).as_posix()}", path.read_bytes())
    yield system
    system.rm("/bucket", recursive=True)


def explain(cnnviz, *arguments):
    return cnnviz("explain", *arguments, "--model", "demo", "--method", "gradcam")


def records(tmp_path, folder):
    """What a manifest says of its images, but for where they lie and how long they took."""
    images = json.loads((tmp_path / folder / "manifest.json").read_text("ascii"))["images"]
    return [{**image, "path": None, "seconds": None} for image in images]


def files(tmp_path, folder):
    """What was written, by path; of the manifest nothing."""
    found = sorted(path for path in (tmp_path / folder).rglob("*.*") if path.suffix != ".json")
    return {str(path.relative_to(tmp_path / folder)): path.read_bytes() for path in found}


@pytest.mark.needs("fsspec")
def test_a_bucket_gives_what_its_folder_gives(cnnviz, bucket, tmp_path):
    assert explain(cnnviz, "photos", "-o", "here")[0] == 0
    status, out, _ = explain(cnnviz, "memory://bucket", "-o", "there")
    assert status == 0
    assert out.startswith("memory://bucket/2.png: ")
    assert records(tmp_path, "there") == records(tmp_path, "here")
    assert files(tmp_path, "there") == files(tmp_path, "here")
    _, _, err = explain(cnnviz, "memory://bucket", "-o", "there")
    assert "3 explained (3 of them already done)" in err
    bucket.pipe_file("/bucket/2.png", (tmp_path / "photos" / "10.jpg").read_bytes())
    _, _, err = explain(cnnviz, "memory://bucket", "-o", "there")
    assert "3 explained (2 of them already done)" in err


@pytest.mark.needs("fsspec")
def test_one_object_that_cannot_be_read_fails_alone(cnnviz, bucket, tmp_path, monkeypatch):
    monkeypatch.setattr(retries, "_FIRST_WAIT", 0.001)
    whole = type(bucket).cat_file

    def cat_file(self, path, start=None, end=None):
        data = whole(self, path, start, end)
        return data[:-1] if path.endswith("10.jpg") else data

    monkeypatch.setattr(type(bucket), "cat_file", cat_file)
    status, _, err = explain(cnnviz, "memory://bucket", "-o", "out")
    assert status == 1
    size = (tmp_path / "photos" / "10.jpg").stat().st_size
    assert (
        "Error: memory://bucket/10.jpg: it cannot be read: "
        f"only {size - 1:,} of {size:,} bytes came (5 tries)" in err
    )
    assert [image["status"] for image in records(tmp_path, "out")] == ["ok", "failed", "ok"]


@pytest.mark.subprocess
def test_an_archive_gives_what_its_folder_gives(photos, tmp_path, cnnviz):
    with tarfile.open(tmp_path / "photos.tar", "w") as tar:
        for name in ("2.png", "10.jpg", "sub/cat.png"):
            tar.add(photos / name, name)
    assert explain(cnnviz, "photos", "-o", "here")[0] == 0
    status, out, _ = explain(cnnviz, "photos.tar", "-o", "there")
    assert status == 0
    assert out.startswith("photos.tar/2.png: ")
    assert records(tmp_path, "there") == records(tmp_path, "here")
    assert files(tmp_path, "there") == files(tmp_path, "here")


@pytest.mark.needs("http")
def test_secrets_of_a_url_stand_nowhere(cnnviz, photos, tmp_path, monkeypatch):
    from tests.support.http_server import serving

    monkeypatch.setattr(retries, "_FIRST_WAIT", 0.001)
    with serving({"/a/cat.png": (photos / "2.png").read_bytes()}) as server:
        address = server.url.removeprefix("http://")
        signed = f"http://user:SECRET@{address}/a/%s.png?X-Amz-Signature=SECRET"
        server.faults["/a/cat.png"] = [503, "reset"]
        said = explain(cnnviz, signed % "cat", signed % "gone", "-o", "out", "--report")
        again = explain(cnnviz, signed % "cat" + "2", signed % "gone", "-o", "out", "--report")
    assert said[0] == 1
    assert said[1].startswith(f"http://{address}/a/cat.png: ")
    assert f"Error: http://{address}/a/gone.png: there is no such file" in said[2]
    assert "1 explained (1 of them already done), 1 failed" in again[2]  # signed anew
    written = [tmp_path / "out" / name for name in ("manifest.json", "index.html")]
    for text in (*said[1:], *again[1:], *(path.read_text() for path in written)):
        assert "SECRET" not in text


def test_paths_need_no_fsspec(photos, cnnviz, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "fsspec", None)
    assert explain(cnnviz, "photos", "-o", "out")[0] == 0
    status, _, err = explain(cnnviz, "s3://bucket/x", "-o", "out")
    assert status == 2
    assert 'which are not both installed: `pip install "cnnviz[s3]"` installs them.' in err
