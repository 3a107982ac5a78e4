"""Damaged and malicious files, made from sound ones by chance, and given to what reads them.

Every case has a number, which is all that its bytes depend on. The tests run this file as a program
of its own, so that a decoder that takes its process down is seen, and the case named::

    python tests/support/hostile.py images 0 50000     # cases 0 to 49999
    python tests/support/hostile.py params 1234 1        # that one case again

It prints what went wrong as one line of JSON; the number of the case under way goes to descriptor 3
before it begins, if there is one.
"""

from __future__ import annotations

import atexit
import io
import json
import os
import random
import re
import resource
import signal
import struct
import subprocess
import sys
import tempfile
import threading
import time
import traceback
import unicodedata
import zipfile
import zlib
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

_SECONDS = 5.0  # of processor time that one case may take; most take less than a millisecond
_MEBIBYTES = 150  # that the process may grow by
#: Their C++ tells of some damage, and nothing but closing descriptor 2 would stop it.
_NOISY = ("images", "torch", "symbols")


def attack(kind, first, count, *, timeout=120):
    """Try cases in a process of their own; what they came to, or an AssertionError that names one.

    Returns:
        How many cases were read and how many refused, as ``{"read": ..., "refused": ...}``.
    """
    reading, writing = os.pipe()
    try:
        process = subprocess.Popen(
            [sys.executable, __file__, kind, str(first), str(count), str(writing)],
            pass_fds=[writing],
            # For networks of a few numbers threads that wait for each other take all the time.
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
        )
    finally:
        os.close(writing)
    last = b""
    with open(reading, "rb") as numbers:

        def follow():
            nonlocal last
            while piece := numbers.read1(1 << 16):
                last = (last + piece)[-64:]

        follower = threading.Thread(target=follow)
        follower.start()
        try:
            out, err = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            out, err = process.communicate()
            err += f"\nno end after {timeout} s"
        follower.join()
    case = last.split()[-1].decode() if last.split() else "none"
    where = f"python tests/support/hostile.py {kind} {case} 1"
    assert process.returncode == 0, f"ended with {process.returncode} in `{where}`:\n{err[-3000:]}"
    result = json.loads(out.splitlines()[-1])
    assert not result.pop("wrong"), out
    assert kind in _NOISY or not err, f"this was said on stderr up to `{where}`:\n{err[-2000:]}"
    return result


# --- bytes

_EXTREMES = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
_EXTREMES += (60000, 65500, 1 << 20, 1 << 30)


def damaged(data, others, rng):
    """One to four accidents that happen to the bytes of a file."""
    data = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 2, 3, 4))):
        if not data:
            break
        rng.choice(_ACCIDENTS)(data, others, rng)
    return bytes(data)


def _place(data, rng):
    """A place in a file; every other one near its beginning, where the headers are."""
    return rng.randrange(min(len(data), 96) if rng.random() < 0.5 else len(data))


def _flip(data, _others, rng):
    for _ in range(rng.choice((1, 1, 2, 4, 16))):
        data[_place(data, rng)] ^= 1 << rng.randrange(8)


def _overwrite(data, _others, rng):
    at = _place(data, rng)
    data[at : at + rng.randint(1, 8)] = rng.randbytes(rng.randint(1, 8))


def _extreme(data, _others, rng):
    value = rng.choice(_EXTREMES)
    layout = rng.choice(("<B", "<H", ">H", "<I", ">I", "<Q"))
    size = struct.calcsize(layout)
    at = _place(data, rng)
    data[at : at + size] = struct.pack(layout, value & ((1 << 8 * size) - 1))


def _truncate(data, _others, rng):
    del data[rng.randrange(len(data)) :]


def _remove(data, _others, rng):
    at = _place(data, rng)
    del data[at : at + rng.randint(1, 64)]


def _repeat(data, _others, rng):
    at, length = _place(data, rng), rng.randint(1, 256)
    data[at:at] = data[at : at + length] * rng.choice((1, 1, 2, 20))


def _insert(data, _others, rng):
    at = _place(data, rng)
    data[at:at] = rng.randbytes(rng.randint(1, 64))


def _splice(data, others, rng):
    """Another file's header before this one's rest, or its end instead of this one's."""
    other = rng.choice(others)
    if not other:
        return
    ours, theirs = _place(data, rng), _place(other, rng)
    data[:] = rng.choice((other[:theirs] + data[ours:], data[:ours] + other[theirs:]))


