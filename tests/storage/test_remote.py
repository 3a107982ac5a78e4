"""Files and folders behind URLs: listed, read and, where that can be, written."""

from __future__ import annotations

import pickle
from contextlib import suppress
from pathlib import PurePosixPath

import pytest

from cnnviz.errors import ImageError, UsageError
from cnnviz.images.files import read_bytes
from cnnviz.images.source import Source, SourceWriter
from cnnviz.images.sources import find_sources
from cnnviz.outputs.marks import MANIFEST_START, written_by_cnnviz
from cnnviz.storage import retries
from cnnviz.storage.archives import Archive, ArchiveMember
from cnnviz.storage.remote import RemotePath
from cnnviz.storage.stores import Entry
from tests.support.http_server import serving

#: What is found is the same wherever lists are kept.
pytestmark = pytest.mark.usefixtures("anywhere")

needs_http = pytest.mark.needs("http")
needs_fsspec = pytest.mark.needs("fsspec")


@pytest.fixture(autouse=True)
def _no_waits(monkeypatch):
    monkeypatch.setattr(retries, "_FIRST_WAIT", 0.001)


@pytest.fixture
def bucket():
    """An empty bucket in memory."""
    import fsspec

    system = fsspec.filesystem("memory")
    yield system
    with suppress(FileNotFoundError):
        system.rm("/bucket", recursive=True)


def relatives(*arguments, **options):
    return [str(one.relative) for one in find_sources(arguments, **options).sources]


@needs_fsspec
def test_a_folder_is_listed_as_one_of_this_machine_is(bucket, tmp_path):
    names = ["10.jpg", "2.JPG", "b/1.png", "B/0.webp", ".hidden/x.jpg", "a/.x.jpg", "notes.txt"]
    names += ["a/features.npy", "b/features.npy"]
    for name in names:
        bucket.pipe_file(f"/bucket/photos/{name}", b"x")
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    assert relatives("memory://bucket/photos/") == relatives(str(tmp_path))
    first = find_sources(["memory://bucket/photos"]).sources[0]
    assert first.shown == f"memory://bucket/photos/{first.relative}"
    assert read_bytes(first.path, 10) == b"x"


@needs_fsspec
def test_a_folder_that_goes_while_it_is_listed_costs_no_other(bucket, monkeypatch):
    for name in ("a/1.png", "b/1.png", "c/1.png"):
        bucket.pipe_file(f"/bucket/photos/{name}", b"x")
    ls = type(bucket).ls

    def without_b(self, path, **options):
        if path.endswith("/b"):
            raise FileNotFoundError(path)
        return ls(self, path, **options)

    monkeypatch.setattr(type(bucket), "ls", without_b)
    assert relatives("memory://bucket/photos") == ["a/1.png", "c/1.png"]


@needs_fsspec
def test_one_object_a_missing_one_and_none(bucket):
    bucket.pipe_file("/bucket/cat", b"x")
    assert relatives("memory://bucket/cat") == ["cat"]
    bucket.pipe_file("/bucket/notes/a.txt", b"x")
    with pytest.raises(UsageError, match="There is no image or folder memory://bucket/dog"):
        find_sources(["memory://bucket/dog"])
    with pytest.raises(UsageError, match="The folder memory://bucket/notes holds no images"):
        find_sources(["memory://bucket/notes"])


@needs_fsspec
def test_a_list_may_name_what_is_not_there(bucket, tmp_path):
    bucket.pipe_file("/bucket/cat.jpg", b"x")
    listing = tmp_path / "list.txt"
    listing.write_text("memory://bucket/cat.jpg\nmemory://bucket/gone.jpg\nmemory://bucket/gone\n")
    with listing.open("rb") as file:
        sources = find_sources(["-"], file).sources
    assert [source.shown[16:] for source in sources] == ["cat.jpg", "gone.jpg", "gone"]
    with pytest.raises(ImageError, match="there is no such file"):
        read_bytes(sources[1].path, 10)


@needs_fsspec
def test_what_cnnviz_wrote_is_no_input(bucket):
    bucket.pipe_file("/bucket/a.jpg", b"x")
    bucket.pipe_file("/bucket/out/a_original.png", b"x")
    bucket.pipe_file("/bucket/out/thumbnails/a_original.jpg", b"x")
    bucket.pipe_file("/bucket/mine/b.png", b"x")
    bucket.pipe_file("/bucket/mine/manifest.json", b"{}")
    output = RemotePath.of("memory://bucket/out")
    assert relatives("memory://bucket", exclude=output) == ["a.jpg", "mine/b.png"]
    bucket.pipe_file("/bucket/out/manifest.json", MANIFEST_START + b"1}")
    found = find_sources(["memory://bucket"], is_own=written_by_cnnviz)
    assert found.notes == ("2 images written by cnnviz were skipped",)
    with pytest.raises(UsageError, match="holds no images but those that cnnviz wrote \\(2\\)"):
        find_sources(["memory://bucket/out"], is_own=written_by_cnnviz)
    with pytest.raises(UsageError, match="The output folder is the input folder memory://"):
        find_sources(["memory://bucket/out/"], exclude=output)


@needs_fsspec
def test_a_path_goes_to_other_processes_without_its_connection(bucket):
    bucket.pipe_file("/bucket/a.jpg", b"x")
    path = RemotePath.of("memory://bucket") / "a.jpg"
    assert path.read(1) == b"x"
    again = pickle.loads(pickle.dumps(path))
    assert again == path
    assert again.read(1) == b"x"


