"""Whatever files are called, their explanations have names that are apart, short, and the same."""

from __future__ import annotations

import os
import time
import unicodedata
from pathlib import Path, PurePath

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cnnviz.images.source import Source
from cnnviz.outputs.naming import plan_names
from tests.support.capabilities import SLOW

SUFFIXES = ("_original.png", "_gradcam.png", "_guided_gradcam.png", "_saliency.png", ".npz")
TARGETS = (None, 0, 281, 9_999_999, (1, 2), tuple(range(100)), (9_999_999,) * 4)

BOUNDED = settings(max_examples=1000 if SLOW else 50, derandomize=True)

#: All that Linux takes for a name: up to 255 bytes of any value but 0 and the slash.
raw_names = (
    st.binary(min_size=1, max_size=255)
    .map(lambda data: data.replace(b"/", b"_").replace(b"\0", b"_"))
    .filter(lambda data: data not in (b".", b".."))
    .map(os.fsdecode)
)
texts = (
    st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1)
    .filter(lambda name: name not in (".", "..") and len(os.fsencode(name)) <= 251)
    .map(lambda name: f"{name}.jpg")
)
#: Letters that one file system or another takes for each other.
lookalikes = st.lists(
    st.sampled_from(
        ["a", "A", "é", "e\u0301", "E\u0301", "ß", "SS", "ﬁ", "fi", "İ", "i\u0307", "ς"]
    ),
    min_size=1,
    max_size=2,
).map(lambda letters: f"{''.join(letters)}.png")
long_names = st.builds(
    lambda letter, count, end: letter * (count // len(os.fsencode(letter))) + end,
    st.sampled_from(["x", "é", "猫", "🦋", "\udcff"]),
    st.integers(200, 251),
    st.sampled_from(["", ".jpg", ".png"]),
)
names = st.one_of(raw_names, texts, lookalikes, long_names)


@st.composite
def images(draw):
    """Files of a tree, found in folders anywhere above them, each file once."""
    paths = draw(
        st.lists(
            st.tuples(st.lists(st.one_of(names, lookalikes), max_size=3), names),
            min_size=1,
            max_size=10,
            unique_by=lambda parts: "/".join([*parts[0], parts[1]]),
        )
    )
    sources = []
    for folders, name in paths:
        inside = draw(st.integers(0, len(folders)))
        path = "/".join(["/root", *folders, name])
        relative = PurePath(*folders[len(folders) - inside :], name)
        sources.append(Source(Path(path), path, relative))
    return sources


def folded(name):
    """What is left of a name where case counts for nothing, and accents may stand apart."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", name).casefold())


def written(planned, numbered):
    return [
        str(stem.file(suffix, target))
        for stem in planned
        for suffix in SUFFIXES
        for target in (TARGETS if numbered else (None,))
    ]


@given(images(), st.booleans())
@BOUNDED
def test_never_two_alike(sources, numbered):
    files = [
        folded(file)
        for file in written(
            plan_names(sources, SUFFIXES, numbered=numbered, several=numbered), numbered
        )
    ]

    assert len(set(files)) == len(files)
    folders = {str(folder) for file in files for folder in PurePath(file).parents}
    assert folders.isdisjoint(files)  # no file where a folder has to be


@given(images(), st.booleans())
@BOUNDED
def test_never_longer_than_file_systems_take(sources, numbered):
    for file in written(
        plan_names(sources, SUFFIXES, numbered=numbered, several=numbered), numbered
    ):
        assert all(0 < len(os.fsencode(part)) <= 255 for part in file.split("/"))


@given(images(), st.booleans())
@BOUNDED
def test_always_below_the_output_folder(sources, numbered):
    for file in written(
        plan_names(sources, SUFFIXES, numbered=numbered, several=numbered), numbered
    ):
        assert not file.startswith("/")
        assert ".." not in file.split("/")
        assert "\0" not in file


@given(images(), st.booleans(), st.randoms(use_true_random=False))
@BOUNDED
def test_the_order_of_the_images_is_of_no_account(sources, numbered, random):
    shuffled = list(sources)
    random.shuffle(shuffled)

    stems = dict(
        zip(
            shuffled,
            plan_names(shuffled, SUFFIXES, numbered=numbered, several=numbered),
            strict=True,
        )
    )

    assert [stems[source] for source in sources] == plan_names(
        sources, SUFFIXES, numbered=numbered, several=numbered
    )


@given(images())
@BOUNDED
def test_names_that_nothing_else_has_are_kept(sources):
    """An image alone is called as it is, but for an ending, and for what would be too long."""
    source = sources[0]
    (stem,) = plan_names([source], SUFFIXES)

    *folders, name = source.relative.parts
    assert list(stem.path.parent.parts) == folders
    whole = os.path.splitext(name)[0]
    room = 255 - len("_guided_gradcam.png") - len("_9999999")
    if len(os.fsencode(whole)) <= room:
        assert stem.path.name == whole
    else:
        assert stem.path.name.startswith(whole[:20])


@given(st.lists(names, min_size=1, max_size=6, unique=True))
@settings(max_examples=40, derandomize=True)
def test_the_file_system_agrees(tmp_path_factory, found):
    sources = [Source(Path("p", name), name, PurePath(name)) for name in found]
    folder = tmp_path_factory.mktemp("names")
    files = written(plan_names(sources, SUFFIXES, several=True), numbered=True)

    for file in files:
        with open(folder / file, "xb"):
            pass

    assert len(os.listdir(folder)) == len(files)


@pytest.mark.parametrize(
    "path",
    [
        "/{0}/a/b/c/frame.jpg",  # no more folders are looked at than three
        "/p/{0}/CAT.jpg",
    ],
)
def test_ten_thousand_collisions_take_seconds(path):
    """And not hours: each number that is given away is not tried again for the next."""
    sources = []
    for number in range(10_000):
        file = path.format(number // 2) if "CAT" in path else path.format(number)
        if "CAT" in path and number % 2:
            file = file.replace("CAT", "cat")
        relative = PurePath(*Path(file).parts[2:]) if "CAT" in path else PurePath(Path(file).name)
        sources.append(Source(Path(file), file, relative))
    began = time.process_time()  # of this process: neighbors do not count

    stems = plan_names(sources, SUFFIXES)

    assert time.process_time() - began < 25
    assert len({folded(str(stem.path)) for stem in stems}) == len(stems)
