"""``cnnviz explain`` on what lies behind URLs and in archives."""

from __future__ import annotations

import errno
import json
import re
import tarfile
from contextlib import contextmanager

import pytest

from cnnviz.storage import retries
from cnnviz.storage.paths import opened_whole
from tests.support.http_server import serving

OPTIONS = ("--model", "demo", "--input-size", "96", "--method", "gradcam")


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
    return cnnviz("explain", *arguments, *OPTIONS)


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


class Killed(Exception):
    """As if the process had ended there."""


@pytest.fixture
def stop_after(monkeypatch):
    """A function that lets a run end, without any last words, after some images are recorded."""
    from cnnviz.runs.journal import Journal
    from cnnviz.runs.journal_files import JournalFile

    def stop(count):
        add, left = Journal.add, [count]

        def add_some(self, record):
            if not left[0]:
                raise Killed
            left[0] -= 1
            add(self, record)

        with monkeypatch.context() as patched:
            patched.setattr(Journal, "add", add_some)
            for kind in JournalFile.__subclasses__():
                patched.setattr(kind, "close", lambda self, *, done: self.file.close())
            yield

    return contextmanager(stop)


def objects(bucket, folder):
    """What lies below a folder of the bucket, by path; of the manifest nothing."""
    found = bucket.find(f"/bucket/{folder}") if bucket.exists(f"/bucket/{folder}") else []
    return {
        name.removeprefix(f"/bucket/{folder}/"): bucket.cat_file(name)
        for name in found
        if not name.endswith("manifest.json")
    }


def remote_records(bucket, folder):
    images = json.loads(bucket.cat_file(f"/bucket/{folder}/manifest.json"))["images"]
    return [{**image, "path": None, "seconds": None} for image in images]


@pytest.mark.needs("fsspec")
def test_a_run_into_a_bucket_writes_what_it_writes_into_a_folder(cnnviz, bucket, tmp_path):
    options = ("--arrays", "--panel")
    assert explain(cnnviz, "photos", "-o", "here", *options)[0] == 0
    status, _, err = explain(cnnviz, "photos", "-o", "memory://bucket/out", *options)
    assert status == 0
    assert "memory://bucket/out cannot be locked (it is behind a URL): make sure that no" in err
    assert "written to memory://bucket/out" in err
    assert objects(bucket, "out") == files(tmp_path, "here")
    assert remote_records(bucket, "out") == records(tmp_path, "here")


@pytest.mark.needs("fsspec")
def test_a_run_into_a_bucket_that_is_killed_goes_on(
    cnnviz, bucket, tmp_path, stop_after, monkeypatch
):
    monkeypatch.setattr("cnnviz.runs.journal_files._RECORDS", 1)
    output = ("memory://bucket", "-o", "memory://bucket/out")
    with stop_after(2), pytest.raises(Killed):
        explain(cnnviz, *output)
    parts = [name for name in objects(bucket, "out") if name.startswith(".cnnviz-journal")]
    assert len(parts) == 3  # the first line, and each image
    assert "manifest.json" not in bucket.ls("/bucket/out", detail=False)
    status, _, err = explain(cnnviz, *output)
    assert status == 0
    assert "3 explained (2 of them already done)" in err
    assert explain(cnnviz, "photos", "-o", "here")[0] == 0
    assert objects(bucket, "out") == files(tmp_path, "here")  # and no part is left
    assert remote_records(bucket, "out") == records(tmp_path, "here")


@pytest.mark.needs("fsspec")
def test_what_is_lost_of_a_journal_is_done_again(cnnviz, bucket, stop_after, monkeypatch):
    output = ("memory://bucket", "-o", "memory://bucket/out")
    with stop_after(2), pytest.raises(Killed):
        explain(cnnviz, *output)  # before anything was made a part
    assert "3 explained, in" in explain(cnnviz, *output)[2]
    monkeypatch.setattr("cnnviz.runs.journal_files._RECORDS", 1)
    with stop_after(2), pytest.raises(Killed):
        explain(cnnviz, *output, "--force")
    parts = sorted(name for name in objects(bucket, "out") if "journal" in name)
    damaged = f"/bucket/out/{parts[1]}"
    bucket.pipe_file(damaged, bucket.cat_file(damaged)[:-5])
    assert "3 explained, in" in explain(cnnviz, *output)[2]
    assert not any("journal" in name for name in objects(bucket, "out"))


