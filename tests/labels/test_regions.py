"""Where objects are: boxes and masks pixel by pixel, and what users are told about faulty ones."""

from __future__ import annotations

import json
import pickle

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from cnnviz.errors import CnnvizError, ImageError, UsageError
from cnnviz.images.sources import find_sources
from cnnviz.labels.regions import read_regions

PETS = ("tabby, tabby cat", "Egyptian cat", "crane", "black-footed ferret", "collie", "crane")
SHAPE = (6, 8)  # of all images, (H, W)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Three images in ``photos``, the command running beside it."""
    monkeypatch.chdir(tmp_path)
    for name in ("a/1.jpg", "a/2.jpg", "b/1.jpg"):
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return tmp_path


def regions(folder, boxes=None, masks=None):
    sources = find_sources([str(folder / "photos")]).sources
    return read_regions(
        boxes and str(folder / boxes), masks and str(folder / masks), sources, PETS, 6
    )


def boxes(folder, text, name="boxes.csv"):
    (folder / name).write_text(text, encoding="utf-8")
    return regions(folder, boxes=name)


def rectangle(x0, y0, x1, y1):
    """The pixels whose centers are in the rectangle, one after another."""
    return np.array(
        [[x0 <= x + 0.5 < x1 and y0 <= y + 0.5 < y1 for x in range(8)] for y in range(6)]
    )


# --- boxes ---------------------------------------------------------------------------------------

CSV = """path,label,x0,y0,x1,y1,difficult
a/1.jpg,tabby,1,2,4,5,0
a/1.jpg,0,6,0,8,2,
a/1.jpg,collie,0,0,1,1,0
a/1.jpg,3,5,5,6,6,1
a/2.jpg,tabby,2,2,3,3,1
a/2.jpg,tabby,4,4,8,6,0
b/1.jpg,,,,,,
"""


def test_a_region_is_the_union_of_the_boxes_of_the_class(folder):
    found = boxes(folder, CSV)
    assert found.notes == ()
    assert (found.known, found.is_labeled, found.source) == (3, True, str(folder / "boxes.csv"))
    tabbies = rectangle(1, 2, 4, 5) | rectangle(6, 0, 8, 2)
    np.testing.assert_array_equal(found.region(0, 0, SHAPE), tabbies)
    np.testing.assert_array_equal(found.region(0, 4, SHAPE), rectangle(0, 0, 1, 1))
    assert found.region(0, 0, SHAPE).sum() == 9 + 4


def test_an_object_that_is_not_there_has_an_empty_region_and_so_has_a_difficult_one(folder):
    found = boxes(folder, CSV)
    assert not found.region(0, 1, SHAPE).any()  # no Egyptian cat
    assert not found.region(0, 3, SHAPE).any()  # a difficult ferret
    # A difficult tabby beside one that is not belongs to what may be hit.
    both = rectangle(2, 2, 3, 3) | rectangle(4, 4, 8, 6)
    np.testing.assert_array_equal(found.region(1, 0, SHAPE), both)
    assert not found.region(2, 0, SHAPE).any()  # an image without objects
    assert found.region(0, None, SHAPE) is None  # what is explained is no class


@pytest.mark.parametrize(
    "header",
    [
        "path,label,x0,y0,x1,y1",
        "filename;class;xmin;ymin;xmax;ymax",
        "image\tcategory\tx1\ty1\tx2\ty2",
        "File Path,Class Name,X_min,Y_min,X_max,Y_max",
        "sep=;\nimg;y;left;top;right;bottom",
    ],
)
def test_headers_and_separators_of_others(folder, header):
    sign = next(sign for sign in ";\t," if sign in header)
    found = boxes(folder, header + sign.join(["\na/1.jpg", "tabby", "1", "2", "4", "5"]))
    np.testing.assert_array_equal(found.region(0, 0, SHAPE), rectangle(1, 2, 4, 5))


def test_a_quote_that_is_out_of_place_under_another_separator_does_no_harm(folder):
    found = boxes(folder, 'path;note;x0;y0;x1;y1\na/1.jpg;red, "big" one;1;2;4;5\n')
    np.testing.assert_array_equal(found.region(0, 0, SHAPE), rectangle(1, 2, 4, 5))


