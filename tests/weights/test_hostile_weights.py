"""Weights out of hands that are not to be trusted: one sentence, nothing run, no memory wasted."""

from __future__ import annotations

import contextlib
import io
import json
import os
import pickle
import re
import struct
import sys
import types
import zipfile
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save, save_file

from cnnviz.errors import WeightsError
from cnnviz.weights.formats import read_weights
from cnnviz.weights.params_file import MAGIC, check_finite, in_float32, read_params, write_params
from tests.support import hostile
from tests.support.capabilities import SLOW


@pytest.mark.subprocess
@pytest.mark.hostile
@pytest.mark.parametrize(
    "kind", ["params", "safetensors", pytest.param("torch", marks=pytest.mark.needs("torch"))]
)
def test_mutated_weights_are_read_or_refused(kind):
    """Never a crash, another exception, control characters in the text, or much memory."""
    result = hostile.attack(kind, 0, 50_000 if SLOW else 2_000)

    assert result["read"] > 40
    assert result["refused"] > 500


# --- sizes and names in headers ------------------------------------------------------------------


def v2(shape, data=b"", kind=0):
    head = struct.pack(f"<Iii{len(shape)}q", 0xF993FAC9, 0, len(shape), *shape)
    return head + struct.pack("<iii", 1, 0, kind) + data


def params(*arrays, names=("a",)):
    listed = b"".join(struct.pack("<Q", len(name)) + name.encode() for name in names)
    count = struct.pack("<Q", len(names))
    return MAGIC + struct.pack("<QQ", 0, len(arrays)) + b"".join(arrays) + count + listed


def tensors(header, data=b""):
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


@pytest.mark.parametrize(
    ("content", "told"),
    [
        # No bytes at all, and yet more numbers than NumPy can count along the other sides.
        (params(v2((0, 2**62, 2**62))), r"claims to have the shape \(0, 4611686018427387904, "),
        (
            tensors({"a": {"dtype": "F32", "shape": [0, 2**62, 2**61], "data_offsets": [0, 0]}}),
            r"\.safetensors file: ",
        ),
        (params(v2((2**62, 2**62))), "it ends after"),
        (
            tensors({"a": {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 2**42]}}),
            r"\.safetensors file: ",
        ),
        # Four bytes each in the file, a hundred in memory.
        (MAGIC + struct.pack("<QQ", 0, 200_000) + bytes(2_000_000), "claims to hold 200000 arrays"),
        (params(v2((1,), b"1234"), names=("a\x1b[2J",)), "a name in it has control characters"),
        (params(v2((1,), b"1234"), names=("a" * 300,)), "a name in it claims to have 300 bytes"),
        (save({"a\x1b[2J": np.ones(1, "f4")}), "a name in it has control characters"),
        (save({"a" * 300: np.ones(1, "f4")}), "a name in it has control characters or no end"),
        # Lengths of the header: beyond the file, and beyond what any network needs.
        (struct.pack("<Q", 9_000_000) + b"{}", "damaged or incomplete .safetensors"),
        (struct.pack("<Q", 2**63) + b"{}", "is not a weights file"),
        (struct.pack("<Q", 50_000_000) + b"{" + bytes(100), "is not a weights file"),
    ],
)
def test_headers_that_lie(tmp_path, content, told):
    path = tmp_path / "lying.weights"
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=told) as caught:
        read_weights(path)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 600


def test_names_in_any_language_are_names(tmp_path):
    name = "слой\u3000ünïcode 层.weight"
    write_params(tmp_path / "w.params", {name: np.ones(2, "f4")})
    assert list(read_params(tmp_path / "w.params")) == [name]


def test_what_is_no_file_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.params")
    for path, what in (
        (tmp_path / "pipe.params", "a pipe or device"),
        (Path("/dev/zero"), "a pipe or device"),
        (tmp_path, "a folder"),
    ):
        with pytest.raises(WeightsError, match=f"{path} is {what}, not a weights file"):
            read_weights(path)


