"""Names: the contract's examples, and that no two files are ever the same."""

from __future__ import annotations

import itertools
import os
import random
import re
import unicodedata
from pathlib import Path, PurePath, PurePosixPath

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cnnviz.images.source import Source
from cnnviz.outputs.naming import OutputStem, file_parts, plan_names, similarity_words
from tests.support.capabilities import SLOW

SUFFIXES = ("_original.png", "_gradcam.png", "_guided_gradcam.png", "_saliency.png", ".npz")


def source(path, relative=None):
    return Source(Path(path), str(path), PurePath(relative or Path(path).name))


def below(folder, *names):
    return [source(f"{folder}/{name}", name) for name in names]


def stems(sources, **options):
    return [str(stem.path) for stem in plan_names(sources, SUFFIXES, **options)]


def test_the_contracts_example():
    (stem,) = plan_names(below("photos", "a/cat.jpg"), SUFFIXES)

    assert [str(stem.file(suffix)) for suffix in SUFFIXES] == [
        "a/cat_original.png",
        "a/cat_gradcam.png",
        "a/cat_guided_gradcam.png",
        "a/cat_saliency.png",
        "a/cat.npz",
    ]
    assert str(stem.file("_gradcam.png", 281)) == "a/cat_281_gradcam.png"


@pytest.mark.parametrize(
    ("sources", "expected"),
    [
        (below("p", "cat.jpg", "cat.png", "dog.png"), ["cat.jpg", "cat.png", "dog"]),
        (below("p", "cat.jpg", "a/cat.png"), ["cat", "a/cat"]),
        (below("p", "v1.2.jpg", "noext", ".jpg"), ["v1.2", "noext", ".jpg"]),
        # two folders, or two files, of the same name: what is above them tells them apart
        ([source("a/x.jpg"), source("b/x.jpg")], ["a/x", "b/x"]),
        (below("a", "s/x.jpg") + below("b", "s/x.jpg"), ["a/s/x", "b/s/x"]),
        (below("1/a", "x.jpg") + below("2/a", "x.jpg"), ["1/a/x", "2/a/x"]),
        # one name ends as another's suffix begins
        (below("p", "cat.jpg", "cat_guided.jpg"), ["cat.jpg", "cat_guided.jpg"]),
        (below("p", "cat.jpg", "cat_original.jpg"), ["cat", "cat_original"]),
        # on a file system that ignores case these would be one file; capitals sort first
        (below("p", "cat.jpg", "Cat.png"), ["cat.jpg", "Cat.png"]),
        (below("p", "cat.jpg", "Cat.jpg"), ["cat.jpg-2", "Cat.jpg"]),
        # a number that is taken, or whose files would be another's, is passed over
        (below("p", "Cat.jpg", "cat.jpg", "cat.jpg-2.png"), ["Cat.jpg", "cat.jpg-3", "cat.jpg-2"]),
        (
            below("p", "Cat.jpg", "cat.jpg", "cat.jpg-2_guided.png"),
            ["Cat.jpg", "cat.jpg-3", "cat.jpg-2_guided"],
        ),
        (
            below("p", "Cat.jpg", "cat.jpg", "cat.jpg-2_original.png/x.jpg"),
            ["Cat.jpg", "cat.jpg-3", "cat.jpg-2_original.png/x"],
        ),
        # a folder stands where a file would be
        (below("p", "cat.jpg", "cat_original.png/x.jpg"), ["cat.jpg", "cat_original.png/x"]),
        (below("p", "cat.jpg", "cat.npz/x.jpg"), ["cat.jpg", "cat.npz/x"]),
    ],
)
def test_collisions(sources, expected):
    assert stems(sources) == expected
    assert stems(sources[::-1]) == expected[::-1]


def test_an_index_in_the_name_counts_only_where_there_may_be_one():
    sources = below("p", "cat.jpg", "cat_281.jpg", "dog_281_guided.jpg", "dog.jpg")

    plain = ["cat", "cat_281", "dog_281_guided", "dog"]
    longer = ["cat.jpg", "cat_281.jpg", "dog_281_guided.jpg", "dog.jpg"]
    assert stems(sources, numbered=False) == plain
    assert stems(sources, numbered=True) == longer


def test_several_indices_in_the_name_count_only_where_there_may_be_some():
    sources = below("p", "cat.jpg", "cat_2-81.jpg", "cat_7.jpg", "dog_1-2~0a1b2c3d.jpg", "dog.jpg")

    plain = ["cat", "cat_2-81", "cat_7", "dog_1-2~0a1b2c3d", "dog"]
    longer = ["cat.jpg", "cat_2-81.jpg", "cat_7", "dog_1-2~0a1b2c3d.jpg", "dog.jpg"]
    assert stems(sources, numbered=True) == ["cat.jpg", plain[1], "cat_7.jpg", *plain[3:]]
    assert stems(sources, numbered=False) == plain
    assert stems(sources, numbered=False, several=True) == longer
    assert stems(sources, several=True) == [source.shown.partition("/")[2] for source in sources]


