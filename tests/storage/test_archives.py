"""Tar archives as folders, well-made and not."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import tarfile
from contextlib import suppress

import pytest

from cnnviz.errors import ImageError, UsageError
from cnnviz.images.files import read_bytes
from cnnviz.images.sources import find_sources

#: What is found is the same wherever lists are kept.
pytestmark = pytest.mark.usefixtures("anywhere")


def member(name, data=b"", **fields):
    """A header and its bytes."""
    info = tarfile.TarInfo(name)
    info.size = len(data)
    for field, value in fields.items():
        setattr(info, field, value)
    return info, data


def packed(*members, form=tarfile.PAX_FORMAT):
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=form) as tar:
        for info, data in members:
            tar.addfile(info, io.BytesIO(data))
    return file.getvalue()


def written(tmp_path, data, name="x-000000.tar"):
    path = tmp_path / name
    path.write_bytes(data)
    return path


def read(source):
    """An image's bytes, or what is wrong."""
    try:
        return read_bytes(source.path, 1 << 20)
    except ImageError as error:
        return str(error)


def listed(path):
    return {str(source.relative): read(source) for source in find_sources([str(path)]).sources}


LONG = "/".join(["folder" * 10] * 4) + "/0003.jpg"


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_members_in_their_own_order(tmp_path, form):
    members = [member(name, name.encode()) for name in ("10.jpg", "10.cls", "2.JPG", "./a/1.png")]
    long = [] if form == tarfile.USTAR_FORMAT else [member(LONG, b"long")]
    path = written(tmp_path, packed(*members, member("a", type=tarfile.DIRTYPE), *long, form=form))
    expected = {"10.jpg": b"10.jpg", "2.JPG": b"2.JPG", "a/1.png": b"./a/1.png"}
    if long:
        expected[LONG] = b"long"
    assert listed(path) == expected
    assert list(listed(path)) == list(expected)
    shown = [source.shown for source in find_sources([str(path)]).sources]
    assert shown[0] == f"{path}/10.jpg"


def test_archives_in_a_folder_without_images_are_folders(tmp_path):
    for number in (10, 2):
        written(tmp_path, packed(member("0.jpg", b"%d" % number)), f"x-{number}.tar")
    (tmp_path / "x.json").write_text("{}")
    assert listed(tmp_path) == {"x-2.tar/0.jpg": b"2", "x-10.tar/0.jpg": b"10"}
    assert list(listed(tmp_path)) == ["x-2.tar/0.jpg", "x-10.tar/0.jpg"]
    (tmp_path / "photo.jpg").write_bytes(b"p")
    assert listed(tmp_path) == {"photo.jpg": b"p"}


def test_of_two_members_of_a_name_the_last_counts(tmp_path):
    path = written(tmp_path, packed(member("a.jpg", b"old"), member("a.jpg", b"new")))
    assert listed(path) == {"a.jpg": b"new"}


def test_hidden_members_are_left_out(tmp_path):
    path = written(tmp_path, packed(member("._a.jpg", b"x"), member(".b/a.jpg"), member("a.jpg")))
    assert list(listed(path)) == ["a.jpg"]


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (
            member("b.jpg", type=tarfile.SYMTYPE, linkname="/etc/passwd"),
            "links in archives are not",
        ),
        (member("b.jpg", type=tarfile.LNKTYPE, linkname="a.jpg"), "links in archives"),
        (member("b.jpg", type=tarfile.FIFOTYPE), "only files are read out of archives"),
        (member("b.jpg", type=tarfile.CHRTYPE), "only files are read out of archives"),
        (member("/b.jpg", b"x"), "its name leads out of the archive"),
        (member("../../b.jpg", b"x"), "its name leads out of the archive"),
        (member("a/../b.jpg", b"x"), "its name leads out of the archive"),
    ],
)
def test_a_member_that_is_no_file_of_the_archive_fails_alone(tmp_path, bad, reason):
    path = written(tmp_path, packed(member("a.jpg", b"a"), bad, member("c.jpg", b"c")))
    found = {name.rpartition("/")[2]: content for name, content in listed(path).items()}
    assert found["a.jpg"] == b"a"
    assert found["c.jpg"] == b"c"
    assert found["b.jpg"].startswith(f"it cannot be read: {reason}")
    assert all(".." not in source.relative.parts for source in find_sources([str(path)]).sources)


def test_a_sparse_member_fails_alone(tmp_path):
    header = {"GNU.sparse.major": "0", "GNU.sparse.minor": "1", "GNU.sparse.map": "0,1,2,1"}
    sparse, data = member("b.jpg", b"xy")
    sparse.pax_headers = {**header, "GNU.sparse.size": "4", "GNU.sparse.name": "b.jpg"}
    path = written(tmp_path, packed((sparse, data), member("c.jpg", b"c")))
    found = listed(path)
    assert found["c.jpg"] == b"c"
    assert "sparse files in archives are not read" in found["b.jpg"]


