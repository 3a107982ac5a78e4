"""The .params codec against MXNet's own, and against files that are not what they claim."""

from __future__ import annotations

import os
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cnnviz.errors import WeightsError
from cnnviz.weights.params_file import MAGIC, in_float32, read_params, write_params
from tests.support.mxnet import import_mxnet

F32 = np.arange(6, dtype=np.float32).reshape(2, 3)


def layout(*arrays: bytes, names: tuple[str, ...]) -> bytes:
    """A file by the description in the module's docstring."""
    return b"".join(
        [
            struct.pack("<QQQ", 0x112, 0, len(arrays)),
            *arrays,
            struct.pack("<Q", len(names)),
            *(struct.pack("<Q", len(name)) + name.encode() for name in names),
        ]
    )


def v1(array, code=0):
    return (
        struct.pack(f"<II{array.ndim}qiii", 0xF993FAC8, array.ndim, *array.shape, 1, 0, code)
        + array.tobytes()
    )


def v0(array, code=0):
    return (
        struct.pack(f"<I{array.ndim}Iiii", array.ndim, *array.shape, 1, 0, code) + array.tobytes()
    )


def v2(shape, code, data, magic=0xF993FAC9, storage=0):
    return (
        struct.pack(f"<Iii{len(shape)}qiii", magic, storage, len(shape), *shape, 1, 0, code) + data
    )


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "uint8", "int32", "int64"])
def test_reads_what_mxnet_writes(tmp_path, dtype):
    mx = import_mxnet()
    wanted = {"arg:a_weight": F32.astype(dtype), "aux:b": np.array([7, 8], dtype)}
    path = tmp_path / "a.params"
    mx.nd.save(str(path), {k: mx.nd.array(v, dtype=dtype) for k, v in wanted.items()})
    read = read_params(path)
    assert list(read) == list(wanted)
    for name, array in wanted.items():
        assert read[name].dtype == array.dtype
        np.testing.assert_array_equal(read[name], array)


def test_writes_the_very_bytes_that_mxnet_writes(tmp_path):
    mx = import_mxnet()
    arrays = {"features.0.weight": F32, "größe": np.array([[1]], np.float16)}
    write_params(tmp_path / "ours.params", arrays)
    mx.nd.save(
        str(tmp_path / "theirs.params"),
        {k: mx.nd.array(v, dtype=v.dtype) for k, v in arrays.items()},
    )
    assert (tmp_path / "ours.params").read_bytes() == (tmp_path / "theirs.params").read_bytes()


@pytest.mark.parametrize("old", [v1, v0])
def test_reads_the_older_generations_as_mxnet_does(tmp_path, old):
    path = tmp_path / "old.params"
    path.write_bytes(layout(old(F32), old(F32[0]), names=("a", "b")))
    theirs = import_mxnet().nd.load(str(path))
    ours = read_params(path)
    for name, wanted in (("a", F32), ("b", F32[0])):
        np.testing.assert_array_equal(theirs[name].asnumpy(), wanted)
        np.testing.assert_array_equal(ours[name], wanted)


def test_widens_bfloat16(tmp_path):
    # 1.0 is 0x3F800000 as a float32 and -3.0 is 0xC0400000: bfloat16 is the upper half.
    path = tmp_path / "b.params"
    path.write_bytes(layout(v2((2,), 12, struct.pack("<HH", 0x3F80, 0xC040)), names=("a",)))
    array = read_params(path)["a"]
    assert array.dtype == np.float32
    assert array.tolist() == [1.0, -3.0]


def test_every_truncation_is_told(tmp_path):
    whole = layout(v2((2, 3), 0, F32.tobytes()), v1(F32), v0(F32), names=("a", "b", "c"))
    path = tmp_path / "t.params"
    path.write_bytes(whole)
    assert len(read_params(path)) == 3
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        with pytest.raises(WeightsError):
            read_params(path)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "is empty"),
        (b"not weights at all, but text", "not an MXNet .params file"),
        (struct.pack("<QQQ", 0x112, 0, 2**60), "claims to hold"),
        (layout(v2((2**40, 2**40), 0, b""), names=("a",)), "ends after"),
        (layout(v2((-1, 5), 0, b""), names=("a",)), "shape"),
        (layout(v2((1,), 99, b"1234"), names=("a",)), "type number 99"),
        (layout(v2((1,), 0, b"1234", storage=1), names=("a",)), "sparse"),
        (layout(struct.pack("<I", 5000), names=("a",)), "5000 dimensions"),
        (layout(v0(F32), names=()), "without names"),
        (layout(v0(F32), v0(F32), names=("a",)), "2 arrays and 1 names"),
        (layout(v0(F32), v0(F32), names=("a", "a")), "same name"),
    ],
)
def test_says_what_is_wrong_with_a_file(tmp_path, content, told):
    path = tmp_path / "wrong.params"
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=told) as caught:
        read_params(path)
    assert str(path) in str(caught.value)