@pytest.mark.needs("fsspec")
def test_another_run_into_the_same_folder_of_a_bucket(cnnviz, bucket, stop_after, monkeypatch):
    monkeypatch.setattr("cnnviz.runs.journal_files._RECORDS", 1)
    output = ("memory://bucket", "-o", "memory://bucket/out")
    with stop_after(2), pytest.raises(Killed):
        explain(cnnviz, *output)
    status, _, err = explain(cnnviz, *output, "--target", "7")
    assert status == 0
    assert "memory://bucket/out contains an earlier run with other options" in err
    assert "still has 2 files of earlier runs" in err  # the originals are the same
    assert "3 explained, in" in err
    assert not any("journal" in name for name in objects(bucket, "out"))


@pytest.mark.needs("fsspec")
def test_nothing_of_others_is_overwritten_in_a_bucket(cnnviz, bucket):
    bucket.pipe_file("/bucket/out/2_gradcam.png", b"mine")
    status, _, err = explain(cnnviz, "photos", "-o", "memory://bucket/out")
    assert status == 1
    assert "memory://bucket/out/2_gradcam.png exists and was not written by cnnviz" in err
    assert bucket.cat_file("/bucket/out/2_gradcam.png") == b"mine"
    assert "2_original.png" not in objects(bucket, "out")
    bucket.pipe_file("/bucket/out/manifest.json", b"mine")
    status, _, err = explain(cnnviz, "photos", "-o", "memory://bucket/out")
    assert status == 2
    assert "memory://bucket/out/manifest.json exists and was not written by cnnviz" in err


@pytest.mark.needs("fsspec")
def test_one_object_that_cannot_be_written_fails_its_image(cnnviz, bucket, monkeypatch):
    monkeypatch.setattr(retries, "_FIRST_WAIT", 0.001)
    write = type(bucket).pipe_file

    def pipe_file(self, path, value, **options):
        if path.endswith("/10_gradcam.png"):
            raise TimeoutError
        write(self, path, value, **options)

    monkeypatch.setattr(type(bucket), "pipe_file", pipe_file)
    status, _, err = explain(cnnviz, "photos", "-o", "memory://bucket/out")
    assert status == 1
    assert (
        "10.jpg: memory://bucket/out/10_gradcam.png cannot be written: the server did not answer "
        "in time (5 tries)." in err
    )
    written = objects(bucket, "out")
    assert "2_gradcam.png" in written
    assert "10_original.png" not in written


@pytest.mark.needs("fsspec")
def test_a_report_beside_a_run_in_a_bucket(cnnviz, bucket, tmp_path):
    assert explain(cnnviz, "photos", "-o", "here", "--report")[0] == 0
    status, _, err = explain(cnnviz, "photos", "-o", "memory://bucket/out", "--report")
    assert status == 0
    assert "report: memory://bucket/out/index.html" in err
    page = bucket.cat_file("/bucket/out/index.html").decode()
    assert '"2_original.png"' in page
    assert objects(bucket, "out").keys() == files(tmp_path, "here").keys()
    bucket.rm_file("/bucket/out/thumbnails/2_original.jpg")
    assert cnnviz("report", "memory://bucket/out") == (0, "memory://bucket/out/index.html\n", "")
    assert bucket.exists("/bucket/out/thumbnails/2_original.jpg")


@pytest.mark.needs("fsspec")
def test_an_evaluation_into_a_bucket(cnnviz, bucket, tmp_path):
    options = (*OPTIONS, "--metric", "sparseness")
    assert cnnviz("evaluate", "memory://bucket", *options, "-o", "here")[0] == 0
    assert cnnviz("evaluate", "memory://bucket", *options, "-o", "memory://bucket/out")[0] == 0
    table = bucket.cat_file("/bucket/out/evaluation.csv")
    assert table == (tmp_path / "here" / "evaluation.csv").read_bytes()
    assert sorted(objects(bucket, "out")) == ["evaluation.csv", "evaluation.json"]


def test_folders_that_cannot_be_written_to(cnnviz, photos):
    status, _, err = explain(cnnviz, "photos", "-o", "https://x.org/out")
    assert status == 2
    assert "The output folder https://x.org/out cannot be used: cnnviz writes to folders" in err