@needs_fsspec
def test_an_object_is_written_whole_or_not_at_all(bucket, monkeypatch):
    path = RemotePath.of("memory://bucket/run") / "a/b.bin"

    def broken():
        yield b"x"
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        path.write(broken())
    assert not path.exists()
    path.write(iter([b"x", b"y"]))
    assert path.read(2) == b"xy"
    monkeypatch.setattr("cnnviz.storage.remote._IN_MEMORY", 3)  # larger: by way of the disk
    path.write(bytes([number]) * 2 for number in range(5))
    assert path.read(10) == bytes(number // 2 for number in range(10))
    path.unlink()
    assert not path.exists()
    path.unlink(missing_ok=True)
    with pytest.raises(FileNotFoundError, match="there is nothing there"):
        path.unlink()


@needs_fsspec
def test_an_object_that_has_changed_since_it_was_listed_is_read_whole(bucket):
    bucket.pipe_file("/bucket/a.jpg", b"abc")
    (path,) = RemotePath.of("memory://bucket").below()
    for data in (b"abcdef", b"ab", b""):
        bucket.pipe_file("/bucket/a.jpg", data)
        assert path.read(10) == data


@needs_fsspec
def test_what_a_list_says_is_kept(bucket):
    root = RemotePath.of("memory://bucket")
    image, tar = root.listed(Entry("a.jpg", 3, "e")), root.listed(Entry("x.tar", 9000, "t"))
    member = ArchiveMember(Archive(tar), "b.jpg", 512, 7, "4")
    writer = SourceWriter()
    for file in (image, member):
        writer.add(Source(file, str(file), PurePosixPath(file.name)))
    one, two = (source.path for source in writer.finish())
    assert (one, one.size, one.etag()) == (image, 3, "e")
    assert (two, two.size, two.etag(), two.label) == (member, 7, "t:512+7", "4")


@needs_fsspec
def test_a_folder_is_no_file(bucket):
    bucket.pipe_file("/bucket/a/b.jpg", b"x")
    with pytest.raises(IsADirectoryError, match="it is a folder"):
        RemotePath.of("memory://bucket/a").open()


@needs_fsspec
def test_an_object_that_is_too_large_is_not_fetched(bucket, monkeypatch):
    bucket.pipe_file("/bucket/a.jpg", b"x" * 100)
    monkeypatch.setattr(type(bucket), "cat_file", None)
    with pytest.raises(ImageError, match="it has 100 bytes, which is more than is read"):
        read_bytes(RemotePath.of("memory://bucket/a.jpg"), 99)


def test_unknown_storage_and_missing_packages_are_said(monkeypatch):
    with pytest.raises(UsageError, match="s4://b/x begins with s4://, and cnnviz reads s3://"):
        RemotePath.of("s4://b/x")
    monkeypatch.setitem(__import__("sys").modules, "gcsfs", None)
    with pytest.raises(UsageError, match=r'gs://b/x is read .*: `pip install "cnnviz\[gs\]"`'):
        find_sources(["gs://b/x"])


@needs_http
def test_files_over_http():
    with serving({"/a/cat.jpg": b"meow", "/get": b"x"}) as server:
        url = server.url
        signed = f"{url.replace('://', '://user:pw@')}/a/cat.jpg?X-Amz-Signature=SECRET"
        (source,) = find_sources([signed]).sources
        assert source.shown == f"{url}/a/cat.jpg"
        assert str(source.relative) == "cat.jpg"
        assert source.fetched().path.read(4) == b"meow"
        assert server.requests == ["/a/cat.jpg?X-Amz-Signature=SECRET"]  # and one request is all
        with pytest.raises(ImageError, match="is more than is read"):
            read_bytes(source.path, 3)
        two = find_sources([f"{url}/get?id=1", f"{url}/get?id=2"]).sources
        assert len({one.shown for one in two}) == 2


@needs_http
def test_what_passes_is_tried_again_and_what_does_not_is_said():
    faults = {"/a.jpg": [503, "reset", "truncated", 429], "/b.jpg": [500] * 9, "/c.jpg": [403]}
    with serving(dict.fromkeys(faults, b"0123456789")) as server:
        server.faults.update(faults)
        a, b, c, d = (
            find_sources([f"{server.url}/{name}.jpg?token=SECRET"]).sources[0] for name in "abcd"
        )
        assert read_bytes(a.path, 10) == b"0123456789"
        assert len(server.requests) == retries.TRIES
        with pytest.raises(ImageError, match=r"the server answered with status 500 \(5 tries\)"):
            read_bytes(b.path, 10)
        with pytest.raises(ImageError, match="there is no permission to read it"):
            read_bytes(c.path, 10)
        with pytest.raises(ImageError, match="there is no such file"):
            read_bytes(d.path, 10)
        # What was fetched, or why it could not be, is not asked for again.
        server.requests.clear()
        server.faults["/c.jpg"] = [403]
        fetched = c.fetched()
        for _ in range(2):
            with pytest.raises(ImageError, match="there is no permission"):
                read_bytes(fetched.path, 10)
        assert len(server.requests) == 1


@needs_http
def test_an_archive_over_http_is_read_in_ranges(tmp_path):
    from tests.storage.test_archives import member, packed, read

    data = packed(*(member(f"{number}.jpg", b"%d" % number * 5000) for number in range(9)))
    with serving({"/x-0.tar": data}) as server:
        server.faults["/x-0.tar"] = [503]
        sources = find_sources([f"{server.url}/x-0.tar"]).sources
        assert sources[3].shown == f"{server.url}/x-0.tar/3.jpg"
        assert [read(source) for source in sources] == [b"%d" % n * 5000 for n in range(9)]
        assert len(server.requests) < 9