def test_several_classes_in_one_name():
    stem = OutputStem(PurePosixPath("a/cat"))
    assert str(stem.file("_contrast.png", (281, 282))) == "a/cat_281-282_contrast.png"
    assert str(stem.file("_panel.png", (281,))) == "a/cat_281_panel.png"
    assert str(stem.file("_panel.png", ())) == "a/cat_panel.png"
    files = {str(stem.file("", tuple(range(1, count)))) for count in range(1, 1000)}
    assert len(files) == 999
    assert max(map(len, files)) <= len("a/cat") + 36
    assert str(stem.file("", (9_999_999,) * 4)) == "a/cat_9999999-9999999-9999999-9999999"
    many = str(stem.file("", (9_999_999,) * 5))
    assert re.fullmatch(r"a/cat_9999999-9999999-9999999~[0-9a-f]{8}", many)


def test_accents_typed_in_two_ways_are_one_name():
    composed, apart = (unicodedata.normalize(form, "é.jpg") for form in ("NFC", "NFD"))
    assert composed != apart

    names = stems(below("p", composed, apart))

    assert len({unicodedata.normalize("NFC", name) for name in names}) == 2


@pytest.mark.parametrize("ending", [".", " ", "..", ". ."])
def test_ends_of_folders_that_some_file_systems_drop(ending):
    """FAT makes ``sub`` of ``sub.``; the second image would replace the first one's files."""
    one, other = stems(below("p", "sub/cat.jpg", f"sub{ending}/cat.jpg"))
    assert PurePath(one).name != PurePath(other).name
    # A name that is nothing but dots, or ends the path, is kept.
    assert stems(below("p", "..a/cat.jpg", "a/cat.jpg")) == ["..a/cat", "a/cat"]


def test_letters_that_nobody_sees_tell_no_names_apart():
    one, other = stems(below("p", "cat.jpg", "ca\u200dt.jpg"))
    assert one.replace("\u200d", "") != other.replace("\u200d", "")


def test_a_folder_that_no_number_can_make():
    """A file of ``a. /cat.jpg``, to some systems, has the name of a folder that two others need."""
    blocked = ["A/cat.jpg_original.png/dog.JPG", "A/cat.jpg_original.png/dog.jpg"]
    needed = [source(f"/in/{name}", name) for name in blocked]
    others = ("/in/a. /a/cat_281.jpg", "a/cat_281.jpg"), ("/in/a/a. /cat.jpg", "cat.jpg")
    found = stems([*needed, *(source(*one) for one in others), source("/in/cat.jpg", "cat.jpg")])
    assert found[:2] == ["A_cat.jpg_original.png_dog.JPG", "A_cat.jpg_original.png_dog.jpg-2"]
    assert len({*map(str.casefold, found)}) == len(found)


def test_names_stay_inside_whatever_a_source_claims():
    sources = [
        source("/etc/passwd.png", "/etc/passwd.png"),
        source("x/../../y.png", "../../y.png"),
        source("..", "."),
    ]
    for name in stems(sources):
        assert not os.path.isabs(name)
        assert ".." not in name.split("/")


