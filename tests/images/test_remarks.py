"""What decoders say reaches the user with the image's name, or not at all; others' words pass."""

from __future__ import annotations

import ctypes
import io
import json
import os
import re
import struct
import sys
import threading
import warnings
import zlib

import numpy as np
import pytest
from PIL import Image

from cnnviz.errors import ImageError
from cnnviz.images.decode import decode_image, read_image, read_reduced
from cnnviz.images.remarks import listening, sentences

LIBRARY = ctypes.CDLL(None)


def current():
    """Where C's ``stderr`` leads now."""
    return ctypes.c_void_p.in_dll(LIBRARY, "stderr")


def say(text):
    """As libraries written in C do."""
    LIBRARY.fputs(text, current())
    LIBRARY.fflush(current())


def encode(kind, **options):
    buffer = io.BytesIO()
    small = np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    Image.fromarray(small).resize((80, 60)).save(buffer, kind, **options)
    return buffer.getvalue()


def odd_jpeg():
    """Whole, with seven bytes too many before its end."""
    data = encode("JPEG", quality=95)
    return data[:-2] + bytes(7) + data[-2:]


SAID = (
    "it was read, but its decoder reports: Corrupt JPEG data: N extraneous bytes before marker 0xd9"
)


def less_exact(text):
    """How many of the bytes are counted is libjpeg's business."""
    return re.sub(r"\d+ extraneous", "N extraneous", text)


def test_a_remark_is_a_warning_that_names_the_file(tmp_path, capfd):
    (tmp_path / "odd.jpg").write_bytes(odd_jpeg())
    with pytest.warns(UserWarning, match="extraneous") as caught:
        pixels = read_image(tmp_path / "odd.jpg")

    assert [less_exact(str(one.message)) for one in caught] == [f"{tmp_path / 'odd.jpg'}: {SAID}"]
    assert (pixels == decode_image(encode("JPEG", quality=95)).pixels).all()
    assert capfd.readouterr() == ("", "")
    assert read_reduced(tmp_path / "odd.jpg", lambda source: (1, 1)).remark is not None


def test_a_color_profile_is_nothing_to_speak_of(capfd):
    data = encode("PNG", icc_profile=b"too short")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert (decode_image(data).pixels == decode_image(encode("PNG")).pixels).all()
    assert capfd.readouterr() == ("", "")


def test_what_a_decoder_says_of_a_damaged_file_is_in_the_error(capfd):
    data = encode("PNG")
    start = data.index(b"IDAT")
    (length,) = struct.unpack_from(">I", data, start - 4)
    rows = bytearray(zlib.decompress(data[start + 4 : start + 4 + length]))
    rows[0] = 9  # no filter has this number
    chunk = b"IDAT" + zlib.compress(bytes(rows))
    parts = struct.pack(">I", len(chunk) - 4), chunk, struct.pack(">I", zlib.crc32(chunk))
    with pytest.raises(ImageError, match=r"damaged or of a rare kind \(libpng error: bad adapt"):
        decode_image(data[: start - 4] + b"".join(parts) + data[start + length + 8 :])
    assert capfd.readouterr() == ("", "")


def test_explain_names_the_image_and_keeps_quiet_if_it_is_told_to(cnnviz, tmp_path):
    (tmp_path / "p").mkdir()
    (tmp_path / "p" / "odd.jpg").write_bytes(odd_jpeg())
    (tmp_path / "p" / "sound.jpg").write_bytes(encode("JPEG"))
    for command in (("explain", "--method", "gradcam"), ("activations",)):
        status, _out, err = cnnviz(*command, "p", "-m", "demo", "-o", "out")
        assert status == 0
        assert err.count("extraneous") == 1
        assert f"p/odd.jpg: {SAID}\n" in less_exact(err)
        assert cnnviz(*command, "p", "-m", "demo", "-o", "quiet", "-q") == (0, "", "")

    manifest = json.loads((tmp_path / "out" / "manifest.json").read_bytes())
    odd, sound = manifest["images"]
    assert less_exact(odd["remark"]) == SAID
    assert sound["remark"] is None


# --- the stream ----------------------------------------------------------------------------------


def test_each_thread_hears_its_own_and_all_else_goes_on_to_stderr(capfd):
    before = current().value
    heard, inside = {}, threading.Barrier(4)

    def decode(name):
        with listening() as said:
            inside.wait(10)
            say(b"%s is odd\n" % name)
            inside.wait(10)
        heard[name] = bytes(said)

    def other():
        inside.wait(10)
        say(b"from another thread\n")
        os.write(2, b"from Python\n")
        print("from print", file=sys.stderr, flush=True)
        inside.wait(10)

    threads = [threading.Thread(target=decode, args=(name,)) for name in (b"a", b"b", b"c")]
    threads.append(threading.Thread(target=other))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert heard == {name: name + b" is odd\n" for name in (b"a", b"b", b"c")}
    lines = capfd.readouterr().err.splitlines()
    assert sorted(lines) == ["from Python", "from another thread", "from print"]
    assert current().value == before
    say(b"as ever\n")
    assert capfd.readouterr().err == "as ever\n"


def test_the_stream_is_given_back_whatever_happens():
    before = current().value
    said = []

    def decode():
        with listening() as heard:
            said.append(heard)
            assert current().value != before
            with listening():  # one within another
                say(b"x\n")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        decode()
    assert current().value == before
    assert said == [b"x\n"]


def test_decoders_that_say_too_much_are_cut_short():
    with listening() as said:
        for number in range(10_000):
            say(b"line %d of many\x1b[2J\n" % number)
    found = sentences(said)

    assert len(said) <= 1 << 12
    assert found == tuple(f"line {number} of many [2J" for number in range(5))
    assert sentences(b"twice\r\ntwice\n\n \xff\n" + b"x" * 999) == ("twice", r"\xff", "x" * 200)
