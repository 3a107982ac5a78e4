"""Drawings against what the papers' tables and figures say is repeated, joined and skipped."""

from __future__ import annotations

import html
import itertools
import re
import xml.etree.ElementTree as ElementTree

import pytest

from cnnviz.engines.mxnet.symbol import Graph, for_inference
from cnnviz.errors import OutputError, ToolMissingError
from cnnviz.graph.architecture import Architecture
from cnnviz.importers.gluon import architecture_of_block
from cnnviz.importers.mxnet_checks import DATA
from cnnviz.importers.mxnet_symbol import architecture_of
from cnnviz.inspection.boxes import boxes_of, fold_repeats, merge_runs, segments_of
from cnnviz.inspection.diagram import escape, render_dot, to_dot
from cnnviz.models import zoo
from tests.support.mxnet import import_mxnet

needs_dot = pytest.mark.needs("dot")


def zoo_architecture(name):
    entry = zoo.get(name)
    return Architecture(*zoo.build(entry, 1000))


class Drawing:
    """What a drawing's text says: boxes and their lines, edges, frames."""

    def __init__(self, text):
        self.text = text
        self.boxes, self.frames, self.edges, self.skips = {}, {}, [], []
        frame = None
        for line in text.splitlines():
            line = line.strip()
            if box := re.match(r"(\w+) \[label=<(.*)>, (tooltip|fillcolor)", line):
                cells = re.findall(r"<tr><td>(.*?)</td></tr>", box[2])
                plain = [html.unescape(re.sub(r"<[^>]*>", " ", cell)) for cell in cells]
                self.boxes[box[1]] = [" ".join(cell.split()) for cell in plain]
                if frame is not None:
                    self.frames[frame][1].append(box[1])
            elif edge := re.match(r"(\w+) -> (\w+)( \[)?", line):
                self.edges.append((edge[1], edge[2]))
                if edge[3]:
                    self.skips.append((edge[1], edge[2]))
            elif line.startswith("subgraph"):
                frame = line
            elif frame is not None and (times := re.match(r"label=<<b>(\d+) ×</b>>", line)):
                self.frames[frame] = (int(times[1]), [])
            elif line == "}":
                frame = None

    def words(self, name):
        return self.boxes[name][0]

    def into(self, name):
        return sorted(self.words(source) for source, target in self.edges if target == name)


def test_vgg16_is_the_papers_column_d():
    drawing = Drawing(to_dot(zoo_architecture("vgg16"), "vgg16"))
    pool = "max pool 2×2/2"
    assert [lines[0] for lines in drawing.boxes.values()] == [
        "input",
        "2 × conv 3×3, 64 + ReLU",
        pool,
        "2 × conv 3×3, 128 + ReLU",
        pool,
        "3 × conv 3×3, 256 + ReLU",
        pool,
        "3 × conv 3×3, 512 + ReLU",
        pool,
        "3 × conv 3×3, 512 + ReLU",
        pool,
        "2 × dense 4096 + ReLU",
        "dense 1000",
    ]
    names = list(drawing.boxes)
    assert drawing.edges == list(itertools.pairwise(names))
    assert not drawing.frames
    assert drawing.boxes[names[0]][1] == "3×224×224"
    assert drawing.boxes[names[1]][1:] == ["64×224×224", "end of stage 1: features.2"]
    assert drawing.boxes[names[9]][1:] == ["512×14×14", "explained by default: features.28"]
    assert "138,357,544 parameters, 15.47 G multiply-adds" in drawing.text
    assert "skip connection" not in drawing.text  # the legend has only what is there


# He et al. 2016, table 1: 3, 4, 6 and 3 blocks, of which the first in stages 2 to 4 (and with
# bottlenecks in 1 too) is unlike the others, its shortcut being a convolution.
@pytest.mark.parametrize(
    ("name", "frames", "block"),
    [
        (
            "resnet34_v1",
            [3, 3, 5, 2],
            ["conv 3×3, 64 + batch norm + ReLU", "conv 3×3, 64 + batch norm", "add + ReLU"],
        ),
        (
            "resnet50_v2",
            [2, 3, 5, 2],
            [
                "batch norm + ReLU + conv 1×1, 64 + batch norm + ReLU",
                "conv 3×3, 64 + batch norm + ReLU",
                "conv 1×1, 256",
                "add",
            ],
        ),
    ],
)
def test_residual_networks(name, frames, block):
    drawing = Drawing(to_dot(zoo_architecture(name), name))
    assert [times for times, _ in drawing.frames.values()] == frames
    first = [drawing.words(box) for box in next(iter(drawing.frames.values()))[1]]
    assert first == block
    # One skip a frame, from before it into its join; the other shortcuts are convolutions.
    ends = [boxes[-1] for _, boxes in drawing.frames.values()]
    assert [target for _, target in drawing.skips] == ends
    starts = [source for source, _ in drawing.skips]
    assert all(
        start not in boxes
        for start, (_, boxes) in zip(starts, drawing.frames.values(), strict=True)
    )
    joins = [box for box in drawing.boxes if drawing.words(box).startswith("add")]
    assert len(joins) == len(frames) + (3 if name == "resnet34_v1" else 4)
    assert all(len(drawing.into(join)) == 2 for join in joins)
    assert "orange: skip connection" in drawing.text