def test_every_cut_leaves_what_is_whole(tmp_path):
    """Wherever an archive ends early, whole members are read and something says that it ends."""
    whole = packed(member("a.jpg", b"a" * 700), member("b.jpg", b"b" * 100))
    end = 512 + 1024 + 512 + 512  # without the end mark
    for length in range(0, end, 64):
        found = listed(written(tmp_path, whole[:length]))
        texts = [content for content in found.values() if isinstance(content, str)]
        assert texts, length
        assert all("the archive" in text for text in texts)
        assert (found.get("a.jpg") == b"a" * 700) == (length >= 512 + 700)
        assert (found.get("b.jpg") == b"b" * 100) == (length >= 2048 + 100)
    assert listed(written(tmp_path, whole[: end + 512])) == {
        "a.jpg": b"a" * 700,
        "b.jpg": b"b" * 100,
    }


@pytest.mark.parametrize("data", [b"", b"no archive" * 100, b"\x1f\x8b" + b"x" * 600])
def test_what_is_no_archive_fails_with_a_reason(tmp_path, data):
    (found,) = listed(written(tmp_path, data)).items()
    assert found[0] == "x-000000.tar"
    assert "the archive is damaged behind byte 0" in found[1]


def test_a_header_that_would_fill_the_memory_is_refused(tmp_path):
    info, _ = member("x" * 10)
    info.type, info.size = tarfile.GNUTYPE_LONGNAME, 1 << 32
    path = tmp_path / "x.tar"
    with path.open("wb") as file:
        file.write(info.tobuf())
        file.truncate(1 << 33)  # of zeros, which take no room
    ((_, said),) = listed(path).items()
    assert "the headers there have more than 1,048,576 bytes" in said


def test_headers_about_headers_are_refused(tmp_path):
    info, _ = member("x" * 10)
    info.type, info.size = tarfile.GNUTYPE_LONGNAME, 1
    long_name = info.tobuf() + b"x".ljust(512, b"\0")
    path = written(tmp_path, long_name * 900 + packed(member("a.jpg", b"a")))
    ((_, said),) = listed(path).items()
    assert "too many headers there are about one file" in said


def test_headers_of_one_file_after_another_are_no_long_ones(tmp_path):
    members = [member(f"{number:04}" + "x" * 2000 + ".jpg", b"a") for number in range(600)]
    assert len(listed(written(tmp_path, packed(*members)))) == 600


@pytest.mark.hostile
def test_mutated_headers_never_crash(tmp_path):
    whole = bytearray(packed(member("a.jpg", b"a" * 10), member("b" * 120 + ".jpg", b"b")))
    for place in range(0, 3072, 17):
        for value in (0, 255, ord("9")):
            changed = bytearray(whole)
            changed[place] = value
            with suppress(UsageError):  # where none of the names has an image's suffix any more
                listed(written(tmp_path, changed))


def test_an_archive_without_images_is_a_mistake(tmp_path):
    path = written(tmp_path, packed(member("a.txt", b"a")))
    with pytest.raises(UsageError, match="holds no images"):
        find_sources([str(path)])


def test_a_pipe_of_an_archives_name_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "x.tar")
    (found,) = listed(tmp_path / "x.tar").values()
    assert found.startswith("it cannot be read: ")
    assert "None" not in found


@pytest.mark.parametrize("name", ["x.tar.gz", "x.tgz", "x.tar"])
@pytest.mark.parametrize(
    ("compress", "tool"),
    [(gzip.compress, "gunzip"), (bz2.compress, "bunzip2"), (lzma.compress, "unxz")],
)
def test_a_compressed_archive_says_what_to_do(tmp_path, name, compress, tool):
    path = written(tmp_path, compress(packed(member("1.jpg", b"x"))), name)
    for given in (path, tmp_path):
        (told,) = listed(given).values()
        assert told.startswith("it cannot be read: it is compressed")
        assert f"decompress it (`{tool}`), and give the .tar" in told


def test_an_archive_that_begins_with_a_name_like_that_of_compression_is_read(tmp_path):
    assert listed(written(tmp_path, packed(member("BZh91.jpg", b"x")))) == {"BZh91.jpg": b"x"}


def test_an_image_has_the_class_of_its_sample(tmp_path):
    members = [
        member("a/0.left.jpg", b"x"),
        member("a/0.cls", b" 7\n"),
        member("a/0.right.jpg", b"x"),
        member("b/0.jpg", b"x"),
        member("1.cls", "größe".encode()),
        member("1.jpg", b"x"),
        member("2.jpg", b"x"),
        member("2.cls", b"7" * 300),
        member("3.jpg", b"x"),
        member("3.cls", type=tarfile.SYMTYPE, linkname="1.cls"),
    ]
    sources = find_sources([str(written(tmp_path, packed(*members)))]).sources
    assert {str(source.relative): source.path.label for source in sources} == {
        "a/0.left.jpg": "7",
        "a/0.right.jpg": "7",
        "b/0.jpg": None,
        "1.jpg": "größe",
        "2.jpg": None,
        "3.jpg": None,
    }