def test_columns_in_any_order_and_more_of_them(folder):
    found = boxes(folder, "note,y1,x1,y0,x0,label,path\n,5,4,2,1,collie,photos\\a\\1.jpg\n")
    np.testing.assert_array_equal(found.region(0, 4, SHAPE), rectangle(1, 2, 4, 5))


@pytest.mark.parametrize(
    "corners", [(0.5, 1.5, 3.5, 4.4), (0.6, 1.4, 3.6, 4.6), (-0.9, -1, 8.9, 7), (0, 0, 7.5, 6)]
)
def test_a_pixel_is_in_a_box_if_its_center_is(folder, corners):
    found = boxes(folder, f"path,x0,y0,x1,y1\na/1.jpg,{','.join(map(str, corners))}\n")
    np.testing.assert_array_equal(found.region(0, 0, SHAPE), rectangle(*corners))


def test_a_box_without_a_center_has_the_pixel_that_it_lies_in(folder):
    found = boxes(folder, "path,x0,y0,x1,y1\na/1.jpg,2.6,3,2.9,3\na/2.jpg,8,6,8.5,6.5\n")
    np.testing.assert_array_equal(found.region(0, 0, SHAPE), rectangle(2, 3, 3, 4))
    np.testing.assert_array_equal(found.region(1, 0, SHAPE), rectangle(7, 5, 8, 6))


def test_without_labels_all_boxes_are_of_every_class(folder):
    found = boxes(folder, "path,x0,y0,x1,y1\na/1.jpg,0,0,1,1\na/1.jpg,3,3,4,4\n")
    for target in (0, 5, None):
        expected = rectangle(0, 0, 1, 1) | rectangle(3, 3, 4, 4)
        np.testing.assert_array_equal(found.region(0, target, SHAPE), expected)
    assert "has no labels" in found.notes[0]


def test_images_without_rows_rows_without_images_and_labels_without_classes_are_counted(folder):
    found = boxes(
        folder,
        "path,label,x0,y0,x1,y1\na/1.jpg,tabby,1,1,2,2\nc/9.jpg,tabby,1,1,2,2\n"
        "c/9.jpg,tabby,3,1,4,2\na/1.jpg,zebra,0,0,1,1\n",
    )
    assert found.region(1, 0, SHAPE) is None
    file = folder / "boxes.csv"
    assert found.notes == (
        f"1 image in {file} is not in this run, for example 'c/9.jpg' (line 3).",
        f"1 box in {file} is of no class of the network, for example 'zebra' (line 5).",
        f"2 of 3 images have no row in {file}, for example {folder / 'photos/a/2.jpg'}.",
    )


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "expected a header with path, label, x0, y0, x1 and y1.* it is empty"),
        ("a/1.jpg,tabby,1,2,3,4\n", "begins with 'a/1.jpg,tabby,1,2,3,4'"),
        ("path,label,x0,y0,x1\na/1.jpg,tabby,1,2,3\n", "begins with 'path,label,x0,y0,x1'"),
        ("path,label,x0,y0,x1,y1\n", "has no rows; expected a path and a box"),
        ("path,label,x0,y0,x1,y1\na/1.jpg,tabby,1,2\n", "Line 2 .* has 4 columns; expected 6"),
        ("path,label,x0,y0,x1,y1\na/1.jpg,tabby,1,2,3,x\n", "Line 2 .* is no number"),
        ("path,label,x0,y0,x1,y1\na/1.jpg,tabby,1,2,3,\n", "Line 2 .* missing"),
        ('path,label,x0,y0,x1,y1\na/1.jpg,tabby,1,2,"1,024",4\n', "Line 2 .* is no number"),
        ("path,label,x0,y0,x1,y1\na/1.jpg,tabby,1,2,nan,4\n", "Line 2 .* is no number"),
        ("path,label,x0,y0,x1,y1\na/1.jpg,tabby,1,2,1e999,4\n", "Line 2 .* is no number"),
        (
            "path,label,x0,y0,x1,y1\na/1.jpg,tabby,3,2,1,4\n",
            "before it begins .from 3, 2 to 1",
        ),
        ("path,label,x0,y0,x1,y1\na/1.jpg,,1,2,3,4\n", "Line 2 .* a box without a label"),
        ("path,label,x0,y0,x1,y1\na/1.jpg,crane,1,2,3,4\n", "Line 2 .*'crane' fits 2 classes"),
        ("path,label,x0,y0,x1,y1\na/1.jpg,zebra,1,2,3,4\n", "No label .* for example 'zebra'"),
        ("path,label,x0,y0,x1,y1\nq.jpg,tabby,1,2,3,4\n", "matches no image of this run"),
        ("path,x0,y0,x1,y1\na/1.jpg,.1,.2,.3,.4\n", "parts of the image's sides"),
        ("path,x0,y0,x1,y1,difficult\na/1.jpg,1,2,3,4,maybe\n", "difficult is 0 or 1; got 'maybe'"),
        ('path,x0,y0,x1,y1\n"a/1.jpg"x,1,2,3,4\n', "cannot be read as CSV"),
        ("path,x0,y0,x1,y1\na/1.jpg\0,1,2,3,4\n", "is not UTF-8 text"),
    ],
)
def test_what_is_wrong_with_a_file_is_said(folder, text, problem):
    with pytest.raises(UsageError, match=problem):
        boxes(folder, text)