# --- PyTorch's files, which are programs ---------------------------------------------------------


class Payload:
    """What a malicious file holds: a call of a function of its author's choice."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def fake_torch(monkeypatch, version, result=None):
    """A PyTorch that notes how it is called."""
    module = types.ModuleType("torch")
    module.__version__ = version
    module.Tensor = type("Tensor", (), {})
    module.calls = []

    def load(path, **options):
        module.calls.append(options)
        if isinstance(result, BaseException):
            raise result
        return result

    module.load = load
    module.serialization = types.SimpleNamespace(
        safe_globals=lambda _names: contextlib.nullcontext(),
        get_unsafe_globals_in_checkpoint=lambda _path: [],
    )
    monkeypatch.setitem(sys.modules, "torch", module)
    return module


def archive(members, packed=zipfile.ZIP_STORED):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", packed) as opened:
        for name, content in members.items():
            opened.writestr(name, content)
    return buffer.getvalue()


@pytest.mark.parametrize("version", ["1.13.1", "2.5.1+cpu", "unknown"])
def test_a_pytorch_that_can_be_made_to_run_code_is_not_used(tmp_path, monkeypatch, version):
    """CVE-2025-32434: before 2.6 weights_only=True could be got around."""
    torch = fake_torch(monkeypatch, version)
    path = tmp_path / "w.pth"
    path.write_bytes(archive({"w/data.pkl": pickle.dumps({})}))
    with pytest.raises(WeightsError, match=rf"PyTorch {re.escape(version)} could run code.*2\.6"):
        read_weights(path)
    assert torch.calls == []


def test_pytorch_is_asked_for_weights_only(tmp_path, monkeypatch):
    torch = fake_torch(monkeypatch, "2.10.0", result={})
    path = tmp_path / "w.pth"
    path.write_bytes(archive({"w/data.pkl": pickle.dumps({})}))
    with pytest.raises(WeightsError, match="holds no parameters"):
        read_weights(path)
    assert torch.calls == [{"map_location": "cpu", "weights_only": True}]


@pytest.mark.parametrize(
    "error", [IndexError("pop from empty list"), AttributeError("x"), RecursionError("deep\x1b[2J")]
)
def test_whatever_pytorch_stumbles_over_is_a_sentence(tmp_path, monkeypatch, error):
    fake_torch(monkeypatch, "2.10.0", result=error)
    path = tmp_path / "w.pth"
    path.write_bytes(archive({"w/data.pkl": pickle.dumps({})}))
    with pytest.raises(WeightsError, match="cannot be read as PyTorch weights") as caught:
        read_weights(path)
    assert str(caught.value).isprintable()


def test_an_archive_that_swells_is_not_unpacked(tmp_path, monkeypatch):
    torch = fake_torch(monkeypatch, "2.10.0")
    members = {"w/data.pkl": pickle.dumps({}), "w/data/0": bytes(10_000_000)}
    path = tmp_path / "bomb.pth"
    path.write_bytes(archive(members, zipfile.ZIP_DEFLATED))
    assert path.stat().st_size < 20_000
    with pytest.raises(WeightsError, match="claims to hold more than it has bytes"):
        read_weights(path)
    assert torch.calls == []


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_a_bare_pickle_is_never_loaded(tmp_path, protocol):
    path = tmp_path / "w.pth"
    path.write_bytes(pickle.dumps(Payload(tmp_path / "executed"), protocol=protocol))
    with pytest.raises(WeightsError, match="is not a weights file"):
        read_weights(path)
    assert not (tmp_path / "executed").exists()


class Evaluated:
    """A pickle of it evaluates a text."""

    def __init__(self, text):
        self.text = text

    def __reduce__(self):
        return eval, (self.text,)


@pytest.mark.needs("torch")
def test_functions_beside_weights_are_not_called(tmp_path):
    import torch

    path, marker = tmp_path / "w.pth", tmp_path / "executed"
    text = f"open({str(marker)!r}, 'w').close()"
    torch.save({"model": {"a": torch.ones(2)}, "args": Evaluated(text)}, path)
    assert read_weights(path)["a"].tolist() == [1, 1]
    assert not marker.exists()
    torch.load(path, weights_only=False)  # it would have been
    assert marker.exists()


@pytest.mark.needs("torch")
@pytest.mark.parametrize("twice", [True, False])
def test_names_in_a_checkpoint_are_shown_as_they_may_be(tmp_path, twice):
    import torch

    path = tmp_path / "w.pth"
    inside = {"a": torch.ones(2)} if twice else 1
    torch.save({"deep\x1b[2J": inside, "other": inside}, path)
    with pytest.raises(WeightsError, match="deep") as caught:
        read_weights(path)
    assert str(caught.value).isprintable()


@pytest.mark.needs("torch")
def test_code_in_pytorchs_own_format_is_not_run(tmp_path):
    import torch

    for zipped in (True, False):
        path = tmp_path / "w.pth"
        state = {"a": Payload(tmp_path / "executed")}
        torch.save(state, path, _use_new_zipfile_serialization=zipped)
        with pytest.raises(WeightsError, match="cannot be read as PyTorch weights"):
            read_weights(path)
        assert not (tmp_path / "executed").exists()


@pytest.mark.needs("torch")
def test_a_tensor_that_repeats_itself_without_end_is_refused(tmp_path):
    import torch

    torch.save({"a": torch.ones(1).half().expand(10**6, 10**6)}, tmp_path / "w.pth")
    with pytest.raises(WeightsError, match="would take 2000000000000 bytes"):
        read_weights(tmp_path / "w.pth")


# --- numbers that are none -----------------------------------------------------------------------


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", ["f2", "f4", "f8"])
def test_one_bad_number_is_found_wherever_it_stands(value, dtype):
    for place in (0, 123, 999):
        array = np.ones((10, 100), dtype)
        array.flat[place] = value
        with pytest.raises(WeightsError, match=r"^x\.params: conv\.weight holds 1 of 1000 numbers"):
            check_finite("conv.weight", array, "x.params")


def test_infinities_that_cancel_are_found():
    with pytest.raises(WeightsError, match="holds 2 of 3 numbers"):
        check_finite("a", np.array([np.inf, 1, -np.inf], "f4"), "x")


@pytest.mark.parametrize("array", [np.full(1000, 3e38, "f4"), np.full(100, 6e4, "f2"), np.zeros(0)])
def test_a_sum_that_overflows_is_no_fault(array):
    check_finite("a", array.astype(array.dtype), "x")


def test_a_network_is_not_given_such_weights():
    good = {"weight": np.ones((2, 3), "f4"), "bias": np.zeros(2, "f4")}
    in_float32(good)
    with pytest.raises(WeightsError, match=r"w\.params: bias holds 1 of 2 numbers"):
        in_float32({**good, "bias": np.array([0, np.nan], "f4")}, source="w.params")


def test_the_command_names_file_and_parameter(cnnviz, tmp_path, write_image):
    from cnnviz import demo

    arrays = {name: np.array(array) for name, array in read_params(demo.weights_path()).items()}
    name = next(iter(arrays))
    arrays[name] = arrays[name].astype("f4")
    arrays[name].flat[0] = np.nan
    save_file(arrays, tmp_path / "broken.safetensors")
    write_image(tmp_path / "cat.png")

    status, out, err = cnnviz(
        *("explain", "cat.png", "--model", "demo", "--weights", "broken.safetensors", "-o", "out")
    )

    assert (status, out) == (3, "")
    assert f"Error: broken.safetensors: {name} holds 1 of {arrays[name].size} numbers" in err
    assert not (tmp_path / "out").exists()