def test_densenet_121_has_6_12_24_and_16_layers_that_grow():
    # Huang et al. 2017, table 1; growth 32 from 64 channels on, halved in between.
    drawing = Drawing(to_dot(zoo_architecture("densenet121"), "densenet121"))
    assert [times for times, _ in drawing.frames.values()] == [6, 12, 24, 16]
    last = [drawing.boxes[boxes[-1]] for _, boxes in drawing.frames.values()]
    assert last == [
        ["concatenate", "96×56×56 to 256×56×56"],
        ["concatenate", "160×28×28 to 512×28×28"],
        ["concatenate", "288×14×14 to 1024×14×14"],
        ["concatenate", "544×7×7 to 1024×7×7"],
    ]
    assert len(drawing.skips) == 4


def test_squeezenet_1_1_has_its_fires_in_pairs():
    # Iandola et al. 2016, table 1, with 1.1's pooling after fires 3 and 5.
    drawing = Drawing(to_dot(zoo_architecture("squeezenet1.1"), "squeezenet1.1"))
    frames = list(drawing.frames.values())
    assert [times for times, _ in frames] == [2, 2, 2, 2]
    for (_, boxes), squeeze in zip(frames, (16, 32, 48, 64), strict=True):
        expand = 4 * squeeze
        assert [drawing.words(box) for box in boxes] == [
            f"conv 1×1, {squeeze} + ReLU",
            f"conv 1×1, {expand} + ReLU",
            f"conv 3×3, {expand} + ReLU",
            "concatenate",
        ]
        assert drawing.into(boxes[3]) == [f"conv {k}, {expand} + ReLU" for k in ("1×1", "3×3")]
    assert not drawing.skips


def test_inception_v3_splits_within_branches():
    # Szegedy et al. 2016, figure 7: the last two blocks' branches of 384 end in 1×3 beside 3×1.
    drawing = Drawing(to_dot(zoo_architecture("inceptionv3"), "inceptionv3"))
    assert [times for times, _ in drawing.frames.values()] == [2, 2, 2]
    _, boxes = list(drawing.frames.values())[-1]
    assert len(boxes) == 1 + 4 + 5 + 2 + 1  # 320; 384; 448 and 384; pool and 192; join
    fans = [f"conv {k}, 384 + batch norm + ReLU" for k in ("1×3", "3×1")]
    assert [drawing.into(box) for box in boxes].count(fans) == 2
    assert len(drawing.into(boxes[-1])) == 4


@pytest.mark.parametrize("name", ["densenet121", "inceptionv3", "mobilenetv2_1.0", "resnet18_v2"])
def test_every_layer_is_drawn_once(name):
    architecture = zoo_architecture(name)
    boxes = merge_runs(boxes_of(architecture))
    rows = fold_repeats(segments_of(boxes), boxes)
    places = [index for row in rows for box in row.boxes for index in box]
    assert sorted(places) == list(range(len(boxes)))
    layers = [layer.index for place in places for layer in boxes[place].layers]
    assert sorted(layers) == [layer.index for layer in architecture.layers]
    assert all(len(box) == row.times for row in rows for box in row.boxes)


@pytest.fixture(scope="module")
def nn():
    return import_mxnet().gluon.nn


def drawing_of(nn, *layers):
    block = nn.HybridSequential()
    block.add(*layers, nn.GlobalAvgPool2D(), nn.Dense(2))
    return Drawing(to_dot(architecture_of_block(block, (3, 32, 32)), "net"))


def test_only_what_is_equal_is_folded(nn):
    drawing = drawing_of(
        nn,
        nn.Conv2D(8, 3, padding=1, in_channels=3),
        nn.Conv2D(8, 3, padding=1, in_channels=8),
        nn.Conv2D(8, 3, in_channels=8),  # smaller by its border
        nn.Conv2D(8, 3, padding=1, in_channels=8, activation="relu"),
        nn.Conv2D(8, 3, padding=1, in_channels=8, groups=8),
        nn.Conv2D(8, 3, padding=1, in_channels=8, groups=2),
        nn.Conv2D(8, 3, padding=2, in_channels=8, dilation=2),
        nn.Conv2DTranspose(8, 2, strides=2, in_channels=8),
        nn.BatchNorm(),
        nn.LeakyReLU(0.1),
    )
    assert [lines[0] for lines in drawing.boxes.values()][1:-2] == [
        "2 × conv 3×3, 8",
        "conv 3×3, 8",
        "conv 3×3, 8 + ReLU",
        "depthwise conv 3×3, 8",
        "conv 3×3, 8, 2 groups",
        "conv 3×3, 8, dilated 2",
        "transposed conv 2×2/2, 8 + batch norm + LeakyReLU",
    ]


