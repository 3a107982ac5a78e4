"""From the arguments of a command to images: what is found, in which order, and by what name."""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path, PureWindowsPath

import pytest

from cnnviz.errors import ImageError, UsageError
from cnnviz.images.decode import read_image
from cnnviz.images.source import Source, SourceWriter
from cnnviz.images.sources import find_sources
from cnnviz.storage.archives import Archive, ArchiveMember

#: What is found is the same wherever lists are kept.
pytestmark = pytest.mark.usefixtures("anywhere")


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")


def shown(sources):
    return [source.shown for source in sources]


def relatives(sources):
    return [str(source.relative) for source in sources]


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_folder_gives_images_of_every_suffix_and_nothing_else(here):
    touch(here, "p/a.jpg", "p/b.JPEG", "p/c.Png", "p/d.webp", "p/e.bmp", "p/f.tif", "p/g.TIFF")
    touch(here, "p/h.gif", "p/notes.txt", "p/jpg", "p/i.jpg.bak", "p/.hidden.jpg", "p/.git/x.png")

    sources = find_sources(["p"]).sources

    names = ["a.jpg", "b.JPEG", "c.Png", "d.webp", "e.bmp", "f.tif", "g.TIFF", "h.gif"]
    assert relatives(sources) == names
    assert shown(sources) == [f"p/{name}" for name in names]
    assert [source.path for source in sources] == [Path("p") / name for name in names]


def test_arrays_are_images_where_there_are_no_others(here):
    touch(here, "p/a/10.npy", "p/a/2.NPY", "p/a/notes.txt", "p/a/archive.npz")
    touch(here, "p/b/photo.jpg", "p/b/photo.npy", "p/b/features.npy")
    found = find_sources(["p"])
    assert relatives(found.sources) == ["a/2.NPY", "a/10.npy", "b/photo.jpg"]
    (note,) = found.notes
    assert note.endswith("skipped: 1 .npy, 1 .npz, 1 .txt")


def test_sorted_as_people_sort(here):
    touch(here, "p/10.jpg", "p/9.jpg", "p/B2.png", "p/b10.png", "p/a/2.jpg", "p/a/11.jpg")
    touch(here, "p/007.jpg", "p/x.jpg", "p/a10/1.jpg", "p/a9/1.jpg", "p/²³.jpg")

    expected = ["007.jpg", "9.jpg", "10.jpg", "a/2.jpg", "a/11.jpg", "a9/1.jpg", "a10/1.jpg"]
    expected += ["B2.png", "b10.png", "x.jpg", "²³.jpg"]
    assert relatives(find_sources(["p"]).sources) == expected


def test_arguments_stay_in_their_order_and_files_keep_only_their_name(here):
    touch(here, "z/cat.jpg", "a/deep/dog.png", "data.bin")

    sources = find_sources(["z/cat.jpg", "data.bin", "./a/", str(here / "z")]).sources

    assert shown(sources) == ["z/cat.jpg", "data.bin", "a/deep/dog.png"]  # the last is the first
    assert relatives(sources) == ["cat.jpg", "data.bin", "deep/dog.png"]


def test_the_same_file_is_done_once(here):
    touch(here, "p/a.jpg", "p/sub/b.jpg")
    (here / "link").symlink_to("p")
    (here / "p/c.jpg").symlink_to("a.jpg")
    (here / "p/aa").symlink_to("sub")  # sorted before what it leads to

    for arguments in (
        ["p", "p"],
        ["p", "p/a.jpg", "p/sub"],
        ["p", "link"],
        ["p", "./p/../p/a.jpg"],
    ):
        assert relatives(find_sources(arguments).sources) == ["a.jpg", "sub/b.jpg"]


def test_copies_and_hard_links_are_images_of_their_own(here):
    touch(here, "p/a.jpg")
    os.link("p/a.jpg", "p/b.jpg")

    assert relatives(find_sources(["p"]).sources) == ["a.jpg", "b.jpg"]


def test_links_to_folders_are_followed_and_loops_end(here):
    touch(here, "p/a.jpg", "elsewhere/b.jpg")
    (here / "p/loop").symlink_to(here / "p")
    (here / "p/up").symlink_to("..")
    (here / "p/self").symlink_to("self")
    (here / "p/there").symlink_to(here / "elsewhere")

    # by `up` the folder above is found, and everything in it that was not yet
    names = relatives(find_sources(["p"]).sources)
    assert names[0] == "a.jpg"
    assert sorted(Path(name).name for name in names) == ["a.jpg", "b.jpg"]