@pytest.mark.parametrize("letter", ["a", "é", "猫", "\udcff"])
def test_long_names_are_shortened_to_what_file_systems_take(letter, tmp_path):
    size = len(os.fsencode(letter))
    names = [letter * (250 // size) + f"{end}.jpg" for end in "1"]
    names += [letter * (240 // size) + f"{end}.jpg" for end in "12"]
    sources = below("p", *names)

    files = [
        stem.file(suffix, 9999999) for stem in plan_names(sources, SUFFIXES) for suffix in SUFFIXES
    ]

    assert len(set(files)) == len(files)
    for file in files:
        (tmp_path / file).write_bytes(b"")  # the file system agrees
    assert stems(sources) == stems(sources[::-1])[::-1]


def test_hundreds_of_the_same_name():
    sources = [
        source(f"{a}/{b}/{c}/{d}/x.jpg") for a, b, c, d in itertools.product("pqrs", repeat=4)
    ]
    names = stems(sources)

    assert len(set(names)) == len(names)
    # three folders above are used; what they do not tell apart is numbered
    assert set(names) == {"x.jpg", *(f"x.jpg-{number}" for number in range(2, 257))}


part = st.one_of(
    st.sampled_from(["a", "A", "cat", "Cat", "cat_guided", "cat_281", "cat_281_guided", "cat.npz"]),
    st.sampled_from(
        ["cat_original.png", "cat_7_gradcam.png", "cat.jpg", "cat.jpg-2", "é", "e\u0301"]
    ),
    st.sampled_from(["x" * 249, "x" * 250, "ß", "ss", "\udcfe", "..", "cat_guided_guided"]),
    st.text(
        st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=6
    ),
)
file_name = st.builds(
    lambda stem, end: stem + end, part, st.sampled_from([".jpg", ".png", "", ".JPG"])
)
path_parts = st.tuples(st.lists(part, max_size=3), st.lists(part, max_size=2), file_name)


def folded(name):
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", name).casefold())


@given(
    st.lists(
        path_parts,
        max_size=12,
        unique_by=lambda parts: os.path.abspath(
            "/".join(["/root", *parts[0], *parts[1], parts[2]])
        ),
    ),
    st.booleans(),
)
@settings(max_examples=2000 if SLOW else 150)
def test_no_two_files_are_ever_the_same(entries, numbered):
    sources = [
        source("/".join(["/root", *above, *inner, name]), "/".join([*inner, name]))
        for above, inner, name in entries
    ]
    planned = plan_names(sources, SUFFIXES, numbered=numbered)
    targets = [None, 281, 7] if numbered else [None]
    files = [
        str(stem.file(suffix, target))
        for stem in planned
        for suffix in SUFFIXES
        for target in targets
    ]

    assert len(planned) == len(sources)
    keys = [folded(file) for file in files]
    assert len(set(keys)) == len(keys)
    folders = {str(parent) for key in keys for parent in PurePath(key).parents}
    assert folders.isdisjoint(keys)  # no file where a folder has to be
    for file in files:
        assert not file.startswith("/")
        assert ".." not in file.split("/")
        assert len(os.fsencode(file.rpartition("/")[2])) <= 255

    shuffled = list(zip(sources, planned, strict=True))
    random.Random(0).shuffle(shuffled)
    again = plan_names([entry for entry, _ in shuffled], SUFFIXES, numbered=numbered)
    assert again == [stem for _, stem in shuffled]


def test_names_of_layers_as_parts_of_file_names():
    assert file_parts(["features.28", "a/b", "a_b", "A_b", "stage 1"])[::4] == [
        "features.28",
        "stage_1",
    ]
    parts = file_parts(["a/b", "a_b", "A_b", "x" * 300, "x" * 301, "..", "é/"])
    assert len({part.casefold() for part in parts}) == 7
    assert parts[0] == "a_b"
    assert parts[1].startswith("a_b~")
    assert all(len(part.encode()) <= 80 and "/" not in part for part in parts)


def test_words_for_other_images_stand_where_an_index_does():
    words = similarity_words(["a/dog-2.jpg", "b/dog_2.png", "ö" * 40 + ".png"])
    assert words[0] == "similarity_dog_2"
    assert words[1].startswith("similarity_dog_2~")
    assert len(os.fsencode(words[2])) <= 40
    stems = plan_names(
        [source("cat.jpg"), source("cat_similarity_dog_2.jpg"), source("cat_similarity.jpg")],
        ["_gradcam.png"],
        words=words,
    )
    assert [str(stem.path) for stem in stems] == [
        "cat.jpg",
        "cat_similarity_dog_2.jpg",
        "cat_similarity",
    ]
    stem = OutputStem(PurePosixPath("cat"))
    assert str(stem.file("_x.png", words[0])) == "cat_similarity_dog_2_x.png"
    assert str(stem.file("_x.png", (words[0], 7))) == "cat_similarity_dog_2-7_x.png"
    long = stem.file("_x.png", tuple(words * 3))
    assert str(long).startswith("cat_similarity_dog_2-similarity_dog_2~")
    assert len(long.name) < 100


def test_characters_that_windows_has_in_no_name(monkeypatch):
    """Those of "Naming Files, Paths, and Namespaces" in its documentation; from a bucket, say."""
    odd = below("bucket", "a:b/1?.png", "a_b/1_.png", "c*/2.png", 'x\\y<>|".png', "é\n/3.png")
    assert stems(odd) == ["a:b/1?", "a_b/1_", "c*/2", 'x\\y<>|"', "é\n/3"]
    monkeypatch.setattr("cnnviz.system.allows_all_names", lambda: False)
    # As where two of the same name meet: with their extensions, folders, and then numbers.
    found = stems(odd)
    assert found[2:] == ["c_/2", "x_y____", "é_/3"]
    assert len({*found}) == len(found)
    assert not set(':?*<>|"\\\n') & set("".join(found))