_ACCIDENTS = (_flip, _flip, _overwrite, _extreme, _extreme, _truncate, _remove, _repeat, _insert)
_ACCIDENTS += (_splice,)


def _folder():
    """A folder that is there for as long as the process."""
    folder = tempfile.TemporaryDirectory(prefix="cnnviz-hostile-")
    atexit.register(folder.cleanup)
    return Path(folder.name)


# --- images


@cache
def image_files():
    """The sample images, small, in every format and variant that there is an encoder for."""
    from PIL import Image

    files = []
    for number, path in enumerate(sorted((ROOT / "sample_images").glob("[ps]*/*.*g"))):
        with Image.open(path) as opened:
            image = opened.convert("RGB")
        image.thumbnail((24 + 4 * number, 40))
        alpha = image.copy()
        alpha.putalpha(image.convert("L"))
        gray = image.convert("L")
        exif = Image.Exif()
        exif[0x0112] = 1 + number % 8
        exif[0x010F] = "A camera"
        several = {"save_all": True, "append_images": [image.rotate(180), image.rotate(90)]}
        variants = [
            (image, "PNG", {}),
            (image.convert("P"), "PNG", {"transparency": 3}),
            (image.convert("1"), "PNG", {}),
            (alpha, "PNG", {"exif": exif}),
            (gray.convert("I;16"), "PNG", {}),
            (image, "JPEG", {}),
            (image, "JPEG", {"progressive": True, "exif": exif}),
            (image, "JPEG", {"quality": 95, "subsampling": 0, "restart_marker_blocks": 2}),
            (image.convert("CMYK"), "JPEG", {}),
            (gray, "JPEG", {"exif": exif}),
            (image, "WEBP", {"exif": exif}),
            (alpha, "WEBP", {}),
            (alpha, "WEBP", {"lossless": True}),
            (image, "WEBP", several),
            (image, "GIF", {}),
            (image.convert("P"), "GIF", {"transparency": 5, **several}),
            (image, "BMP", {}),
            (image.convert("P"), "BMP", {}),
            (image, "TIFF", {"exif": exif}),
            (alpha, "TIFF", {"compression": "tiff_lzw"}),
            (image, "TIFF", {"compression": "tiff_adobe_deflate"}),
            (image, "TIFF", {"compression": "jpeg"}),
            (image.convert("1"), "TIFF", {"compression": "group4"}),
            (gray.convert("I;16"), "TIFF", {"compression": "packbits"}),
            (image, "PPM", {}),
            (gray, "PPM", {}),
            # What is not left to OpenCV: masked bits, and samples that are put together here.
            (alpha, "BMP", {}),
            (image, "DIB", {}),
            (alpha.convert("LA"), "TIFF", {}),
            (alpha.convert("LA"), "TIFF", {"compression": "tiff_lzw", "tiffinfo": {317: 2}}),
            (alpha.convert("LA"), "TIFF", {"compression": "tiff_deflate", "strip_size": 99}),
            (image, "TIFF", {"compression": "zstd"}),
            (alpha.convert("LA"), "TIFF", {"compression": "packbits"}),
            (gray.convert("I;16"), "PPM", {}),
            (image.convert("1"), "PPM", {}),
        ]
        for image, kind, options in variants:
            buffer = io.BytesIO()
            image.save(buffer, kind, **options)
            files.append(buffer.getvalue())
    return files


def _with_right_checksums(data):
    """A PNG whose chunks' checksums fit again, so that the damage gets past them."""
    data = bytearray(data)
    at = 8
    while at + 12 <= len(data):
        (length,) = struct.unpack_from(">I", data, at)
        end = at + 8 + length
        if end + 4 > len(data):
            break
        struct.pack_into(">I", data, end, zlib.crc32(data[at + 4 : end]))
        at = end + 4
    return bytes(data)