def test_a_row_of_pairs_is_a_frame(nn):
    pair = [(nn.Conv2D(8, 3, padding=1), nn.Conv2D(4, 1)) for _ in range(3)]
    drawing = drawing_of(nn, *(layer for layers in pair for layer in layers))
    ((times, boxes),) = drawing.frames.values()
    assert times == 3
    assert [drawing.words(box) for box in boxes] == ["conv 3×3, 8", "conv 1×1, 4"]
    # Into its first box and out of its last, once.
    assert drawing.edges[:2] == [("input", boxes[0]), (boxes[0], boxes[1])]
    assert [target for source, target in drawing.edges if source == boxes[1]] == [
        list(drawing.boxes)[-2]
    ]


def test_skips_within_a_long_skip():
    # A U: the image's first convolution joins the last, past a pooling and an enlargement.
    sym = import_mxnet().sym
    first = sym.Convolution(sym.var(DATA), num_filter=4, kernel=(3, 3), pad=(1, 1), name="a")
    down = sym.Pooling(first, kernel=(2, 2), stride=(2, 2), pool_type="max", name="b")
    up = sym.UpSampling(down, scale=2, sample_type="nearest", name="c")
    join = sym.Concat(up, first, name="d")
    net = sym.FullyConnected(sym.Pooling(join, global_pool=True, kernel=(1, 1)), num_hidden=2)
    drawing = Drawing(
        to_dot(architecture_of(for_inference(Graph.from_symbol(net)).graph, (3, 8, 8), {}), "u")
    )
    ((source, target),) = drawing.skips
    assert (drawing.words(source), drawing.words(target)) == ("conv 3×3, 4", "concatenate")


EVIL = '<b>&"\\N\\"];x->y;' + "z" * 300


def evil():
    sym = import_mxnet().sym
    net = sym.Convolution(sym.var(DATA), num_filter=2, kernel=(3, 3), name=EVIL)
    net = sym.FullyConnected(net, num_hidden=2, name="out")
    graph = for_inference(Graph.from_symbol(net)).graph
    return to_dot(architecture_of(graph, (3, 8, 8), {}), "</td>" + EVIL)


def test_names_from_files_are_escaped():
    text = evil()
    assert '<b>&"' not in text
    assert escape("a\x1b[31m\n\ud800ü") == "a\\\u2060x1b[31m\\\u2060n\\\u2060ud800ü"
    # A backslash is kept from being read together with what follows it.
    assert text.count("&lt;b&gt;&amp;&quot;\\\u2060N\\\u2060&quot;") == 3  # title, label, tooltip
    assert not re.search(r"\\[^\u2060]", text)
    assert "z" * 60 not in text
    assert len(Drawing(text).boxes) == 3


@pytest.mark.subprocess
@needs_dot
def test_graphviz_takes_such_names_for_text():
    tree = ElementTree.fromstring(render_dot(evil(), "svg"))
    space = "{http://www.w3.org/2000/svg}"
    assert len([g for g in tree.iter(f"{space}g") if g.get("class") == "node"]) == 3
    shown = "".join(text.text or "" for text in tree.iter(f"{space}text")).replace("\u2060", "")
    assert 'explained by default: <b>&"\\N\\"];x->y;' in shown


@pytest.mark.subprocess
@needs_dot
@pytest.mark.parametrize(
    ("kind", "beginning"), [("svg", b"<?xml"), ("png", b"\x89PNG\r\n"), ("pdf", b"%PDF-")]
)
def test_the_same_network_gives_the_same_file(kind, beginning):
    texts = [to_dot(zoo_architecture("squeezenet1.0"), "squeezenet1.0") for _ in range(2)]
    assert texts[0] == texts[1]
    first, second = render_dot(texts[0], kind), render_dot(texts[0], kind)
    assert first == second
    assert first.startswith(beginning)
    # Not the time of day, which both might share.
    assert re.findall(rb"/CreationDate .D:(\d{4})", first) in ([], [b"1970"])


@pytest.mark.subprocess
def test_without_graphviz_it_is_said_how_to_get_it(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ToolMissingError, match=r"PNG needs .*`dot`.*apt-get install graphviz"):
        render_dot("digraph {}", "png")
    assert render_dot("digraph {×}", "dot") == "digraph {×}".encode()


@pytest.mark.subprocess
@needs_dot
def test_what_graphviz_refuses_is_told(capfd):
    with pytest.raises(OutputError, match="does not draw this network as SVG"):
        render_dot("digraph {", "svg")
    assert capfd.readouterr().err == ""