def test_a_box_of_another_class_that_does_not_fit_is_a_sign_of_another_image(folder):
    found = boxes(folder, "path,label,x0,y0,x1,y1\na/1.jpg,0,1,1,2,2\na/1.jpg,4,1,1,90,2\n")
    with pytest.raises(ImageError, match="line 3"):
        found.region(0, 0, SHAPE)


@pytest.mark.parametrize("box", ["1,1,9.5,2", "-1.5,1,2,2", "1,1,2,7.1", "1,-2,2,2", "1,1,1e308,2"])
def test_a_box_that_reaches_out_of_its_image_fails_the_image(folder, box):
    found = boxes(folder, f"path,x0,y0,x1,y1\na/1.jpg,{box}\na/2.jpg,1,1,2,2\n")
    with pytest.raises(ImageError, match=r"line 2 of .* out of the image, which is 8 pixels wide"):
        found.region(0, 0, SHAPE)
    assert found.region(1, 0, SHAPE).sum() == 1


def test_boxes_of_an_image_of_another_size_are_noticed(folder):
    found = boxes(folder, "path,width,height,x0,y0,x1,y1\na/1.jpg,6,8,1,1,2,2\n")
    with pytest.raises(ImageError, match="an image 6 pixels wide and 8 high, and this one is 8"):
        found.region(0, 0, SHAPE)
    assert found.region(0, 0, (8, 6)).sum() == 1


def test_files_that_are_no_tables_are_refused(folder):
    for name, problem in (
        ("boxes.xml", "Boxes come from a .csv"),
        ("no.csv", "cannot be read: No"),
    ):
        with pytest.raises(UsageError, match=problem):
            regions(folder, boxes=name)
    (folder / "bits.csv").write_bytes(b"\x89PNG\r\n\0")
    with pytest.raises(UsageError, match="not UTF-8"):
        regions(folder, boxes="bits.csv")


def coco(**changes):
    content = {
        "images": [
            {"id": 7, "file_name": "a/1.jpg", "width": 8, "height": 6},
            {"id": 8, "file_name": "b/1.jpg"},
        ],
        "categories": [{"id": 90, "name": "collie"}, {"id": 1, "name": "tabby"}],
        "annotations": [
            {"image_id": 7, "category_id": 1, "bbox": [1, 2, 3, 3], "iscrowd": 0},
            {"image_id": 7, "category_id": 90, "bbox": [0.0, 0.0, 0.0, 1.0]},
            {"image_id": 7, "category_id": 1, "bbox": [6, 0, 2, 2], "iscrowd": 1},
        ],
    }
    return json.dumps({**content, **changes})


def test_boxes_in_cocos_format(folder):
    found = boxes(folder, coco(), "instances.json")
    tabbies = rectangle(1, 2, 4, 5) | rectangle(6, 0, 8, 2)  # a crowd is what may be hit, too
    np.testing.assert_array_equal(found.region(0, 0, SHAPE), tabbies)
    np.testing.assert_array_equal(found.region(0, 4, SHAPE), rectangle(0, 0, 1, 1))
    assert not found.region(2, 0, SHAPE).any()  # it is among the images, and has no annotation
    assert found.region(1, 0, SHAPE) is None
    assert len(found.notes) == 1  # that one has none