class Images:
    """Decoding has to end in pixels or in a ImageError."""

    most = 1_000_000  # pixels

    def __init__(self):
        self.files = image_files()

    def case(self, rng):
        data = damaged(rng.choice(self.files), self.files, rng)
        if data.startswith(b"\x89PNG") and rng.random() < 0.8:
            data = _with_right_checksums(data)
        return data

    def read(self, data):
        import numpy as np

        from cnnviz.errors import ImageError
        from cnnviz.images.decode import decode_image

        try:
            pixels = decode_image(data, max_pixels=self.most).pixels
        except ImageError as error:
            _check_text(error)
            return False
        if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3:
            raise ValueError(f"no image: {pixels.dtype} {pixels.shape}")
        if not 0 < pixels.size <= 3 * self.most:
            raise ValueError(f"of another size than allowed: {pixels.shape}")
        return True


def _check_text(error):
    text = str(error)
    if not 10 < len(text) < 1500 or any(unicodedata.category(c) in ("Cc", "Cs") for c in text):
        raise ValueError(f"no sentence for people: {text[:2000]!r}")


# --- weights


def weights_arrays():
    """A small network's parameters."""
    import numpy as np

    shapes = {"features.0.weight": (4, 3, 3, 3), "features.0.bias": (4,), "features.1.gamma": (4,)}
    shapes.update({"output.weight": (2, 64), "output.bias": (2,), "nothing": (0, 3)})
    rng = np.random.default_rng(5)
    return {name: rng.standard_normal(shape).astype("f4") for name, shape in shapes.items()}


def params_files():
    """``.params`` files of all three generations."""
    arrays = weights_arrays()
    names = list(arrays)
    result = []
    for version, count in ((2, len(names)), (2, 1), (1, 3), (0, 3)):
        parts = [struct.pack("<QQQ", 0x112, 0, count)]
        for number, array in enumerate(list(arrays.values())[:count]):
            if version == 2:
                parts.append(struct.pack("<Iii", 0xF993FAC9 + number % 2, 0, array.ndim))
            else:
                marker = struct.pack("<I", 0xF993FAC8) if version == 1 else b""
                parts.append(marker + struct.pack("<I", array.ndim))
            sizes = f"<{array.ndim}{'I' if version == 0 else 'q'}"
            parts.append(struct.pack(sizes, *array.shape) + struct.pack("<iii", 1, 0, 0))
            parts.append(array.tobytes())
        parts.append(struct.pack("<Q", count))
        for name in names[:count]:
            name = f"arg:{name}"
            parts.append(struct.pack("<Q", len(name)) + name.encode())
        result.append(b"".join(parts))
    return result


def safetensors_files():
    """``.safetensors`` files, in single and half precision."""
    from safetensors.numpy import save

    arrays = weights_arrays()
    half = {name: array.astype("f2") for name, array in arrays.items()}
    return [
        save(arrays),
        save({name: arrays[name] for name in list(arrays)[:1]}),
        save(half, metadata={"format": "pt"}),
        save({}),
    ]


class Params:
    """Reading weights has to end in arrays that take no more room than the file, or in an error."""

    suffix = ".params"

    def __init__(self):
        self.files = self.sound()
        self.place = _folder() / f"x{self.suffix}"
        self.expected = {name: array.shape for name, array in weights_arrays().items()}

    def sound(self):
        return params_files()

    def case(self, rng):
        return damaged(rng.choice(self.files), self.files, rng)

    def read(self, data):
        from cnnviz.errors import WeightsError
        from cnnviz.weights.formats import read_weights
        from cnnviz.weights.matching import Expected, match

        self.place.write_bytes(data)  # a new one each time, which the last one's arrays do not see
        try:
            arrays = read_weights(self.place)
        except WeightsError as error:
            _check_text(error)
            return False
        finally:
            self.place.unlink()
        size = 0
        for array in arrays.values():
            array.tobytes()  # all of it is there
            size += array.nbytes
        if size > 2 * len(data):  # bfloat16 becomes float32
            raise ValueError(f"{size} bytes out of {len(data)}")
        try:
            match(arrays, Expected(self.expected))
        except WeightsError as error:
            _check_text(error)
        return True


