"""Journals that a run leaves, and manifests that it ends with."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import subprocess
import sys
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cnnviz import system
from cnnviz.errors import OutputUnavailableError, UsageError
from cnnviz.labels.scores import Score
from cnnviz.outputs.files import OutputFolder
from cnnviz.outputs.formats import encode_run_file
from cnnviz.runs.description import decisive
from cnnviz.runs.image_records import ContrastRecord, ExplanationRecord, ImageRecord
from cnnviz.runs.journal import Journal
from cnnviz.runs.manifest import (
    JOURNAL,
    MANIFEST,
    MANIFEST_FILE,
    check_run_file,
    file_sha256,
    fingerprint,
)
from cnnviz.runs.records import Manifest
from cnnviz.runs.request import ExecutionOptions
from cnnviz.runs.run_records import (
    CheckRecord,
    EngineRecord,
    InputRecord,
    LayerRecord,
    NetworkRecord,
    RunRecord,
)
from cnnviz.runs.summary import RunReport
from cnnviz.structure import decode, plain

SCORE = Score(0, None, 1.5, None)


def image(stem, *files, **more):
    """The record of an image for which these files were written."""
    names = {str(number): name for number, name in enumerate(files)}
    explained = ExplanationRecord(SCORE, names, (), {}, {}, None)
    return ImageRecord(
        stem, stem, stem, "ab", (3, 4), "ok", top5=(SCORE,), explanations=(explained,), **more
    )


def failed(stem, error):
    return ImageRecord(stem, stem, stem, None, None, "failed", error)


RECORDS = [
    image("a/cat", loss=0.1 + 0.2),
    failed("b/\udcff\u2028\n", "caf\u00e9 \U0001f600"),
    image("dog", loss=1e-300),
]
STEMS = [record.stem for record in RECORDS]
RUN = RunRecord(
    parameters={"size": "full"},
    versions={"cnnviz": "0.1.0"},
    network=NetworkRecord(
        name="n",
        classes=1,
        activation="none",
        labels=(),
        input=InputRecord(3, 4, (0.0,), (1.0,), "gray", "stretch"),
        layers=(LayerRecord("conv", "convolution", (1, 2, 2)),),
        symbol=None,
        weights=None,
        check=None,
    ),
    engine=EngineRecord("torch", "2.13.0", "gpu:0", "fp32"),
    engine_reason="MXNet is not installed",
    methods=(),
    notes=(),
    ground_truth=None,
    fingerprint="mark",
)
SUMMARY = RunReport().record(None, 0, ())


def fill(folder, mark="mark", records=RECORDS):
    journal = Journal(MANIFEST_FILE, folder, mark)
    for record in records:
        journal.add(record)
    return journal


def write_manifest(folder, journal, stems=STEMS):
    lines = MANIFEST_FILE.lines(RUN, SUMMARY, journal.lines(stems))
    OutputFolder(folder).write(MANIFEST, encode_run_file(lines))
    journal.close(done=True)


def test_what_was_fed_before_there_was_a_choice():
    fed = {"height": 3, "width": 4, "mean": [0.0], "std": [1.0], "channels": "gray", "range": None}
    for resize, kept in (("stretch", 1.0), ("crop", 224 / 256)):
        old = decode(InputRecord, {**fed, "resize": resize, "displayed": [0]}, "input")
        assert (old.crop_fraction, old.interpolation) == (kept, "area")
        assert old == InputRecord(3, 4, (0.0,), (1.0,), "gray", resize, None, (0,), kept, "area")


@pytest.mark.parametrize(
    ("key", "value"),
    [("crop_fraction", 0), ("interpolation", "cubic"), ("resize", "squeeze"), ("height", 0)],
)
def test_what_no_network_is_fed_is_refused(key, value):
    whole = plain(RUN.network.input)
    with pytest.raises(ValueError, match=f"input says what no network is fed: .*{value}"):
        decode(InputRecord, {**whole, key: value}, "input")


def test_a_manifest_is_json_with_an_image_a_line(tmp_path):
    write_manifest(tmp_path, fill(tmp_path))
    text = (tmp_path / MANIFEST).read_bytes()
    assert decode(Manifest, json.loads(text), "it") == Manifest(4, RUN, SUMMARY, tuple(RECORDS))
    assert text.isascii()
    assert len(text.splitlines()) == 4 + len(RECORDS) + 1
    assert not (tmp_path / JOURNAL).exists()


def test_an_empty_manifest_is_json():
    text = b"".join(MANIFEST_FILE.lines({}, {}, []))
    assert json.loads(text)["images"] == []


@pytest.mark.parametrize("ended", [False, True])
def test_what_was_done_is_found_again(tmp_path, ended):
    journal = fill(tmp_path)
    if ended:
        write_manifest(tmp_path, journal)
    else:
        journal.close(done=False)
    again = Journal(MANIFEST_FILE, tmp_path, "mark")
    assert [again.find(stem) for stem in STEMS] == RECORDS
    assert again.find("cat") is None
    assert [
        decode(ImageRecord, json.loads(line), "it") for line in again.lines([*STEMS, "cat"])
    ] == RECORDS
    again.close(done=True)


def test_the_journal_comes_before_the_manifest_and_both_count(tmp_path):
    write_manifest(tmp_path, fill(tmp_path))
    journal = Journal(MANIFEST_FILE, tmp_path, "mark")
    journal.add(image("dog", loss=7.0))
    journal.add(image("new"))
    journal.close(done=False)
    again = Journal(MANIFEST_FILE, tmp_path, "mark")
    assert again.find("dog").loss == 7
    assert again.find("new").ok
    assert again.find("a/cat") == RECORDS[0]
    again.close(done=True)


@pytest.mark.parametrize("ended", [False, True])
@pytest.mark.parametrize("forget", [{"fingerprint": "other"}, {"force": True}])
def test_another_run_begins_anew(tmp_path, ended, forget):
    journal = fill(tmp_path)
    if ended:
        write_manifest(tmp_path, journal)
    else:
        journal.close(done=False)
    again = Journal(MANIFEST_FILE, tmp_path, **{"fingerprint": "mark", **forget})
    assert (tmp_path / MANIFEST).exists() == (ended and "force" not in forget)
    assert all(again.find(stem) is None for stem in STEMS)
    again.add(image("x"))
    assert again.find("x") == image("x")
    again.close(done=False)


def test_a_journal_cut_anywhere_keeps_its_whole_lines(tmp_path):
    """A kill or a power cut may leave any part of what was written."""
    fill(tmp_path).close(done=False)
    whole = (tmp_path / JOURNAL).read_bytes()
    ends = np.cumsum([len(line) for line in whole.splitlines(keepends=True)])
    for length in range(len(whole) + 1):
        (tmp_path / JOURNAL).write_bytes(whole[:length])
        journal = Journal(MANIFEST_FILE, tmp_path, "mark")
        kept = max(0, int((ends <= length).sum()) - 1)
        assert [journal.find(stem) for stem in STEMS] == [
            *RECORDS[:kept],
            *[None] * (len(RECORDS) - kept),
        ]
        for record in RECORDS[kept:]:
            journal.add(record)
        journal.close(done=False)
        assert (tmp_path / JOURNAL).read_bytes() == whole


@settings(max_examples=150, derandomize=True)
@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("add"), st.text(max_size=5), st.integers(0, 99)),
            st.tuples(st.just("stop"), st.integers(0, 200)),  # bytes lost at the end
            st.tuples(st.just("end")),
        ),
        max_size=12,
    )
)
def test_whatever_happens_the_last_whole_record_of_an_image_counts(tmp_path_factory, steps):
    """Against a list in memory of what was appended, and how much of it a stop has cost."""
    folder = tmp_path_factory.mktemp("run")
    journal = Journal(MANIFEST_FILE, folder, "mark")
    ended: dict[str, int] = {}
    appended: list[tuple[str, int, int]] = []  # with the length of the journal behind it

    def known():
        return {**ended, **{stem: value for stem, value, _ in appended}}

    for step in steps:
        if step[0] == "add":
            journal.add(image(step[1], loss=float(step[2])))
            appended.append((step[1], step[2], (folder / JOURNAL).stat().st_size))
            continue
        if step[0] == "stop":
            journal.close(done=False)
            length = max(0, (folder / JOURNAL).stat().st_size - step[1])
            os.truncate(folder / JOURNAL, length)
            appended = [one for one in appended if one[2] <= length]
        else:
            ended = known()
            write_manifest(folder, journal, sorted(ended))
            appended = []
        journal = Journal(MANIFEST_FILE, folder, "mark")
        found = {stem: journal.find(stem) for stem in known()}
        assert found == {stem: image(stem, loss=float(value)) for stem, value in known().items()}
    journal.close(done=True)


def test_rubbish_behind_the_header_is_cut_off(tmp_path):
    fill(tmp_path, records=RECORDS[:1]).close(done=False)
    whole = (tmp_path / JOURNAL).read_bytes()
    for rubbish in (b"\0" * 100, b"[]\n", b"{}\n", b'{"stem": 3\n', b"\xff\xfe\n"):
        (tmp_path / JOURNAL).write_bytes(whole + rubbish)
        journal = Journal(MANIFEST_FILE, tmp_path, "mark")
        assert journal.find("a/cat") == RECORDS[0]
        journal.close(done=False)
        assert (tmp_path / JOURNAL).read_bytes() == whole


@pytest.mark.parametrize("text", [b"", b"{", b'{"cnnviz_manifest": 4,\n"run": []}', b"\0\0\n\n"])
def test_a_broken_manifest_is_as_none(tmp_path, text):
    (tmp_path / MANIFEST).write_bytes(text)
    journal = Journal(MANIFEST_FILE, tmp_path, "mark")
    assert journal.find("a/cat") is None
    journal.close(done=True)


def test_a_damaged_record_is_as_none(tmp_path):
    """Its image is done again, whatever somebody or something has made of it."""
    fill(tmp_path).close(done=False)
    whole = (tmp_path / JOURNAL).read_bytes()
    (tmp_path / JOURNAL).write_bytes(whole.replace(b'"status": "ok"', b'"status": "good"', 1))
    journal = Journal(MANIFEST_FILE, tmp_path, "mark")
    assert journal.find("a/cat") is None
    assert journal.find("dog") == RECORDS[2]
    journal.add(RECORDS[0])
    assert journal.find("a/cat") == RECORDS[0]
    journal.close(done=True)


@pytest.mark.subprocess
def test_two_at_once_in_one_folder(tmp_path):
    journal = Journal(MANIFEST_FILE, tmp_path, "mark")
    code = (
        "import sys, pathlib\n"
        "from cnnviz.runs.journal import Journal\n"
        "from cnnviz.runs.manifest import MANIFEST_FILE\n"
        "from cnnviz.errors import UsageError\n"
        "try:\n"
        "    Journal(MANIFEST_FILE, pathlib.Path(sys.argv[1]), 'mark')\n"
        "except UsageError as error:\n"
        "    print(error)\n"
        "else:\n"
        "    print('mine')\n"
    )

    def other():
        command = [sys.executable, "-c", code, str(tmp_path)]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    assert "Another run is writing to" in other()
    with pytest.raises(UsageError, match="Another run is writing"):
        Journal(MANIFEST_FILE, tmp_path, "mark")
    journal.close(done=True)
    assert other() == "mine\n"


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(UsageError, match="cannot be written"):
        Journal(MANIFEST_FILE, tmp_path / "file", "mark")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a device that is always full")
def test_a_full_disk_is_told(tmp_path):
    journal = Journal(MANIFEST_FILE, tmp_path, "mark")
    journal.close(done=False)
    journal._kept.file = open("/dev/full", "ab")  # noqa: SIM115
    with pytest.raises(OutputUnavailableError, match="No space left"):
        journal.add(RECORDS[0])


def test_how_a_network_was_compared_decides_nothing():
    """Another engine, or another version of onnxruntime, differs by another rounding error."""
    checked = replace(RUN.network, check=CheckRecord("onnxruntime 1.27", 3e-7))
    goals = SimpleNamespace(targets=(), others={}, contrasts=())
    files = SimpleNamespace(format="png", arrays=False, panel=False, evaluate=False)
    request = SimpleNamespace(style=None, files=files, execution=ExecutionOptions())
    marks = {
        fingerprint(decisive(replace(RUN, network=network), request, goals, {}))
        for network in (RUN.network, checked)
    }
    assert len(marks) == 1


@pytest.mark.parametrize(("by_engine", "count"), [(False, 1), (True, 3)])
def test_engines_decide_where_they_are_compared(by_engine, count):
    goals = SimpleNamespace(targets=(), others={}, contrasts=())
    files = SimpleNamespace(format="png", arrays=False, panel=False, evaluate=False)
    execution = ExecutionOptions(by_engine=by_engine)
    request = SimpleNamespace(style=None, files=files, execution=execution)
    marks = {
        fingerprint(decisive(replace(RUN, engine=engine), request, goals, {}))
        for engine in (
            RUN.engine,
            replace(RUN.engine, name="another"),
            replace(RUN.engine, device="mps"),
            replace(RUN.engine, version="another"),
        )
    }
    assert len(marks) == count


def test_fingerprints_are_of_what_is_said_not_of_its_order():
    assert fingerprint({"a": 1, "b": [2]}) == fingerprint({"b": [2], "a": 1})
    assert fingerprint({"a": 1}) != fingerprint({"a": 2})


def test_digests(tmp_path):
    (tmp_path / "file").write_bytes(b"cat" * 1_000_000)
    assert file_sha256(tmp_path / "file") == hashlib.sha256(b"cat" * 1_000_000).hexdigest()
    os.mkfifo(tmp_path / "pipe")  # would be waited for
    for name in ("pipe", "none", ".", "nul\0"):
        assert file_sha256(tmp_path / name) is None


def test_somebody_elses_manifest_is_told_beforehand(tmp_path):
    check_run_file(tmp_path)
    (tmp_path / MANIFEST).write_text('{"name": "a web app"}')
    with pytest.raises(UsageError, match="exists and was not written by cnnviz"):
        check_run_file(tmp_path)
    (tmp_path / MANIFEST).unlink()
    (tmp_path / MANIFEST).mkdir()
    with pytest.raises(UsageError, match="exists and was not written by cnnviz"):
        check_run_file(tmp_path)


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("name", [MANIFEST, JOURNAL])
def test_a_run_of_another_version_is_left_alone(tmp_path, name, version):
    kind = "manifest" if name == MANIFEST else "journal"
    text = f'{{"cnnviz_{kind}": {version},\n"run": {{}}}}'
    (tmp_path / name).write_text(text)
    with pytest.raises(UsageError) as caught:
        check_run_file(tmp_path)
    assert str(caught.value) == (
        f"{tmp_path / name} has version {version} of the format, and this cnnviz writes version 4: "
        "it does not continue or overwrite that run. Choose another output folder, or move that "
        "one away."
    )
    assert (tmp_path / name).read_text() == text
    (tmp_path / name).write_text(text.replace(f": {version},", ": 4,"))
    check_run_file(tmp_path)


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.EIO])
def test_a_file_system_without_locks(tmp_path, monkeypatch, number):
    def refuse(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(system, "try_to_lock", refuse)
    told = []
    journal = Journal(MANIFEST_FILE, tmp_path, "mark", notify=told.append)
    journal.add(RECORDS[0])
    journal.close(done=False)
    assert told == [
        f"{tmp_path} cannot be locked ({os.strerror(number)}): make sure that no other run "
        "writes there at the same time."
    ]
    again = Journal(MANIFEST_FILE, tmp_path, "mark")
    assert again.find(STEMS[0]) == RECORDS[0]
    again.close(done=True)


def test_a_file_system_whose_files_have_no_fixed_numbers(tmp_path, monkeypatch):
    """As some in user space: every look at a file finds another inode."""
    monkeypatch.setattr("cnnviz.runs.manifest.os.path.samestat", lambda *_: False)
    told = []
    journal = Journal(MANIFEST_FILE, tmp_path, "mark", notify=told.append)
    journal.add(RECORDS[0])
    journal.close(done=True)
    assert len(told) == 1


def touch(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"")


def test_files_that_no_record_names_any_more(tmp_path):
    """Of a record that has changed, of one that is gone, of another's that took a name over."""
    touch(tmp_path, "a_1", "a_2", "b", "b_panel", "c", "d_contrast")
    old = [
        image("a", "a_1", "a_2"),
        image(
            "b",
            "b",
            "gone",
            panel="b_panel",
            contrasts=(ContrastRecord(SCORE, SCORE, "d_contrast"),),
        ),
        image("c", "c"),
    ]
    journal = fill(tmp_path, records=old)
    write_manifest(tmp_path, journal, ["a", "b", "c"])

    same = Journal(MANIFEST_FILE, tmp_path, "mark")
    assert not same.differs
    assert same.left_behind(["a", "b", "c"]) == []
    assert same.left_behind(["a"]) == ["b", "d_contrast", "b_panel", "c"]
    same.add(image("a", "a_2", "c"))
    assert same.left_behind(["a", "b"]) == ["a_1"]
    same.close(done=False)

    other = Journal(MANIFEST_FILE, tmp_path, "other")
    assert other.differs
    assert other.before == RUN
    assert other.meets(["x", "c"])
    assert not other.meets(["x"])
    other.add(image("a", "a_1"))
    # The journal of the run that was stopped is one more that wrote here.
    assert other.left_behind(["a"]) == ["a_2", "c", "b", "d_contrast", "b_panel"]
    other.close(done=True)


@pytest.mark.parametrize(
    "lines",
    [
        b'"run": [],\n"summary": {},\n"images": [\n',
        b'"run": {},\n"summary": {"left_behind": 3},\n"images": [\n{"stem": []},\n{"stem": {}}\n',
        b'"run": {},\n"summary": [],\n"images": [\n{"stem": "a", "explanations": 3}\n',
        b'"run": {},\n"summary": {"left_behind": [3, null, "\\u0000", "../x", ""]},\n'
        b'"images": [\n'
        b'{"stem": "a", "explanations": [{"files": {"a": 3, "b": "\\u0000", "c": "\\udfff/"}}]},\n'
        b'{"stem":' + b"[" * 100_000,
    ],
)
def test_manifests_that_somebody_has_changed(tmp_path, lines):
    (tmp_path / MANIFEST).write_bytes(b'{"cnnviz_manifest": 4,\n' + lines)
    journal = Journal(MANIFEST_FILE, tmp_path, "mark")
    journal.meets(["a"])
    assert set(journal.left_behind(["a"])) <= {""}
    journal.close(done=True)