def test_a_crowd_alone_and_outlines_and_another_size(folder):
    crowd = [{"image_id": 7, "category_id": 1, "bbox": [6, 0, 2, 2], "iscrowd": 1}]
    assert not boxes(folder, coco(annotations=crowd), "b.json").region(0, 0, SHAPE).any()
    crowd[0].update(segmentation=[[6, 0, 8, 0, 8, 2]], iscrowd=0)
    found = boxes(folder, coco(annotations=crowd), "b.json")
    assert "the boxes are used, not the outlines" in found.notes[0]
    with pytest.raises(ImageError, match="for an image 8 pixels wide and 6 high"):
        found.region(0, 0, (12, 16))


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[]", "not in COCO's format"),
        ('{"a/1.jpg": [1, 2, 3, 4]}', "not in COCO's format"),
        ("{", "not valid JSON"),
        ("[" * 100_000, "cannot be read as JSON"),
        (coco(images=[]), "not whole: .*annotations with image_id.*7"),
        (coco(images=3), "not whole"),
        (coco(images=[{"id": 7, "file_name": 3}]), "file_name is no text"),
        (coco(categories=[]), "not whole"),
        (coco(annotations=[{"image_id": 7, "category_id": 1}]), "not whole.*bbox"),
        *(
            (
                coco(annotations=[{"image_id": 7, "category_id": 1, "bbox": bbox}]),
                "Annotation 1 of .*: (a box is four numbers|the box ends before)",
            )
            for bbox in (None, [1, 2, 3], [1, 2, 3, "4"], [1, 2, 3, -4], [1, 2, 3, True], {})
        ),
    ],
)
def test_what_is_wrong_with_cocos_format_is_said(folder, text, problem):
    with pytest.raises(UsageError, match=problem):
        boxes(folder, text, "instances.json")


@pytest.mark.hostile
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    text=st.one_of(
        st.text(),
        st.lists(st.sampled_from([*"path,x0y1;\t\n\"'-.e9", "a/1.jpg", "tabby", "nan"])).map(
            lambda parts: "path,label,x0,y0,x1,y1\n" + "".join(parts)
        ),
    ),
    name=st.sampled_from(["b.csv", "b.json", "b.txt"]),
)
def test_whatever_a_file_holds_is_regions_or_a_sentence(folder, text, name):
    (folder / name).write_bytes(text.encode("utf-8", "surrogatepass"))
    problem, region = "", None
    try:
        region = regions(folder, boxes=name).region(0, 0, SHAPE)
    except CnnvizError as error:
        problem = str(error)
    assert problem.isprintable()
    assert region is None or (region.shape == SHAPE and region.dtype == np.bool_)


# --- masks ---------------------------------------------------------------------------------------


def mask(folder, name, values):
    path = folder / "masks" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(values, np.uint8)).save(path)


def test_boxes_and_masks_of_rectangles_agree(folder):
    marked = np.where(rectangle(1, 2, 4, 5), 255, 0) + np.where(rectangle(6, 0, 8, 2), 1, 0)
    mask(folder, "a/1.png", marked)
    masks = regions(folder, masks="masks")
    of_boxes = boxes(folder, "path,x0,y0,x1,y1\na/1.jpg,1,2,4,5\na/1.jpg,6,0,8,2\n")
    for target in (0, 3, None):
        expected = of_boxes.region(0, target, SHAPE)
        np.testing.assert_array_equal(masks.region(0, target, SHAPE), expected)
    assert masks.region(1, 0, SHAPE) is None
    assert "Whatever is not 0" in masks.notes[0]
    assert masks.notes[1].startswith("2 of 3 images have no mask")


def test_the_name_with_its_own_suffix_comes_first(folder):
    mask(folder, "a/1.png", np.zeros(SHAPE))
    mask(folder, "a/1.jpg.png", np.ones(SHAPE))
    assert regions(folder, masks="masks").region(0, 0, SHAPE).all()


