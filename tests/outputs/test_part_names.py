"""The names of some images are those that they have among all, whoever looks at which of them."""

from __future__ import annotations

import os
from pathlib import Path, PurePath

import numpy as np
import pytest

from cnnviz.images.source import Source
from cnnviz.outputs.long_names import plan_long_names
from cnnviz.outputs.naming import NamePlanner, output_stem, plan_names
from cnnviz.outputs.part_names import plan_some_names, stable_number

SUFFIXES = ("_original.png", "_gradcam.png", "_guided_gradcam.png", "_saliency.png", ".npz")
#: Names that meet one another by an ending, an index, a suffix, a number, case, or their length.
NAMES = (
    *("cat", "CAT", "cat_281", "cat_guided", "cat_guided_281", "cat_281-282", "cat-2"),
    *("cat.jpg", "cat.jpg-2", "cat_similarity_dog", "é", "e\u0301", "x" * 240, "x" * 250),
    *("cat_281-282~deadbeef", "x" * 200 + "_7", "dog", "owl", "fox"),
)
ENDS = (".jpg", ".png", ".JPG", ".webp", "")
FOLDERS = (
    *("a", "A", "a. ", "b", "cat_gradcam.png", "cat_281_saliency.png", "cat.jpg_original.png"),
    "cat.jpg-2_gradcam.png",
)


def listing(random):
    """Some images of a tree, each found in a folder anywhere above it."""
    found = {}
    for _ in range(random.integers(2, 40)):
        folders = [FOLDERS[one] for one in random.integers(0, len(FOLDERS), random.integers(0, 4))]
        name = f"{random.choice(NAMES)}{random.choice(ENDS)}"[:255]
        path = "/".join(["/root", *folders, name])
        relative = PurePath(*folders[random.integers(0, len(folders) + 1) :], name)
        found.setdefault(path, Source(Path(path), path, relative))
    return list(found.values())


def in_parts(sources, belongs, planner):
    """The names that parts come to, each by itself."""
    names = [None] * len(sources)
    for part in set(belongs):
        places = [place for place, one in enumerate(belongs) if one == part]
        for place, name in zip(places, plan_some_names(sources, places, planner), strict=True):
            names[place] = name
    return names


MORE = [{}, {"several": True}, {"words": ("similarity_dog",)}]


@pytest.mark.parametrize("numbered", [False, True])
@pytest.mark.parametrize("more", MORE)
def test_parts_name_as_the_whole_does(numbered, more):
    random = np.random.default_rng(0)
    helped = 0
    for _ in range(8):
        sources = listing(random)
        belongs = random.integers(0, random.integers(1, 8), len(sources)).tolist()
        whole = plan_names(sources, SUFFIXES, numbered=numbered, **more)
        planner = NamePlanner(SUFFIXES, numbered=numbered, **more)
        assert in_parts(sources, belongs, planner) == whole
        for part in set(belongs):
            places = [place for place, one in enumerate(belongs) if one == part]
            alone = plan_names(
                [sources[place] for place in places], SUFFIXES, numbered=numbered, **more
            )
            helped += alone != [whole[place] for place in places]
    assert helped > 10  # a part that looks only at its own images names them otherwise


@pytest.mark.parametrize("numbered", [False, True])
@pytest.mark.parametrize("more", MORE)
def test_long_lists_are_named_as_in_memory(numbered, more, anywhere):
    random = np.random.default_rng(0)
    for _ in range(3):
        sources = listing(random)
        planner = NamePlanner(SUFFIXES, numbered=numbered, **more)
        stems = plan_long_names(sources, planner, together=6)
        assert [output_stem(os.fsdecode(stem)) for stem in stems] == plan_names(
            sources, SUFFIXES, numbered=numbered, **more
        )


def source(path):
    return Source(Path("/p", path), path, PurePath(path))


def test_what_no_other_name_comes_near_is_not_kept():
    sources = [source(f"val_{number:05}.JPEG") for number in range(100)]
    planned = []

    class Counting(NamePlanner):
        def plan(self, sources, tried=None):
            planned.append(len(sources))
            return super().plan(sources, tried)

    plan_some_names(sources, [3, 50], Counting(SUFFIXES))
    assert planned == [2]  # though all of them look like val with an index behind it
    plan_some_names([*sources, source("val.png")], [3, 50], Counting(SUFFIXES))
    assert planned[1:] == [2, 3, 101]  # and if there is a val, all of them are


def test_numbers_that_would_be_read_as_indices_have_no_dash():
    """Where ``cat_281-2`` would be ``cat`` with two indices, another number is no help."""
    sources = [
        Source(Path(f"/{number}/p/q/r", name), name, PurePath(name))
        for number in range(2)
        for name in ("cat_281", "cat")
    ]
    names = [str(one.path) for one in plan_names(sources, SUFFIXES, several=True)]
    assert len(set(names)) == 4
    assert "cat_281~2" in names


def test_the_number_of_a_name_is_the_same_everywhere():
    # The first 16 digits of `printf a/cat | sha256sum`.
    assert stable_number(source("a/cat.png")) == 0x3F737D3DDA698A46
    assert stable_number(source("A/Cat.jpg")) == 0x3F737D3DDA698A46


def test_where_windows_writes_other_names(monkeypatch):
    """Folders and names that become others' there."""
    monkeypatch.setattr("cnnviz.system.allows_all_names", lambda: False)
    here = globals()
    monkeypatch.setitem(here, "NAMES", (*NAMES, "ca:t", "ca?t", "ca_t", "cat:281", "cat?guided"))
    monkeypatch.setitem(here, "FOLDERS", (*FOLDERS, "a:", "a_", "cat?gradcam.png"))
    random = np.random.default_rng(1)
    planner = NamePlanner(SUFFIXES, numbered=True)
    for _ in range(12):
        sources = listing(random)
        belongs = random.integers(0, 3, len(sources)).tolist()
        assert in_parts(sources, belongs, planner) == plan_names(sources, SUFFIXES)