@pytest.mark.needs("http")
@pytest.mark.parametrize("weak", [False, True])
def test_files_over_http_are_read_again_only_if_they_are_others(cnnviz, photos, tmp_path, weak):
    names = ("/2.png", "/10.jpg")
    with serving({name: (photos / name[1:]).read_bytes() for name in names}) as server:
        server.weak = weak
        urls = [server.url + name for name in names]
        assert explain(cnnviz, *urls, "-o", "out", "--batch-size", 1)[0] == 0
        for changed in (None, "/10.jpg"):
            if changed:
                server.files[changed] = server.files["/2.png"]
            server.asked.clear()
            _, _, err = explain(cnnviz, *urls, "-o", "out", "--batch-size", 1)
            assert f"2 explained ({1 if changed else 2} of them already done)" in err
            asked = [f"{'GET' if weak else 'HEAD'} {name}" for name in names]
            asked += [f"GET {changed}"] * (changed is not None and not weak)
            assert sorted(server.asked) == sorted(asked)


@pytest.mark.needs("http")
def test_images_of_an_archive_behind_a_url_are_read_again_only_if_it_is_another(
    cnnviz, photos, tmp_path
):
    def packed(*names):
        with tarfile.open(tmp_path / "x.tar", "w") as tar:
            for name in names:
                tar.add(photos / name, name)
        return (tmp_path / "x.tar").read_bytes()

    def explained(server):
        server.asked.clear()
        _, _, err = explain(cnnviz, f"{server.url}/x.tar", "-o", "out")
        return err, server.asked.count("GET /x.tar")

    with serving({"/x.tar": packed("2.png", "10.jpg")}) as server:
        err, reads = explained(server)
        assert ("2 explained, in" in err, reads) == (True, 2)
        err, reads = explained(server)  # for the list
        assert ("2 explained (2 of them already done)" in err, reads) == (True, 1)
        server.files["/x.tar"] = packed("10.jpg", "2.png")
        err, reads = explained(server)  # the images are what they were, as reading them shows
        assert ("2 explained (2 of them already done)" in err, reads) == (True, 2)


def test_a_manifest_without_etags_is_continued(cnnviz, photos, tmp_path):
    assert explain(cnnviz, "photos", "-o", "out")[0] == 0
    path = tmp_path / "out" / "manifest.json"
    path.write_bytes(path.read_bytes().replace(b', "etag": null', b""))
    assert b"etag" not in path.read_bytes()
    assert cnnviz("report", "out")[0] == 0
    _, _, err = explain(cnnviz, "photos", "-o", "out")
    assert "3 explained (3 of them already done)" in err


@pytest.mark.needs("http")
def test_ground_truth_behind_a_signed_url(cnnviz, photos, tmp_path):
    with serving({"/labels.csv": b"2.png,0\n10.jpg,1\nsub/cat.png,1\n"}) as server:
        url = f"{server.url}/labels.csv?X-Amz-Signature=SECRET"
        status, _, err = explain(cnnviz, "photos", "--truth", url, "-o", "out")
    assert status == 0
    assert "accuracy" in err
    assert "SECRET" not in err
    manifest = (tmp_path / "out" / "manifest.json").read_text("ascii")
    assert "SECRET" not in manifest
    run = json.loads(manifest)["run"]
    assert run["ground_truth"] == {"source": f"{server.url}/labels.csv", "known": 3}
    assert run["parameters"]["truth"] == f"{server.url}/labels.csv"


def timeless(text):
    """A run's file without its times and where it lies."""
    text = re.sub(rb'"(?:seconds|started|output)": (?:"[^"]*"|[-0-9.e]+)', b"", text)
    return text.replace(b"memory://bucket/parts/", b"").replace(b"whole/", b"")


@pytest.mark.needs("fsspec")
def test_parts_of_a_run_into_a_bucket(cnnviz, bucket, tmp_path, stop_after, monkeypatch):
    """They come to what a single run writes, after one was killed, too."""
    monkeypatch.setattr("cnnviz.runs.journal_files._RECORDS", 1)
    options = ("--truth", "folders.csv", "--batch-size", "1")
    (tmp_path / "folders.csv").write_text("path,label\nphotos/2.png,fish\n")
    assert explain(cnnviz, "photos", "-o", "whole", *options)[0] == 0
    output = ("photos", "-o", "memory://bucket/parts", *options, "--shard")
    assert "Parts 2 and 3 of 3 are missing" in explain(cnnviz, *output, "1/3")[2]
    assert explain(cnnviz, *output, "3/3")[0] == 0
    with stop_after(1), pytest.raises(Killed):
        explain(cnnviz, *output, "2/3")
    status, _, err = cnnviz("merge", "memory://bucket/parts")
    assert status == 2
    assert "Part 2 of 3 is unfinished; the last part that is done merges them." in err
    status, _, err = explain(cnnviz, *output, "2/3")
    assert status == 0
    assert "make sure that nobody else does part 2 of 3." in err
    assert "2 explained (1 of them already done)" in err
    assert "all parts are merged: 3 images, in memory://bucket/parts/manifest.json" in err
    assert objects(bucket, "parts") == files(tmp_path, "whole")  # no journal, no part's file
    manifests = (
        bucket.cat_file("/bucket/parts/manifest.json"),
        (tmp_path / "whole/manifest.json").read_bytes(),
    )
    assert timeless(manifests[0]) == timeless(manifests[1])
    assert "1 explained (1 of them already done)" in explain(cnnviz, *output, "1/3")[2]