@given(tail=st.binary(max_size=400))
def test_random_bytes_are_read_or_refused(tmp_path_factory, tail):
    path = tmp_path_factory.mktemp("fuzz") / "f.params"
    path.write_bytes(MAGIC + tail)
    try:
        read = read_params(path)
    except WeightsError:
        return
    assert len(read) == int.from_bytes(tail[8:16], "little")


def test_an_unreadable_file_is_named(tmp_path):
    with pytest.raises(WeightsError, match=r"gone\.params cannot be read: No such file"):
        read_params(tmp_path / "gone.params")


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "w.params"
    write_params(path, {"a": F32})
    before = path.read_bytes()
    with pytest.raises(WeightsError, match="b "):
        write_params(path, {"a": F32 + 1, "b": np.array(["text"])})
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["w.params"]


def test_a_written_file_has_ordinary_permissions(tmp_path):
    (tmp_path / "plain").touch()
    write_params(tmp_path / "w.params", {"a": F32})
    assert (tmp_path / "w.params").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_a_missing_folder_is_told(tmp_path):
    with pytest.raises(WeightsError, match="cannot be written: No such file or directory"):
        write_params(tmp_path / "nowhere" / "w.params", {"a": F32})


SMALL = {
    "0.weight": (4, 3, 3, 3),
    "0.bias": (4,),
    "1.gamma": (4,),
    "1.beta": (4,),
    "1.running_mean": (4,),
    "1.running_var": (4,),
    "2.weight": (2, 36),
    "2.bias": (2,),
}


def small_arrays(seed=0):
    rng = np.random.default_rng(seed)
    return {k: rng.standard_normal(s).astype(np.float32) for k, s in SMALL.items()}


def check_values(made, arrays):
    assert list(made) == list(arrays)
    for name, array in made.items():
        assert array.dtype == np.float32
        assert array.flags.aligned
        assert array.flags.c_contiguous
        np.testing.assert_array_equal(array, arrays[name])


def test_float32_is_not_copied():
    arrays = small_arrays()
    made = in_float32(arrays)
    check_values(made, arrays)
    assert all(made[name] is array for name, array in arrays.items())


def test_doubles_unaligned_and_strided_arrays_are_brought_into_order(tmp_path):
    arrays = small_arrays()
    # An odd number of bytes in front puts all that follows off its natural address.
    write_params(tmp_path / "odd.params", {"pad": np.zeros(3, np.uint8), **arrays})
    read = read_params(tmp_path / "odd.params")
    del read["pad"]
    assert not read["2.weight"].flags.aligned
    read["0.weight"] = np.asfortranarray(read["0.weight"]).astype(np.float64)
    check_values(in_float32(read), arrays)


def resident(kind: str) -> int:
    """Bytes that this process holds: ``RssFile`` of mapped files, ``RssAnon`` of its own."""
    with open("/proc/self/status") as status:
        (line,) = (line for line in status if line.startswith(f"{kind}:"))
    return int(line.split()[1]) * 1024


def test_the_pages_of_the_file_are_given_back(tmp_path):
    path, size = tmp_path / "large.params", 1 << 25
    write_params(path, {"weight": np.ones((8, size // 32), np.float32), "bias": np.ones(8, "f4")})
    read = read_params(path)
    before, own = resident("RssFile"), resident("RssAnon")
    assert read["weight"].sum() == size / 4
    assert resident("RssFile") - before > 0.9 * size  # what there is to give back
    made = in_float32(read)
    assert resident("RssFile") - before < 0.1 * size
    assert resident("RssAnon") - own < 0.1 * size
    assert read["weight"].sum() == made["weight"].sum() == size / 4  # still readable