class Safetensors(Params):
    """The same, with a header of JSON."""

    suffix = ".safetensors"

    def sound(self):
        return safetensors_files()

    def case(self, rng):
        data = bytearray(super().case(rng))
        if rng.random() < 0.2 and len(data) > 8:  # a header that ends where it says
            end = data.rfind(b"}") + 1
            data[:8] = struct.pack("<Q", max(0, end - 8))
        if rng.random() < 0.2:
            numbers = [m.span() for m in re.finditer(rb"[0-9]+", data[8:400])]
            if numbers:
                first, last = rng.choice(numbers)
                number = rng.choice((0, 1, 7, 1 << 31, 1 << 62, 1 << 64, -1, 1e300))
                text = str(number).encode()
                data[8 + first : 8 + last] = text
                length = struct.unpack_from("<Q", data)[0] + len(text) - (last - first)
                data[:8] = struct.pack("<Q", length % (1 << 64))
        return bytes(data)


class Torch(Params):
    """PyTorch's files, old and new; where PyTorch is there."""

    suffix = ".pth"

    def sound(self):
        import torch

        state = {name: torch.tensor(array) for name, array in weights_arrays().items()}
        some = {name: tensor.bfloat16() for name, tensor in list(state.items())[:2]}
        files = []
        for saved in (state, {"epoch": 3, "state_dict": some}):
            for zipped in (True, False):
                buffer = io.BytesIO()
                torch.save(saved, buffer, _use_new_zipfile_serialization=zipped)
                files.append(buffer.getvalue())
        return files

    def case(self, rng):
        data = super().case(rng)
        return _with_right_zip_checksums(data) if rng.random() < 0.5 else data


