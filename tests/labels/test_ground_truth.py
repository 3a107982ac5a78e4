"""True classes from folders' names and from files, and what users are told when they do not fit."""

from __future__ import annotations

import io
import json
import os
import tarfile
import unicodedata
from pathlib import Path, PurePath

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cnnviz.errors import UsageError
from cnnviz.images.source import Source
from cnnviz.images.sources import find_sources
from cnnviz.labels.classes import Labels, imagenet_labels
from cnnviz.labels.ground_truth import read_ground_truth
from cnnviz.labels.label_sets import LabelSet
from cnnviz.text import printable_path

PETS = ("tabby, tabby cat", "Egyptian cat", "crane", "black-footed ferret", "collie", "crane")


def source(path, relative=None):
    return Source(Path(path), printable_path(str(path)), PurePath(relative or Path(path).name))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Four images in ``photos``, the command running beside it."""
    monkeypatch.chdir(tmp_path)
    for name in ("a/1.jpg", "a/2.jpg", "b/1.jpg", "3.jpg"):
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return tmp_path / "photos"


def run(*arguments):
    return find_sources([str(argument) for argument in arguments or ["photos"]]).sources


def shown(sources):
    return [str(one.relative) for one in sources]


# --- folders -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "index"),
    [
        ("1", 1),
        ("004", 4),
        ("Egyptian cat", 1),
        ("egyptian_cat", 1),
        ("EGYPTIAN-CAT", 1),
        ("tabby", 0),
        ("Tabby_Cat", 0),
        ("tabby, tabby cat", 0),
        ("tabby,_tabby_cat", 0),
        ("tabby_tabby_cat", 0),
        ("black_footed_ferret", 3),
        ("black-footed ferret", 3),
    ],
)
def test_a_folder_is_called_as_its_class(name, index):
    truth = read_ground_truth("folders", [source(f"in/{name}/x.jpg", f"{name}/x.jpg")], PETS, 6)

    assert truth.source == "folders"
    assert truth.truths == (index,)
    assert truth.notes == ()
    assert truth.known == 1


@pytest.mark.parametrize("name", ["cat", "6", "-1", "ferret", "1.0", "²", "9" * 200, "tab"])
def test_a_part_of_a_name_is_none(name):
    images = [source(f"in/{name}/x.jpg", f"{name}/x.jpg"), source("in/1/x.jpg", "1/x.jpg")]

    truth = read_ground_truth("folders", images, PETS, 6)

    assert truth.truths == (None, 1)
    assert truth.notes == (
        f"1 image has no true class: no class has the name of the folder ('{name}').",
    )


def test_a_minus_is_no_hyphen():
    """-1 stands for unknown in many a data set, and digits are the names of many a network."""
    digits = [str(digit) for digit in range(10)]
    images = [source("in/-1/x.jpg", "-1/x.jpg"), source("in/1/x.jpg", "1/x.jpg")]

    assert read_ground_truth("folders", images, digits, 10).truths == (None, 1)


def test_the_nearest_folder_counts_and_of_a_single_image_the_one_that_holds_it(folder, monkeypatch):
    deep = folder / "a" / "collie"
    deep.mkdir()
    (deep / "x.jpg").touch()
    for name in ("1", "2"):
        (folder / name).mkdir()
        (folder / name / "y.jpg").touch()

    assert read_ground_truth("folders", run("photos/a"), PETS, 6).truths.count(4) == 1
    assert read_ground_truth("folders", run("photos/1/y.jpg"), PETS, 6).truths == (1,)
    assert read_ground_truth("folders", run("photos/1"), PETS, 6).truths == (1,)
    monkeypatch.chdir(folder / "2")
    assert read_ground_truth("folders", run("y.jpg", "../1/y.jpg"), PETS, 6).truths == (2, 1)
    assert read_ground_truth(" Folders ", run("."), PETS, 6).truths == (2,)


def test_folders_that_are_no_classes_are_named():
    names = ["1", "x", "1", "y", "y", "z", "w"]
    images = [source(f"in/{name}/{i}.jpg", f"{name}/{i}.jpg") for i, name in enumerate(names)]

    truth = read_ground_truth("folders", images, (), 3)

    assert truth.truths == (1, None, 1, None, None, None, None)
    assert truth.known == 2
    assert truth.notes == (
        "5 images have no true class: no class has the name of the folder ('x', 'y', 'z', ...).",
    )


def test_a_name_of_two_classes_is_neither():
    images = [source("in/crane/x.jpg", "crane/x.jpg"), source("in/5/x.jpg", "5/x.jpg")]

    truth = read_ground_truth("folders", images, PETS, 6)

    assert truth.truths == (None, 5)
    assert truth.notes == (
        "The name 'crane' fits 2 classes, crane (2), crane (5): use an index or another "
        "name. Its images have no true class.",
    )
    with pytest.raises(UsageError, match="'crane' fits 2 classes"):
        read_ground_truth("folders", images[:1], PETS, 6)


def test_an_index_that_is_another_class_s_name_is_neither():
    images = [source("in/1/x.jpg", "1/x.jpg"), source("in/2/x.jpg", "2/x.jpg")]

    with pytest.raises(UsageError, match=r"'1' fits 2 classes, 1 \(0\), 2 \(1\)"):
        read_ground_truth("folders", images, ("1", "2", "3"), 3)


def test_no_folder_fits():
    images = [source(f"in/{name}/x.jpg", f"{name}/x.jpg") for name in ("cats", "dogs")]

    with pytest.raises(UsageError) as caught:
        read_ground_truth("folders", images, PETS, 6)
    assert str(caught.value) == (
        "No folder is named after a class: the folders are 'cats', 'dogs', and the classes are "
        "tabby, tabby cat (0), Egyptian cat (1), crane (2), .... Rename them, or give a table with "
        "--truth."
    )
    with pytest.raises(UsageError, match="have no names, only the numbers 0 to 6"):
        read_ground_truth("folders", images, (), 7)


def test_wordnet_s_numbers_that_are_not_known():
    images = [source(f"in/{name}/x.jpg", f"{name}/x.jpg") for name in ("n02123045", "1")]

    with pytest.raises(UsageError, match="recognized if the file of --labels has them"):
        read_ground_truth("folders", images[:1], PETS, 6)
    assert "WordNet" in read_ground_truth("folders", images, PETS, 6).notes[0]
    # ... unless they are the names
    assert read_ground_truth("folders", images[:1], ("n02123045", "x"), 2).truths == (0,)


def test_wordnet_s_numbers_that_are_known(folder):
    names = ("n02123045", "n02123045-tabby", "n01440764", "n99999999", "Tabby")
    images = [source(f"in/{name}/x.jpg", f"{name}/x.jpg") for name in names]
    found = read_ground_truth("folders", images, imagenet_labels(), 1000)

    assert found.truths == (281, 281, 0, None, 281)
    own = Labels(("cat", "dog"), ("n02123045", "n02084071"))
    assert truth_of("a/1.jpg,n02084071\n3.jpg,cat\n", labels=own).truths == (0, 1, None, None)


# --- files ---------------------------------------------------------------------------------------


def truth_of(content, name="labels.csv", sources=None, labels=PETS, folder="."):
    path = Path(folder) / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_ground_truth(str(path), run() if sources is None else sources, labels, len(labels))


FORMS = {
    "titles": "path,label\na/1.jpg,collie\nb/1.jpg,1\n",
    "no titles": "a/1.jpg,collie\nb/1.jpg,1\n",
    "other titles": "id,Class, Image \n7,collie,a/1.jpg\n8,1,b/1.jpg\n",
    "first two of three": "path,label,split\na/1.jpg,collie,val\nb/1.jpg,1,val\n",
    "a mark in front": "\ufeffpath,label\na/1.jpg,collie\nb/1.jpg,1\n",
    "semicolons": "a/1.jpg;collie\nb/1.jpg;1\n",
    "semicolons, and commas in names": 'path;label\na/1.jpg;4\nb/1.jpg;"Egyptian cat"\n',
    "tabs": "a/1.jpg\tcollie\nb/1.jpg\t1\n",
    "Windows": "path,label\r\na\\1.jpg,collie\r\nb\\1.jpg,1\r\n",
    "blank lines and cells": "\na/1.jpg,collie\n\nb/1.jpg, 1 ,,\n,\n",
    "quotes behind spaces": '"a/1.jpg", "collie"\n"b/1.jpg", \'1\'\n',
    "floats": "path,label\na/1.jpg,4.0\nb/1.jpg,1.0\n3.jpg,\na/2.jpg,NaN\n",
    "floats of NumPy": "a/1.jpg,4.000000000000000000e+00\nb/1.jpg,1.000000e+00\n",
    "floats with commas": "a/1.jpg;4,0\nb/1.jpg;1,0\n",
    "empty in many ways": "a/1.jpg,collie\nb/1.jpg,1\n3.jpg,None\na/2.jpg,<NA>\n",
    "null": "a/1.jpg,collie\nb/1.jpg,1\n3.jpg,null\na/2.jpg,nan\n",
    "Excel": "sep=;\r\na/1.jpg;collie\r\nb/1.jpg;1\r\n",
    "a title of two": "filename,breed\na/1.jpg,collie\nb/1.jpg,1\n",
    "target and image path": "target,x,Image_Path\ncollie,0,a/1.jpg\n1,0,b/1.jpg\n",
    "y and file": "y,file\ncollie,a/1.jpg\n1,b/1.jpg\n",
    "dots": "./a/1.jpg,collie\n.\\b\\1.jpg,1\n",
    "as in addresses": "a%2F1.jpg,collie\nphotos/b/%31.jpg,1\n",
    "other case": "A/1.JPG,collie\nPhotos/B/1.jpg,1\n",
    "quotes": '"a/1.jpg","collie"\n"b/1.jpg","1"\n',
    "no end of line": "a/1.jpg,collie\nb/1.jpg,1",
    "with the folder": "photos/a/1.jpg,collie\n./photos/b/1.jpg,1\n",
    "twice the same": "a/1.jpg,collie\na/1.jpg,4\nb/1.jpg,1\nphotos/b/1.jpg,Egyptian cat\n",
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_csv_in_many_forms(folder, form, encoding):
    truth = truth_of(FORMS[form].encode(encoding))

    assert shown(run()) == ["3.jpg", "a/1.jpg", "a/2.jpg", "b/1.jpg"]
    assert truth.source == "labels.csv"
    assert truth.truths == (None, 4, None, 1)
    assert truth.notes == ("2 of 4 images have no label in labels.csv, for example photos/3.jpg.",)


@pytest.mark.parametrize(
    "content",
    [
        {"a/1.jpg": "collie", "b/1.jpg": 1},
        {"a/1.jpg": "collie", "b/1.jpg": "1", "3.jpg": None},
        [{"path": "a/1.jpg", "label": "collie"}, {"label": 1, "path": "b/1.jpg", "x": [0]}],
        [{"image": "a/1.jpg", "target": 4.0}, {"class": 1.0, "file_name": "b/1.jpg"}],
        {"a/1.jpg": 4.0, "b/1.jpg": "1.0", "3.jpg": float("nan"), "a/2.jpg": "None"},
    ],
)
def test_json_in_all_forms(folder, content):
    truth = truth_of(json.dumps(content), "labels.json")

    assert truth.source == "labels.json"
    assert truth.truths == (None, 4, None, 1)
    assert truth.notes == ("2 of 4 images have no label in labels.json, for example photos/3.jpg.",)


def test_an_object_a_line(folder):
    lines = '{"path": "a/1.jpg", "label": "collie"}\n\n{"label": 1, "path": "b/1.jpg"}\n'
    assert truth_of(lines, "labels.jsonl").truths == (None, 4, None, 1)


def test_a_list_with_labels_behind_spaces(folder):
    (folder / "a b.jpg").touch()
    truth = truth_of("a/1.jpg 4\na b.jpg 1\n", "labels.txt")
    assert dict(zip(shown(run()), truth.truths, strict=True))["a b.jpg"] == 1
    assert truth_of("a/1.jpg,Egyptian cat\n", "labels.txt").truths.count(1) == 1


def test_a_class_that_is_called_as_if_it_were_none(folder):
    labels = ("None", "nan", "cat")
    truth = truth_of("a/1.jpg,none\nb/1.jpg,NaN\n3.jpg,null\n", labels=labels)
    assert truth.truths == (None, 0, None, 1)


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_paths_and_names_composed_or_not(folder, form):
    """macOS hands on names of files in pieces; keyboards do not."""
    other = {"NFC": "NFD", "NFD": "NFC"}[form]
    (folder / unicodedata.normalize(form, "Fähre")).mkdir()
    (folder / unicodedata.normalize(form, "Fähre/né.jpg")).touch()
    labels = ("x", unicodedata.normalize(form, "Größe"))
    wanted = {str(one.relative): 1 if "re" in str(one.relative) else None for one in run()}
    assert sorted(wanted.values(), key=str).count(1) == 1

    for path in ("Fähre/né.jpg", "photos/Fähre/né.jpg", str(folder / "Fähre/né.jpg")):
        for label in ("Größe", "GRÖSSE", "größe"):
            row = unicodedata.normalize(other, f"{path},{label}\n")
            assert (
                dict(zip(shown(run()), truth_of(row, labels=labels).truths, strict=True)) == wanted
            )


def test_a_path_in_another_case_is_another_file_where_there_is_one(folder):
    for name in ("Cat.jpg", "cat.jpg"):
        (folder / name).touch()

    found = dict(zip(shown(run()), truth_of("cat.jpg,1\nCat.jpg,4\n").truths, strict=True))
    assert (found["cat.jpg"], found["Cat.jpg"]) == (1, 4)
    with pytest.raises(UsageError, match=r"Line 1 of labels.csv \('CAT.jpg'\): this path matches "):
        truth_of("CAT.jpg,1\n")
    # The row speaks of a file that is no image of this run.
    lone = run("photos/cat.jpg")
    with pytest.raises(UsageError, match="matches no image of this run"):
        truth_of("photos/Cat.jpg,1\n", sources=lone)


def test_latin_1(folder):
    (folder / "né.jpg").touch()
    labels = ("crème brûlée", "x")
    truth = truth_of("path;label\nné.jpg;Crème Brûlée\n".encode("cp1252"), labels=labels)
    assert dict(zip(shown(run()), truth.truths, strict=True))["né.jpg"] == 0


def test_names_that_differ_only_by_case(folder):
    labels = ("Crane", "crane", "cat")
    assert truth_of("a/1.jpg,crane\nb/1.jpg,Crane\n", labels=labels).truths[1::2] == (1, 0)
    with pytest.raises(UsageError, match=r"'CRANE' fits 2 classes, Crane \(0\), crane \(1\)"):
        truth_of("a/1.jpg,CRANE\n", labels=labels)


def test_the_delimiter_is_the_one_under_which_paths_name_images(folder):
    """By the number of columns alone a comma would do as well."""
    truth = truth_of("a/1.jpg;tabby, tabby cat\nb/1.jpg;tabby, tabby cat\n")
    assert truth.truths == (None, 0, None, 0)

    (folder / "4;5,6.jpg").touch()
    truth = truth_of('"4;5,6.jpg",collie\n')
    assert dict(zip(shown(run()), truth.truths, strict=True))["4;5,6.jpg"] == 4


def test_paths_are_relative_to_the_file_first(folder):
    """The same row names another image where the file lies elsewhere."""
    rows = "1.jpg,collie\n"
    for place, relative in (("photos/a", "a/1.jpg"), ("photos/b", "b/1.jpg")):
        truth = truth_of(rows, folder=place)
        found = dict(zip(shown(run()), truth.truths, strict=True))
        assert {name for name, index in found.items() if index is not None} == {relative}


def test_absolute_paths_and_links_to_folders(folder, tmp_path):
    (tmp_path / "link").symlink_to(folder)

    assert truth_of(f"{folder}/a/1.jpg,4\n").truths == (None, 4, None, None)
    assert truth_of(f"{tmp_path}/link/a/1.jpg,4\n").truths == (None, 4, None, None)
    assert truth_of(f"{folder}/b/../a/1.jpg,4\n", sources=run("link")).truths[1] == 4


def test_paths_as_they_are_seen_from_where_the_command_runs(folder, tmp_path):
    """Whatever way the folder was given, and wherever the file lies."""
    (tmp_path / "elsewhere").mkdir()

    for argument in ("photos", folder):
        truth = truth_of("photos/a/1.jpg,4\n./photos/3.jpg,1\n", "elsewhere/x.csv", run(argument))
        assert truth.truths == (1, 4, None, None)


def test_images_given_one_by_one(folder):
    images = run("photos/b/1.jpg", "photos/3.jpg")

    truth = truth_of("photos/3.jpg,2\nphotos/b/1.jpg,0\n", sources=images)

    assert truth.truths == (0, 2)
    assert truth.notes == ()


def test_a_row_that_could_be_either_of_two_images_is_refused(folder):
    images = run("photos/a", "photos/b")

    with pytest.raises(UsageError, match=r"Line 1 of labels.csv \('1.jpg'\): this path matches "):
        truth_of("1.jpg,4\n", sources=images)
    assert truth_of("photos/a/1.jpg,4\n", sources=images).truths == (4, None, None)


def test_rows_without_images_are_counted(folder):
    truth = truth_of("x.jpg,no such class\na/1.jpg,4\nb/9.jpg,1\na/2.jpg,\n3.jpg,4\nb/1.jpg,4\n")

    assert truth.truths == (4, 4, None, 4)
    assert truth.notes == (
        "2 rows of labels.csv match no image of this run, for example 'x.jpg' (line 1).",
        "1 of 4 images has no label in labels.csv, for example photos/a/2.jpg.",
    )


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("a/1.jpg,4\na/2.jpg,spaniel\n", "Line 2 of labels.csv ('a/2.jpg'): No class is called"),
        ("a/1.jpg,4\na/2.jpg,colie\n", "Similar: collie (4)."),
        ("a/1.jpg,6\n", "There is no class 6: the network's classes are 0 to 5."),
        ("a/1.jpg,-1\n", "There is no class -1"),
        ("a/1.jpg,crane\n", "The name 'crane' fits 2 classes, crane (2), crane (5)"),
        (f"a/1.jpg,{'9' * 5000}\n", "a label of 5000 characters is no class name"),
        (
            "a/1.jpg,4\n\nphotos/a/1.jpg,1\n",
            "Line 3 of labels.csv ('photos/a/1.jpg'): the label is '1' here and '4' in line 1",
        ),
        (
            "x/1.jpg,4\n",
            "labels.csv matches no image of this run: it has 'x/1.jpg', and the run has '3.jpg' "
            "(photos/3.jpg).",
        ),
        ("a/1.jpg\n", "Line 1 of labels.csv has 1 column"),
        ("a/1.jpg,4\nb/1.jpg,4,x\n", "Line 2 of labels.csv has 3 columns"),
        ("id,path,label\n1,a/1.jpg\n", "Line 2 of labels.csv has 2 columns"),
        ('a/1.jpg,4\n"b/1.jpg,4\n', "labels.csv cannot be read as CSV: unexpected end of data."),
        ("", "labels.csv has no rows; expected a path and a label for each image"),
        ("path,label\n", "labels.csv has no rows; expected a path and a label for each image"),
        ("a/1.jpg,4\n".encode("utf-16") + b"x", "labels.csv is not UTF-8 text"),
        (b"a/1.jpg,4\0\n", "labels.csv is not UTF-8 text"),
    ],
)
def test_csv_that_is_wrong(folder, content, problem):
    with pytest.raises(UsageError) as caught:
        truth_of(content)
    assert problem in str(caught.value)


def test_unknown_titles_are_explained(folder):
    (folder / "photo").touch()
    images = [*run(), source("photo.jpg", "photo")]

    with pytest.raises(
        UsageError, match="If this line is a header, call its columns path and label"
    ):
        truth_of("photo,kind\na/1.jpg,4\n", sources=images)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ('{"a/1.jpg": 4,}', "labels.json is not valid JSON: "),
        ("[" * 200_000, "labels.json cannot be read as JSON: "),
        ('"a/1.jpg"', "but it is something else"),
        ('{"a/1.jpg": 4, "b/1.jpg": true}', "but entry 2 is something else"),
        ('{"a/1.jpg": 1.5}', "but entry 1 is something else"),
        ('[{"path": "a/1.jpg"}]', "but entry 1 is something else"),
        ('[["a/1.jpg", 4]]', "but entry 1 is something else"),
        ('[{"path": 1, "label": 4}]', "but entry 1 is something else"),
        ('{"a/1.jpg": 4, "a/1.jpg": 1}', "Entry 2 of labels.json ('a/1.jpg'): the label is '1'"),
        ('{"a/1.jpg": "spaniel"}', "Entry 1 of labels.json ('a/1.jpg'): No class is called"),
        ("{}", "labels.json has no rows; expected a path and a label for each image"),
        ("[]", "labels.json has no rows; expected a path and a label for each image"),
        ('{"\\ud800": 1, "\\u0000": 1}', r"it has '\ud800', and the run has"),
        ('{"a/1.jpg": "\\ud800"}', r"No class is called '\ud800'"),
    ],
)
def test_json_that_is_wrong(folder, content, problem):
    with pytest.raises(UsageError) as caught:
        truth_of(content, "labels.json")
    assert problem in str(caught.value)
    str(caught.value).encode()  # can be printed


@pytest.mark.parametrize(
    ("spec", "problem"),
    [
        ("labels.csv", "The ground truth in labels.csv cannot be read: No such file or directory."),
        ("photos/dir.csv", "The ground truth in photos/dir.csv cannot be read: Is a directory."),
        (
            "labels.xls",
            "from a .csv, .tsv, .txt, .json or .jsonl file; got 'labels.xls'.",
        ),
        ("folder", "got 'folder'."),
        ("", "got ''."),
    ],
)
def test_what_is_no_truth(folder, spec, problem):
    (folder / "dir.csv").mkdir()

    with pytest.raises(UsageError) as caught:
        read_ground_truth(spec, run(), PETS, 6)
    assert problem in str(caught.value)


def test_names_that_are_no_utf8(folder):
    """As they lie there in a CSV, as JSON of Python has them, or as cnnviz shows them."""
    name = os.fsdecode(b"caf\xe9 \xff.jpg")
    (folder / name).touch()
    (folder / os.fsdecode(b"\xe9")).mkdir()
    (folder / os.fsdecode(b"\xe9") / "1.jpg").touch()
    expected = [4 if str(one.relative) == name else None for one in run()]
    assert expected.count(4) == 1

    for content, file in (
        (b"caf\xe9 \xff.jpg,collie\n", "labels.csv"),
        (b"photos/caf\\xe9 \\xff.jpg,collie\n", "labels.csv"),
        (json.dumps({name: "collie"}).encode(), "labels.json"),
    ):
        assert list(truth_of(content, file).truths) == expected
    with pytest.raises(UsageError, match=r"it has 'x\\xff.jpg'"):
        truth_of(b"x\xff.jpg,collie\n")
    with pytest.raises(UsageError, match="No class is called"):
        truth_of(b"caf\xe9 \xff.jpg,coll\xff\n")
    with pytest.raises(UsageError, match=r"the folders are '\\xe9', and"):
        read_ground_truth("folders", run(folder / os.fsdecode(b"\xe9")), PETS, 6)


def test_names_in_all_letters_come_through_csv(folder):
    names = ["ねこ.jpg", "größe.jpg", "a, b.jpg", 'say "no".jpg', " x .jpg", "a;b.jpg"]
    for name in names:
        (folder / name).touch()
    quoted = [name.replace('"', '""') for name in names]
    rows = "".join(f'"{name}",{number % 6}\n' for number, name in enumerate(quoted))

    found = dict(zip(shown(run()), truth_of(rows).truths, strict=True))

    assert [found[name] for name in names] == [0, 1, 2, 3, 4, 5]


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.one_of(st.binary(max_size=60), st.text(max_size=60).map(str.encode)))
def test_no_content_brings_anything_but_an_error(folder, content):
    for name in ("labels.csv", "labels.json"):
        try:
            truth = truth_of(content, name)
        except UsageError as error:
            str(error).encode()
        else:
            assert truth.known == 0  # the images' names do not come up by chance


# --- several classes an image --------------------------------------------------------------------

FIELDS = ("fire", "smoke", "no, thing", "fog")
SEVERAL = {
    "bars": ("labels.csv", "path,labels\na/1.jpg,fire|fog\na/2.jpg,smoke\nb/1.jpg,\n"),
    "semicolons": ("labels.csv", "path,label\na/1.jpg,fog; fire\na/2.jpg,1\nb/1.jpg,\n"),
    "commas": ("labels.csv", 'path,tags\na/1.jpg,"fire,fog"\na/2.jpg,smoke\nb/1.jpg,""\n'),
    "spaces": ("labels.csv", "image_name,tags\na/1.jpg,fire fog\na/2.jpg,smoke\nb/1.jpg,\n"),
    "printed lists": (
        "labels.csv",
        "path;labels\na/1.jpg;['fire', 'fog']\na/2.jpg;['smoke']\nb/1.jpg;[]\n",
    ),
    "columns": ("labels.csv", "a/1.jpg,fire,fog\na/2.jpg,smoke,\nb/1.jpg,,\n"),
    "rows": ("labels.csv", "a/1.jpg,fire\na/2.jpg,smoke\na/1.jpg,fog\na/1.jpg,fog\nb/1.jpg,\n"),
    "JSON lists": ("l.json", '{"a/1.jpg": ["fire", 3], "a/2.jpg": "smoke", "b/1.jpg": []}'),
    "JSON objects": (
        "l.jsonl",
        '{"file": "a/1.jpg", "labels": ["fog", "fire"]}\n{"file": "a/2.jpg", "label": 1}\n'
        '{"file": "b/1.jpg", "labels": []}\n{"file": "3.jpg", "labels": null}\n',
    ),
    "COCO": (
        "coco.json",
        json.dumps(
            {
                "images": [
                    {"id": 7, "file_name": "a/1.jpg"},
                    {"id": 8, "file_name": "a/2.jpg"},
                    {"id": 9, "file_name": "b/1.jpg"},
                ],
                "annotations": [
                    {"image_id": 7, "category_id": 90, "bbox": [0, 0, 1, 1]},
                    {"image_id": 7, "category_id": 1},
                    {"image_id": 7, "category_id": 90},
                    {"image_id": 8, "category_id": 2},
                ],
                "categories": [
                    {"id": 1, "name": "fire"},
                    {"id": 2, "name": "smoke"},
                    {"id": 90, "name": "fog"},
                ],
            }
        ),
    ),
    "indicators": (
        "labels.csv",
        'path,age,Fire,smoke,"no, thing",fog\n'
        "a/1.jpg,61,1.0,0,,1\na/2.jpg,62,0,1,0,no\nb/1.jpg,63,,,,\n",
    ),
}


def several(name, content, labels=FIELDS):
    Path(name).write_text(content)
    return read_ground_truth(name, run(), labels, len(labels), multi_label=True)


@pytest.mark.parametrize("form", SEVERAL)
def test_several_classes_an_image(folder, form):
    truth = several(*SEVERAL[form])
    found = dict(zip(shown(run()), truth.truths, strict=True))
    assert found == {
        "a/1.jpg": LabelSet((0, 3)),
        "a/2.jpg": LabelSet((1,)),
        "b/1.jpg": LabelSet(()),
        "3.jpg": None,
    }
    assert truth.known == 3


def test_a_class_whose_name_has_a_sign_in_it_comes_first(folder):
    truth = several("labels.csv", 'path,labels\na/1.jpg,"no, thing"\na/2.jpg,"no, thing|fog"\n')
    assert [one for one in truth.truths if one] == [LabelSet((2,)), LabelSet((2, 3))]


def test_what_is_not_known_is_no_negative(folder):
    truth = several("labels.csv", "Image,fire,fog,sex\na/1.jpg,-1,1,F\na/2.jpg,0.0,?,M\n")
    assert [one for one in truth.truths if one] == [
        LabelSet((3,), unknown=(0, 1, 2)),
        LabelSet((), unknown=(1, 2, 3)),
    ]
    assert truth.notes[:2] == (
        "1 column of labels.csv is called like no class, and not used: 'sex'.",
        "2 classes have no column in labels.csv, so that nothing is known of them: smoke (1), no, "
        "thing (2).",
    )
    rows = (
        "ImageID,Source,LabelName,Confidence\na/1.jpg,v,fire,1\na/1.jpg,v,fog,0\na/2.jpg,v,fog,0\n"
    )
    truth = several("labels.csv", rows)
    assert [one for one in truth.truths if one] == [
        LabelSet((0,), unknown=(1, 2)),
        LabelSet((), unknown=(0, 1, 2)),
    ]


def test_folders_of_a_network_with_several_classes(folder):
    images = run()
    truth = read_ground_truth("folders", images, ("a", "b"), 2, multi_label=True)
    found = dict(zip(shown(images), truth.truths, strict=True))
    assert found["a/1.jpg"] == LabelSet((0,))
    assert found["b/1.jpg"] == LabelSet((1,))
    assert found["3.jpg"] is None


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (
            "path,labels\na/1.jpg,fire|flood\n",
            r"Line 2 of l\.csv \('a/1\.jpg'\): No class is called",
        ),
        ("path,fire,fog\na/1.jpg,1,maybe\n", r"Line 2 of l\.csv has 'maybe' in the column 'fog'"),
        ("path,fire,FIRE\na/1.jpg,1,0\n", r"two columns for one class, 'fire' and 'FIRE'"),
        ("path,fire,fog\na/1.jpg,1,0\na/1.jpg,0,0\n", r"this is not what line 2 says; keep one"),
        (
            "path,label,confidence\na/1.jpg,fog,0\na/1.jpg,fog,1\n",
            r"is said to be and not to be of class 3",
        ),
    ],
)
def test_several_classes_that_are_refused(folder, content, told):
    with pytest.raises(UsageError, match=told):
        several("l.csv", content)


@pytest.mark.parametrize(
    "content", ["path,label\na/1.jpg,fire|fog\n", "path,fire,fog,smoke\na/1.jpg,1,1,0\n"]
)
def test_one_class_is_predicted_but_there_are_several(folder, content):
    Path("l.csv").write_text(content)
    with pytest.raises(UsageError, match=r"this is 2 labels, and the network predicts one class"):
        read_ground_truth("l.csv", run(), FIELDS, 4)


def test_one_class_an_image_in_forms_for_several(folder):
    for name, content in (
        ("l.csv", "path,fire,fog,smoke\na/1.jpg,0,1,0\na/2.jpg,0,0,0\n"),
        ("l.json", '{"a/1.jpg": ["fog"], "a/2.jpg": []}'),
    ):
        Path(name).write_text(content)
        truth = read_ground_truth(name, run(), FIELDS, 4)
        assert dict(zip(shown(run()), truth.truths, strict=True)) == {
            **dict.fromkeys(("3.jpg", "a/2.jpg", "b/1.jpg")),
            "a/1.jpg": 3,
        }


# --- archives ------------------------------------------------------------------------------------


def archive(tmp_path, **classes):
    """Images in an archive, each with a member that says its class, or without."""
    path = tmp_path / "x-0.tar"
    with tarfile.open(path, "w") as tar:
        for name, label in classes.items():
            for suffix, text in ((".jpg", "x"), (".json", "{}"), (".cls", label)):
                if text is not None:
                    info = tarfile.TarInfo(name + suffix)
                    info.size = len(text.encode())
                    tar.addfile(info, io.BytesIO(text.encode()))
    return find_sources([str(path)]).sources


def test_classes_of_an_archive(tmp_path):
    sources = archive(tmp_path, a="1", b="4\n", c="Egyptian cat", d=None, e="")
    found = read_ground_truth("cls", sources, PETS, len(PETS))
    assert found.source == "cls"
    assert found.truths == (1, 4, 1, None, None)
    assert found.notes == (
        f"1 of 5 images has no .cls member beside it, for example {tmp_path}/x-0.tar/d.jpg.",
    )
    several = read_ground_truth("cls", archive(tmp_path, a="1|4", b=""), PETS, 6, multi_label=True)
    assert several.truths == (LabelSet((1, 4)), LabelSet(()))


@pytest.mark.parametrize(
    ("classes", "told"),
    [
        ({"a": "6"}, r"The .cls member of an archive \('.*/x-0.tar/a.jpg'\): "),
        ({"a": "crane"}, r"The .cls member of an archive \('.*/x-0.tar/a.jpg'\): "),
        ({"a": "0|1"}, "2 labels, and the network predicts one class"),
        ({"a": None}, r"No image has a class: --truth cls takes it .*/a.jpg has no such member"),
    ],
)
def test_classes_of_an_archive_that_do_not_fit(tmp_path, classes, told):
    with pytest.raises(UsageError, match=told):
        read_ground_truth("cls", archive(tmp_path, **classes), PETS, len(PETS))


# --- behind URLs ---------------------------------------------------------------------------------


@pytest.fixture
def bucket():
    """Images in a bucket in memory, and a table beside them."""
    import fsspec

    system = fsspec.filesystem("memory")
    for name in ("a/1.jpg", "b/1.jpg"):
        system.pipe_file(f"/bucket/photos/{name}", b"x")
    system.pipe_file("/bucket/photos/labels.csv", b"path,label\na/1.jpg,4\nb/1.jpg,collie\n")
    yield "memory://bucket/photos"
    system.rm("/bucket", recursive=True)


@pytest.mark.needs("fsspec")
@pytest.mark.parametrize("inputs", [[""], ["/a/1.jpg", "/b/1.jpg"]])
def test_a_table_behind_a_url(bucket, inputs):
    sources = find_sources([bucket + one for one in inputs]).sources
    found = read_ground_truth(f"{bucket}/labels.csv", sources, PETS, len(PETS))
    assert found.truths == (4, 4)
    assert found.source == f"{bucket}/labels.csv"


@pytest.mark.needs("fsspec")
def test_a_table_behind_a_url_for_images_of_this_machine(bucket, folder):
    found = read_ground_truth(f"{bucket}/labels.csv", run(), PETS, len(PETS))
    assert [truth for truth in found.truths if truth is not None] == [4, 4]


@pytest.mark.needs("fsspec")
def test_a_table_that_is_not_there_behind_its_url(bucket, folder):
    with pytest.raises(UsageError, match=r"in memory://bucket/no.csv cannot be read: there is no"):
        read_ground_truth("memory://bucket/no.csv", run(), PETS, len(PETS))