def test_a_dead_link_is_kept_so_that_reading_reports_it(here):
    touch(here, "p/a.jpg")
    (here / "p/gone.jpg").symlink_to("nowhere.jpg")

    sources = find_sources(["p"]).sources

    assert relatives(sources) == ["a.jpg", "gone.jpg"]
    with pytest.raises(ImageError, match="no such file"):
        read_image(sources[1].path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_folder_without_permission_is_kept_so_that_reading_reports_it(here):
    touch(here, "p/a.jpg", "p/secret/b.jpg")
    (here / "p/secret").chmod(0)
    try:
        sources = find_sources(["p"]).sources
        assert relatives(sources) == ["a.jpg", "secret"]
        with pytest.raises(ImageError, match="permission to read this folder"):
            read_image(sources[1].path)
    finally:
        (here / "p/secret").chmod(0o700)


def test_the_output_folder_is_left_out(here):
    touch(here, "p/a.jpg", "p/out/a_gradcam.png", "p/outside/b.jpg")

    for exclude in ("p/out", "p/outside/../out", here / "p/out"):
        assert relatives(find_sources(["p"], exclude=Path(exclude)).sources) == [
            "a.jpg",
            "outside/b.jpg",
        ]
    assert len(find_sources(["p"], exclude=here / "not yet there").sources) == 3
    assert (
        len(find_sources(["p"], exclude=here).sources) == 3
    )  # above the input: nothing to leave out


def test_the_output_folder_cannot_be_the_input_folder(here):
    touch(here, "p/a.jpg")
    with pytest.raises(UsageError, match=r"output folder is the input folder p .*p/explanations"):
        find_sources(["p"], exclude=here / "p")


def test_standard_input_gives_paths_one_a_line(here):
    touch(here, "a.jpg", "with space .jpg", "p/b.jpg")
    odd = os.fsdecode(b"caf\xe9.jpg")  # Latin-1, not UTF-8
    touch(here, odd)
    stream = io.BytesIO(b"a.jpg\r\n\n   \nwith space .jpg\np\ncaf\xe9.jpg\nmissing.jpg")

    sources = find_sources(["-"], stream).sources

    assert [source.path for source in sources] == [
        Path("a.jpg"),
        Path("with space .jpg"),
        Path("p/b.jpg"),
        Path(odd),
        Path("missing.jpg"),  # one bad line does not stop the others; reading it reports it
    ]
    assert sources[3].shown == r"caf\xe9.jpg"


def test_standard_input_is_the_default_stream(here, monkeypatch):
    touch(here, "a.jpg", "b.jpg")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"b.jpg\n")))

    assert shown(find_sources(["a.jpg", "-"]).sources) == ["a.jpg", "b.jpg"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nope.jpg"], r"no image or folder nope\.jpg; check the path"),
        (["a.jpg", "p/*.jpg"], r"p/\*\.jpg; the shell expands"),
        (
            ["empty"],
            r"folder empty holds no images that cnnviz can read, but 1 \.txt; it reads JPEG,",
        ),
        ([], "No input was given"),
        (["-"], "No input was given"),
        ([""], "empty name"),
        (["x" * 300], "x{300} cannot be looked up"),
        (["a\0b"], r"a\\x00b"),
    ],
)
def test_says_which_argument_is_wrong(here, arguments, message):
    touch(here, "a.jpg", "empty/notes.txt")
    with pytest.raises(UsageError, match=message):
        find_sources(arguments, io.BytesIO())


def test_standard_input_that_cannot_be_read():
    class Closed(io.BytesIO):
        def read(self, _size=-1):
            raise OSError(9, "Bad file descriptor")

    with pytest.raises(UsageError, match="Standard input cannot be read: Bad file descriptor"):
        find_sources(["-"], Closed())


def test_a_member_of_an_archive_keeps_its_folders_where_these_have_backslashes(tmp_path):
    """A list on the disk says what one in memory does."""
    member = ArchiveMember(Archive(tmp_path / "x.tar"), "a/1.png", 512, 7)
    writer = SourceWriter()
    writer.add(Source(member, str(member), PureWindowsPath("b.tar", "a", "1.png")))
    (found,) = writer.finish()
    assert found.relative.parts == ("b.tar", "a", "1.png")
    assert found.path == member