def _with_right_zip_checksums(data):
    """An archive whose members' checksums fit again."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            entries = archive.infolist()
        result = bytearray(data)
        for entry in entries:
            at = entry.header_offset
            name, extra = struct.unpack_from("<HH", data, at + 26)
            start = at + 30 + name + extra
            crc = struct.pack("<I", zlib.crc32(data[start : start + entry.file_size]))
            result = result.replace(struct.pack("<I", entry.CRC), crc)
        return bytes(result)
    except (zipfile.BadZipFile, ValueError, struct.error, NotImplementedError):
        return data


# --- symbols

_VALUES = ["", "()", "(2,)", "[]", "(0,0)", "(-1,-1)", "(1,1,1)", "(300,300)", "(20000,20000)"]
_VALUES += ["(1000000,1000000)", "(2147483647,2147483647)", "(4294967296,4294967296)", "x" * 5000]
_VALUES += ["0", "-1", "1", "3", "5000", "2147483648", "9999999999", "1e309", "nan", "True", "None"]
_VALUES += ["relu", "max", "valid", "NHWC", "float16", "(0,0,0,0,9000,9000,9000,9000)"]


def symbol_files():
    """Symbols of small networks, as dicts, with all their parameters."""
    from tests.support.mxnet import import_mxnet

    mx = import_mxnet()
    sym = mx.sym

    def plain():
        x = sym.Convolution(sym.var("data"), kernel=(3, 3), num_filter=4, pad=(1, 1), name="conv")
        x = sym.Activation(sym.BatchNorm(x, fix_gamma=False, name="bn"), act_type="relu")
        x = sym.Pooling(x, kernel=(2, 2), stride=(2, 2), pool_type="max")
        x = sym.Dropout(sym.Flatten(x))
        return sym.SoftmaxOutput(sym.FullyConnected(x, num_hidden=3, name="fc"), name="softmax")

    def branches():
        x = sym.Convolution(sym.var("data"), kernel=(1, 1), num_filter=4, num_group=1, name="a")
        y = sym.Deconvolution(sym.LeakyReLU(x), kernel=(1, 1), num_filter=4, name="b")
        x = sym.concat(x + y, sym.clip(x, a_min=0, a_max=6) * 0.5, dim=1)
        x = sym.L2Normalization(sym.LRN(x, nsize=3), mode="channel")
        x = sym.mean(sym.UpSampling(x, scale=2, sample_type="nearest"), axis=(2, 3))
        x = sym.broadcast_add(sym.reshape(x, shape=(0, -1)), sym.var("offset", shape=(1, 8)))
        return sym.FullyConnected(sym.slice_axis(x, axis=1, begin=0, end=5), num_hidden=3)

    found = []
    for make in (plain, branches):
        with mx.name.NameManager():
            symbol = make()
        shapes, _, states = symbol.infer_shape(data=(1, 3, 16, 12))
        names = [*symbol.list_arguments(), *symbol.list_auxiliary_states()]
        shapes = dict(zip(names, [*shapes, *states], strict=True))
        shapes = {n: s for n, s in shapes.items() if n not in ("data", "softmax_label")}
        found.append((json.loads(symbol.tojson()), shapes))
    return found


class Symbols:
    """Loading an exported network, and asking it once, has to end in logits or in an error."""

    def __init__(self):
        import numpy as np

        from cnnviz.weights.params_file import write_params
        from tests.support.mxnet import import_mxnet

        self.operators = sorted(import_mxnet().operator.get_all_registered_operators())
        folder = _folder()
        self.place = folder / "x-symbol.json"
        self.documents = symbol_files()
        self.files = [json.dumps(document) for document, _shapes in self.documents]
        self.parameters = folder / "x-0000.params"
        rng = np.random.default_rng(3)
        arrays = {}
        for _document, shapes in self.documents:
            arrays.update((n, rng.random(s).astype("f4")) for n, s in shapes.items())
        write_params(self.parameters, arrays)
        self.batch = rng.random((1, 3, 16, 12)).astype("f4")

    def case(self, rng):
        text = rng.choice(self.files)
        if rng.random() < 0.2:
            files = [file.encode() for file in self.files]
            return damaged(text.encode(), files, rng).decode("latin-1")
        document = json.loads(text)
        for _ in range(rng.choice((1, 1, 2, 3))):
            self.change(document, rng)
        return json.dumps(document)

    def change(self, document, rng):
        nodes = document["nodes"]
        node = rng.choice(nodes)
        if rng.random() < 0.8:  # something that computes
            node = rng.choice([node for node in nodes if node["op"] != "null"] or nodes)
        kind = rng.randrange(12)
        if kind <= 3:
            if not isinstance(node.get("attrs"), dict):
                node["attrs"] = {}
            attrs = node["attrs"]
            every = [
                "kernel",
                "stride",
                "dilate",
                "pad",
                "num_filter",
                "num_group",
                "axis",
                "shape",
            ]
            every += [
                "act_type",
                "pool_type",
                "layout",
                "p",
                "scalar",
                "__shape__",
                "dtype",
                "scale",
            ]
            key = rng.choice(list(attrs) or every) if rng.random() < 0.8 else rng.choice(every)
            attrs[key] = rng.choice(_VALUES)
        elif kind == 4 and node.get("attrs") and isinstance(node["attrs"], dict):
            del node["attrs"][rng.choice(list(node["attrs"]))]
        elif kind <= 6:
            node["op"] = rng.choice(self.operators)
        elif kind == 7 and node["inputs"] and isinstance(node["inputs"], list):
            entry = rng.choice(node["inputs"])
            entry[rng.randrange(len(entry))] = rng.choice((0, 1, 2, 3, 100, -1, 1 << 31, 1 << 40))
        elif kind == 8 and isinstance(node["inputs"], list):
            node["inputs"] = rng.choice(
                (node["inputs"][1:], node["inputs"][::-1], node["inputs"] * rng.choice((2, 50)), [])
            )
        elif kind == 9:
            node["name"] = rng.choice(("data", "", "a" * 5000, "\x1b[2J", nodes[0]["name"], "ä\n"))
        elif kind == 10:
            key = rng.choice(("heads", "arg_nodes", "node_row_ptr", "attrs"))
            document[key] = rng.choice(
                ([], [[0, 0, 0]], [[len(nodes) - 1, 7, 0]], {"mxnet_version": ["int", -5]}, [-1], 3)
            )
        else:
            what = rng.choice((None, 7, {"kernel": 5}, [dict(node)], {"a": None}))
            node[rng.choice(("attrs", "attr", "param", "subgraphs", "inputs"))] = what

    def read(self, text):
        import numpy as np

        from cnnviz.engines.base import Device
        from cnnviz.engines.registry import EngineChoice
        from cnnviz.errors import CnnvizError
        from cnnviz.models.config import ModelConfig
        from cnnviz.models.files import SymbolModel
        from tests.support.gradients import differentiate

        self.place.write_text(text)
        scale = (0.5, 0.5, 0.5)
        config = ModelConfig(str(self.place), input_size=(16, 12), mean=scale, std=scale)
        try:
            network, _info = SymbolModel(config).load(EngineChoice("mxnet", Device("cpu")))
            logits = network.logits(self.batch)
            differentiate(network, self.batch, relu_rule="standard")
        except CnnvizError as error:
            _check_text(error)
            return False
        if logits.dtype != np.float32 or logits.ndim != 2:
            raise ValueError(f"no logits: {logits.dtype} {logits.shape}")
        return True


# --- configuration files

_CONFIG = """\
# everything that can be configured
model: net-symbol.json
weights: net.params
labels: [cat, &a dog, 3, "no"]
input_size: 32x48
mean: [0.5, .25, 1e-1]
std: [1, 2, 3]
layer: stage3_plus8
head: scores
resize: crop
name: my network
"""
_YAML = ["*a", "&a [1]", "<<: [*a, *a]", "!!timestamp x", "2001-99-99", "!!int ''", "!!bool x"]
_YAML += ["!!float '.'", "0x_", "!!binary '='", "!!set {a, b}", "!!omap [a]", "? [a]", "---", "{}"]
_YAML += [
    '"\\e[2J"',
    '"\\x00"',
    "'",
    "[" * 3000,
    "{a: " * 3000,
    "9" * 5000,
    "é\u2028",
    "!!python/name:os.x",
]
_YAML += [
    "190:20:30",
    "1e999",
    "-.inf",
    "null",
    "| x",
    "@",
    "`",
    "%YAML 9.9",
    "\ufeff",
    "\t",
    ": ",
    "- ",
]


class Configs:
    """Reading a configuration file has to end in one, or in an error."""

    def __init__(self):
        self.folder = _folder()
        (self.folder / "net-symbol.json").write_text("{}")
        self.files = [_CONFIG.encode()]

    def case(self, rng):
        if rng.random() < 0.3:
            return damaged(self.files[0], self.files, rng)
        lines = _CONFIG.splitlines()
        for _ in range(rng.randint(1, 3)):
            at = rng.randrange(len(lines))
            key = lines[at].partition(":")[0]
            lines[at] = rng.choice((f"{key}: {rng.choice(_YAML)}", rng.choice(_YAML)))
        return "\n".join(lines).encode()

    def read(self, data):
        from cnnviz.errors import UsageError
        from cnnviz.models.config import find_config

        (self.folder / "cnnviz.yaml").write_bytes(data)
        try:
            find_config(str(self.folder))
        except UsageError as error:
            _check_text(error)
            return False
        return True


# --- for the test of this file


class Crash:
    """A decoder that takes its process down, in case 7."""

    files = ()

    def case(self, rng):
        return rng

    def read(self, rng):
        if rng.random() == random.Random("crash 7").random():
            os.kill(os.getpid(), signal.SIGSEGV)
        return True


class Blunder(Crash):
    """A decoder with a fault of its own."""

    def read(self, _rng):
        return 1 / 0


KINDS = {
    "images": Images,
    "params": Params,
    "safetensors": Safetensors,
    "torch": Torch,
    "symbols": Symbols,
    "configs": Configs,
    "crash": Crash,
    "blunder": Blunder,
}


def main(kind, first, count, progress=None):
    # In place of this folder, whose mxnet.py would be taken for MXNet.
    sys.path[0] = str(ROOT)
    subject = KINDS[kind]()
    wrong = []
    results = {"read": 0, "refused": 0}
    for case in subject.files:  # what libraries take once, on first use, is no growth
        if not subject.read(case):
            raise ValueError(f"a sound file was refused: {case[:99]!r}")
    before = _peak()
    for number in range(first, first + count):
        if progress is not None:
            os.write(progress, b"%d\n" % number)
        case = subject.case(random.Random(f"{kind} {number}"))
        began = time.process_time()
        try:
            results["read" if subject.read(case) else "refused"] += 1
        except Exception:  # noqa: BLE001 - whatever it is, it is what is looked for
            wrong.append([number, traceback.format_exc()[-1500:]])
        if time.process_time() - began > _SECONDS:
            wrong.append([number, f"took {time.process_time() - began:.1f} s"])
        if _peak() - before > _MEBIBYTES:
            wrong.append([number, f"took {_peak() - before} MiB"])
            before = _peak()
        if len(wrong) >= 40:
            break
    print(json.dumps({**results, "wrong": wrong}))


def _peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), *map(int, sys.argv[4:5]))