def test_with_a_table_of_values_they_are_classes(folder):
    marked = np.where(rectangle(1, 2, 4, 5), 9, 0) + np.where(rectangle(6, 0, 8, 2), 40, 0)
    marked[5, 7] = 255  # undecided
    mask(folder, "a/1.png", marked)
    (folder / "masks/classes.csv").write_text("value,label\n9,tabby\n40,4\n41,collie\n3,zebra\n")
    found = regions(folder, masks="masks")
    np.testing.assert_array_equal(found.region(0, 0, SHAPE), rectangle(1, 2, 4, 5))
    np.testing.assert_array_equal(found.region(0, 4, SHAPE), rectangle(6, 0, 8, 2))
    assert not found.region(0, 1, SHAPE).any()
    assert found.region(0, None, SHAPE) is None
    assert found.is_labeled
    assert found.notes[0].endswith("no class of the network is 'zebra'.")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "header 'value,label'"),
        ("1,tabby\n", "header 'value,label'"),
        ("value,label\n1\n", "Line 2 .* no value and label"),
        ("value,label\n-1,tabby\n", "Line 2 .* from 0 to 65535"),
        ("value,label\n65536,tabby\n", "Line 2 .* from 0 to 65535"),
        ("value,label\n1,tabby\n1,collie\n", "Line 3 .* a second time"),
        ("value,label\n1,crane\n", "Line 2 .* fits 2 classes"),
        ("value,label\n1,zebra\n", "No label .* 'zebra'"),
        ("value,label\n", "No label .* it has no rows"),
        ('value,label\n1,"tab"by\n', "cannot be read as CSV"),
    ],
)
def test_what_is_wrong_with_the_table_of_values_is_said(folder, text, problem):
    mask(folder, "a/1.png", np.ones(SHAPE))
    (folder / "masks/classes.csv").write_text(text)
    with pytest.raises(UsageError, match=problem):
        regions(folder, masks="masks")


def test_masks_that_do_not_fit_fail_their_image_and_name_themselves(folder):
    mask(folder, "a/1.png", np.ones((8, 6)))
    found = regions(folder, masks="masks")
    problem = r"its mask .*masks/a/1\.png: it is 6 pixels wide and 8 high, and the image is 8"
    with pytest.raises(ImageError, match=problem):
        found.region(0, 0, SHAPE)


def test_folders_without_a_mask_and_masks_of_two_images_are_refused(folder):
    with pytest.raises(UsageError, match="a folder with a PNG for each image; got"):
        regions(folder, masks="none")
    (folder / "masks").mkdir()
    with pytest.raises(UsageError, match=r"no mask of any image of this run; expected .*a/1\.png"):
        regions(folder, masks="masks")
    mask(folder, "a/1.png", np.ones(SHAPE))
    (folder / "photos/a/1.webp").touch()
    with pytest.raises(UsageError, match=r"the mask of .*1\.jpg and of .*1\.webp"):
        regions(folder, masks="masks")


def test_one_of_the_two_is_needed_and_what_is_read_goes_to_other_processes(folder):
    mask(folder, "a/1.png", np.ones(SHAPE))
    boxes(folder, CSV)
    with pytest.raises(UsageError, match="--boxes or --masks, not both"):
        regions(folder, "boxes.csv", "masks")
    with pytest.raises(UsageError, match="said by --boxes or --masks"):
        regions(folder)
    for found in (regions(folder, "boxes.csv"), regions(folder, None, "masks")):
        copied = pickle.loads(pickle.dumps(found))
        np.testing.assert_array_equal(copied.region(0, 0, SHAPE), found.region(0, 0, SHAPE))


@pytest.mark.needs("fsspec")
def test_boxes_behind_a_url(folder):
    import fsspec

    here = boxes(folder, CSV)
    system = fsspec.filesystem("memory")
    system.pipe_file("/boxes/boxes.csv", CSV.encode())
    sources = find_sources([str(folder / "photos")]).sources
    there = read_regions("memory://boxes/boxes.csv", None, sources, PETS, 6)
    system.rm("/boxes", recursive=True)
    assert (there.known, there.is_labeled, there.notes) == (3, True, ())
    assert there.source == "memory://boxes/boxes.csv"
    for image in range(3):
        np.testing.assert_array_equal(here.region(image, 0, SHAPE), there.region(image, 0, SHAPE))