@pytest.fixture
def unreadable(bucket, monkeypatch):
    """A function that has an object be unreadable for some time."""
    whole = type(bucket).cat_file

    @contextmanager
    def refuse(name):
        def cat_file(self, path, start=None, end=None):
            if path.endswith(name):
                raise PermissionError("denied")
            return whole(self, path, start, end)

        with monkeypatch.context() as patched:
            patched.setattr(type(bucket), "cat_file", cat_file)
            yield

    return refuse


@pytest.mark.needs("fsspec")
def test_a_manifest_that_cannot_be_read_is_not_written_anew(
    cnnviz, bucket, unreadable, monkeypatch
):
    output = ("memory://bucket", "-o", "memory://bucket/out")
    assert explain(cnnviz, *output)[0] == 0
    manifest = "memory://bucket/out/manifest.json"
    before = bucket.cat_file("/bucket/out/manifest.json")

    def breaks(path):  # later than what is looked at beforehand
        if path.name != "manifest.json":
            return opened_whole(path)
        raise OSError(errno.EIO, "the server did not answer in time (5 tries)")

    with monkeypatch.context() as patched:
        patched.setattr("cnnviz.runs.run_index.opened_whole", breaks)
        for part in ((), ("--shard", "1/2")):
            status, _, err = explain(cnnviz, *output, *part)
            assert status == 2
            assert f"Error: {manifest} cannot be read: the server did not answer in time" in err
    with unreadable("manifest.json"):
        assert explain(cnnviz, *output)[::2] == (3, f"Error: {manifest}: there is no permission.\n")
    assert bucket.cat_file("/bucket/out/manifest.json") == before


@pytest.mark.needs("fsspec")
def test_parts_that_cannot_be_read_are_not_unfinished(cnnviz, bucket, unreadable, monkeypatch):
    output = ("photos", "-o", "memory://bucket/parts", "--batch-size", "1", "--shard")
    assert explain(cnnviz, *output, "1/2")[0] == 0
    problem = "memory://bucket/parts/manifest.part-1-of-2.json cannot be read: there is no"
    with unreadable("manifest.part-1-of-2.json"):
        status, _, err = explain(cnnviz, *output, "2/2")
        assert status == 2
        assert problem in err
        status, _, err = cnnviz("merge", "memory://bucket/parts")
        assert status == 2
        assert problem in err
    assert cnnviz("merge", "memory://bucket/parts")[0] == 0

    def ls(_self, path, **_options):
        raise PermissionError("denied")

    with monkeypatch.context() as patched:
        patched.setattr(type(bucket), "ls", ls)
        status, _, err = cnnviz("merge", "memory://bucket/parts")
    assert (status, err) == (3, "Error: memory://bucket/parts: there is no permission.\n")
    status, _, err = cnnviz("merge", "memory://bucket/nowhere")
    assert status == 2
    assert "memory://bucket/nowhere has no parts of a run" in err


@pytest.mark.needs("fsspec")
def test_parts_of_an_evaluation_into_a_bucket(cnnviz, bucket, tmp_path):
    command = ("evaluate", "photos", *OPTIONS, "--metric", "sparseness")
    assert cnnviz(*command, "-o", "whole")[0] == 0
    for number in (2, 1):
        status, _, err = cnnviz(*command, "-o", "memory://bucket/parts", "--shard", f"{number}/2")
    assert status == 0
    assert "all parts are merged: 3 images" in err
    assert sorted(objects(bucket, "parts")) == ["evaluation.csv", "evaluation.json"]
    found = bucket.cat_file("/bucket/parts/evaluation.json")
    assert timeless(found) == timeless((tmp_path / "whole/evaluation.json").read_bytes())
