"""What is known of every named network without building it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from cnnviz.images.input_spec import InputSpec
from cnnviz.weights.info import PublishedWeights

_BYTES_PER_VALUE = 4


@dataclass(frozen=True)
class ZooEntry:
    """One network that ``--model`` takes by name.

    Attributes:
        name: what ``--model`` takes.
        family: ``alexnet``, ``vgg``, ``resnet_v1``, ..., or ``demo``.
        parameters: learned values; a batch norm's running statistics do not count.
        input: the images that it was trained on.
        default_layer: structural name of the layer that Grad-CAM looks at.
        labels: ``imagenet`` or ``demo``.
        stored: values in its weights file, with running statistics and fixed scales.
        per_class: how many of these belong to one class.
        published: weights for ImageNet's 1000 classes; None: they are embedded.
    """

    name: str
    family: str
    parameters: int
    input: InputSpec
    default_layer: str
    labels: str
    stored: int
    per_class: int
    published: PublishedWeights | None = None


def _row(
    name: str,
    family: str,
    parameters: int,
    stored: int,
    per_class: int,
    default_layer: str,
    timm: str | None = None,
    size: int = 224,
) -> ZooEntry:
    """A network of Gluon's model zoo; ``timm`` is its repository among timm's on Hugging Face."""
    hub = None if timm is None else f"timm/{timm}"
    return ZooEntry(
        name,
        family,
        parameters,
        InputSpec(height=size, width=size),
        default_layer,
        "imagenet",
        stored,
        per_class,
        PublishedWeights(name, family, _BYTES_PER_VALUE * stored, _SHA1[name], hub),
    )


#: SHA-1 of each ``.params`` file in the Gluon model store; its first eight digits are in its name.
_SHA1: dict[str, str] = {
    "alexnet": "44335d1f0046b328243b32a26a4fbd62d9057b45",
    "vgg11": "dd221b160977f36a53f464cb54648d227c707a05",
    "vgg11_bn": "ee79a8098a91fbe05b7a973fed2017a6117723a8",
    "vgg13": "6bc5de58a05a5e2e7f493e2d75a580d83efde38c",
    "vgg13_bn": "7d97a06c3c7a1aecc88b6e7385c2b373a249e95e",
    "vgg16": "e660d4569ccb679ec68f1fd3cce07a387252a90a",
    "vgg16_bn": "7f01cf050d357127a73826045c245041b0df7363",
    "vgg19": "ad2f660d101905472b83590b59708b71ea22b2e5",
    "vgg19_bn": "f360b758e856f1074a85abd5fd873ed1d98297c3",
    "resnet18_v1": "a0666292f0a30ff61f857b0b66efc0228eb6a54b",
    "resnet34_v1": "48216ba99a8b1005d75c0f3a0c422301a0473233",
    "resnet50_v1": "0aee57f96768c0a2d5b23a6ec91eb08dfb0a45ce",
    "resnet101_v1": "d988c13d6159779e907140a638c56f229634cb02",
    "resnet152_v1": "671c637a14387ab9e2654eafd0d493d86b1c8579",
    "resnet18_v2": "a81db45fd7b7a2d12ab97cd88ef0a5ac48b8f657",
    "resnet34_v2": "9d6b80bbc35169de6b6edecffdd6047c56fdd322",
    "resnet50_v2": "ecdde35339c1aadbec4f547857078e734a76fb49",
    "resnet101_v2": "18e93e4f48947e002547f50eabbcc9c83e516aa6",
    "resnet152_v2": "f2695542de38cf7e71ed58f02893d82bb409415e",
    "densenet121": "f27dbf2dbd5ce9a80b102d89c7483342cd33cb31",
    "densenet161": "b6c8a95717e3e761bd88d145f4d0a214aaa515dc",
    "densenet169": "2603f878403c6aa5a71a124c4a3307143d6820e9",
    "densenet201": "1cdbc116bc3a1b65832b18cf53e1cb8e7da017eb",
    "squeezenet1.0": "264ba4970a0cc87a4f15c96e25246a1307caf523",
    "squeezenet1.1": "33ba0f93753c83d86e1eb397f38a667eaf2e9376",
    "inceptionv3": "ed47ec45a937b656fcc94dabde85495bbef5ba1f",
    "mobilenet1.0": "6b8c5106c730e8750bcd82ceb75220a3351157cd",
    "mobilenet0.75": "529b2c7f4934e6cb851155b22c96c9ab0a7c4dc2",
    "mobilenet0.5": "8e9d539cc66aa5efa71c4b6af983b936ab8701c3",
    "mobilenet0.25": "9f83e440996887baf91a6aff1cccc1c903a64274",
    "mobilenetv2_1.0": "36da4ff1867abccd32b29592d79fc753bca5a215",
    "mobilenetv2_0.75": "e2be7b72a79fe4a750d1dd415afedf01c3ea818d",
    "mobilenetv2_0.5": "aabd26cd335379fcb72ae6c8fac45a70eab11785",
    "mobilenetv2_0.25": "ae8f9392789b04822cbb1d98c27283fc5f8aa0a7",
}
#: By family. The counts and layers are tested against the built networks, the checksums against
#: MXNet's own table.
_ROWS = (
    _row("alexnet", "alexnet", 61_100_840, 61_100_840, 4097, "features.6"),
    _row("vgg11", "vgg", 132_863_336, 132_863_336, 4097, "features.18", "vgg11.tv_in1k"),
    _row("vgg11_bn", "vgg", 132_868_840, 132_874_344, 4097, "features.26", "vgg11_bn.tv_in1k"),
    _row("vgg13", "vgg", 133_047_848, 133_047_848, 4097, "features.22", "vgg13.tv_in1k"),
    _row("vgg13_bn", "vgg", 133_053_736, 133_059_624, 4097, "features.32", "vgg13_bn.tv_in1k"),
    _row("vgg16", "vgg", 138_357_544, 138_357_544, 4097, "features.28", "vgg16.tv_in1k"),
    _row("vgg16_bn", "vgg", 138_365_992, 138_374_440, 4097, "features.41", "vgg16_bn.tv_in1k"),
    _row("vgg19", "vgg", 143_667_240, 143_667_240, 4097, "features.34", "vgg19.tv_in1k"),
    _row("vgg19_bn", "vgg", 143_678_248, 143_689_256, 4097, "features.50", "vgg19_bn.tv_in1k"),
    _row(
        "resnet18_v1", "resnet_v1", 11_689_512, 11_699_112, 513, "features.7.1", "resnet18.tv_in1k"
    ),
    _row(
        "resnet34_v1", "resnet_v1", 21_797_672, 21_814_696, 513, "features.7.2", "resnet34.tv_in1k"
    ),
    _row("resnet50_v1", "resnet_v1", 25_575_912, 25_629_032, 2049, "features.7.2"),
    _row("resnet101_v1", "resnet_v1", 44_589_800, 44_695_144, 2049, "features.7.2"),
    _row("resnet152_v1", "resnet_v1", 60_252_648, 60_404_072, 2049, "features.7.2"),
    _row("resnet18_v2", "resnet_v2", 11_687_848, 11_695_796, 513, "features.10"),
    _row("resnet34_v2", "resnet_v2", 21_796_008, 21_811_380, 513, "features.10"),
    _row("resnet50_v2", "resnet_v2", 25_549_480, 25_595_060, 2049, "features.10"),
    _row("resnet101_v2", "resnet_v2", 44_541_608, 44_639_412, 2049, "features.10"),
    _row("resnet152_v2", "resnet_v2", 60_185_256, 60_329_140, 2049, "features.10"),
    _row(
        "densenet121", "densenet", 7_978_856, 8_062_504, 1025, "features.12", "densenet121.tv_in1k"
    ),
    _row(
        "densenet161",
        "densenet",
        28_681_000,
        28_900_936,
        2209,
        "features.12",
        "densenet161.tv_in1k",
    ),
    _row(
        "densenet169",
        "densenet",
        14_149_480,
        14_307_880,
        1665,
        "features.12",
        "densenet169.tv_in1k",
    ),
    _row(
        "densenet201",
        "densenet",
        20_013_928,
        20_242_984,
        1921,
        "features.12",
        "densenet201.tv_in1k",
    ),
    _row("squeezenet1.0", "squeezenet", 1_248_424, 1_248_424, 513, "features.12.1"),
    _row("squeezenet1.1", "squeezenet", 1_235_496, 1_235_496, 513, "features.12.1"),
    _row(
        "inceptionv3",
        "inception",
        23_834_568,
        23_869_000,
        2049,
        "features.17",
        "inception_v3.gluon_in1k",
        299,
    ),
    _row("mobilenet1.0", "mobilenet_v1", 4_231_976, 4_253_864, 1025, "features.79"),
    _row("mobilenet0.75", "mobilenet_v1", 2_585_560, 2_601_976, 769, "features.79"),
    _row("mobilenet0.5", "mobilenet_v1", 1_331_592, 1_342_536, 513, "features.79"),
    _row("mobilenet0.25", "mobilenet_v1", 470_072, 475_544, 257, "features.79"),
    _row("mobilenetv2_1.0", "mobilenet_v2", 3_504_960, 3_539_136, 1280, "features.21"),
    _row("mobilenetv2_0.75", "mobilenet_v2", 2_627_592, 2_653_864, 1280, "features.21"),
    _row("mobilenetv2_0.5", "mobilenet_v2", 1_964_736, 1_983_104, 1280, "features.21"),
    _row("mobilenetv2_0.25", "mobilenet_v2", 1_516_392, 1_526_856, 1280, "features.21"),
    ZooEntry("demo", "demo", 458_904, InputSpec(), "features.26", "demo", 0, 0),
)
ZOO: Mapping[str, ZooEntry] = {entry.name: entry for entry in _ROWS}
