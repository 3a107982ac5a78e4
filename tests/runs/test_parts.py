"""Parts of a run that a worker does one after the other, and what is known of those that end it."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import pytest

from cnnviz.errors import FailFastError, NetworkError
from cnnviz.runs.evaluate import EvaluationPlan
from cnnviz.runs.merged import merge_evaluation, merge_manifest
from cnnviz.runs.parts import (
    PROBE,
    PartProgress,
    PartTask,
    PartWorker,
    RandomizationProgress,
    number_of_parts,
    remove_notes,
)
from cnnviz.runs.plan import RunPlan
from cnnviz.runs.request import (
    EvaluationRequest,
    ExecutionOptions,
    MethodOptions,
    MetricOptions,
    ModelOptions,
    RunRequest,
)
from cnnviz.runs.shards import Shard
from cnnviz.runs.shared_lists import shared
from cnnviz.storage.paths import opened_whole
from tests.support.windows import guard_open_files


def plan_of(photos, output, **execution):
    request = RunRequest(
        (str(photos),),
        Path(output),
        ModelOptions("demo", input_size=(96, 96)),
        methods=MethodOptions(("gradcam",)),
        execution=ExecutionOptions(runner="ray", **execution),
    )
    return RunPlan.check(request)


@pytest.fixture
def many(tmp_path, write_image):
    """Some whose names collide."""
    for seed, name in enumerate(("1.png", "1.jpg", "2.png", "sub/1.png", "3.png", "4.png")):
        write_image(tmp_path / "photos" / name, seed)
    return tmp_path / "photos"


def images_of(folder):
    images = json.loads((folder / "manifest.json").read_text())["images"]
    return [{**image, "seconds": None} for image in images]


@pytest.mark.parametrize(("images", "batch_size"), [(60, 2), (2000, 8), (70_000, 16), (1, 1)])
def test_parts_have_enough_images_and_not_too_many(images, batch_size):
    count = number_of_parts(images, batch_size)
    assert count & (count - 1) == 0 or count * 8 - images < 8
    assert images / count <= max(1000, images / 32)
    assert images / count > max(8, batch_size) / 2 or count == 1


@pytest.mark.parametrize("more", [1, 100, 3000])
def test_a_few_images_more_leave_the_division_as_it_is(more):
    assert number_of_parts(100_000 + more, 2) == number_of_parts(100_000, 2)


def test_one_worker_does_all_parts(many, tmp_path, anywhere):
    """With the names, and the numbers, that a single run gives, wherever the list of images is."""
    plan_of(many, tmp_path / "whole").open().explain(lambda _outcome: None)
    with shared(plan_of(many, tmp_path / "parts")) as sent:
        worker = PartWorker(pickle.loads(pickle.dumps(sent.plan)), 3)
        opened = worker.open()
        sent.plan_names(opened.planner)
        files = list((tmp_path / "parts").glob(".cnnviz-list-*"))
        assert len(files) == (0 if sent.sources is None else 2)
        assert all(path.stat().st_mode & 0o077 == 0 for path in files)
        ends = [worker.do(PartTask(Shard(3, number))) for number in (2, 3, 1)]
        assert sum(end.images for end in ends) == 6
        assert worker.do(PartTask(Shard(3, 2))).resumed == ends[0].images
    merge_manifest(tmp_path / "parts", 3)
    assert images_of(tmp_path / "parts") == images_of(tmp_path / "whole")
    run = json.loads((tmp_path / "parts/manifest.json").read_text())["run"]
    assert run["fingerprint"] == opened.fingerprint
    assert not list((tmp_path / "parts").glob(".cnnviz-list-*"))


def test_lists_that_windows_does_not_remove_yet(many, tmp_path, on_the_disk, monkeypatch):
    folder = tmp_path / "parts"
    with monkeypatch.context() as patched:
        guard_open_files(patched)
        with shared(plan_of(many, folder)) as sent:
            (listed,) = folder.glob(".cnnviz-list-*")
        assert listed.exists()  # it is open
    assert sent.sources is not None
    with shared(plan_of(many, folder)):
        assert not listed.exists()


def test_after_a_merge_a_worker_reads_the_whole_once(many, tmp_path, monkeypatch):
    folder = tmp_path / "parts"
    worker = PartWorker(plan_of(many, folder), 3)
    for number in (1, 2, 3):
        worker.do(PartTask(Shard(3, number)))
    merge_manifest(folder, 3)
    before = images_of(folder)
    read = []

    def opened(path):
        read.append(path.name)
        return opened_whole(path)

    monkeypatch.setattr("cnnviz.runs.run_index.opened_whole", opened)
    (many / "2.png").write_bytes((many / "1.png").read_bytes())
    worker = PartWorker(plan_of(many, folder), 3)
    ends = [worker.do(PartTask(Shard(3, number))) for number in (1, 2, 3)]
    assert sum(end.resumed for end in ends) == 5
    assert read.count("manifest.json") == 1
    merge_manifest(folder, 3)
    changed = [
        one["stem"] for one, old in zip(images_of(folder), before, strict=True) if one != old
    ]
    assert changed == ["2"]


def test_parts_of_an_evaluation(many, tmp_path):
    """The test with random parameters is made at the end, as a single run makes it."""
    judged = MetricOptions(
        ("sparseness", "randomization"), metric_options={"randomization.images": "2"}
    )

    def plan_into(folder):
        request = plan_of(many, tmp_path / folder).request
        return EvaluationPlan.check(EvaluationRequest(**vars(request), judged=judged))

    whole = plan_into("whole").open().evaluate(lambda _outcome: None)
    plan = plan_into("parts")
    worker = PartWorker(plan, 3)
    worker.open()
    for number in (2, 3, 1):
        worker.do(PartTask(Shard(3, number)))
    end = worker.randomize()
    assert plan.randomizes
    assert end.found is not None
    merged = merge_evaluation(tmp_path / "parts", 3, randomize=lambda *_: (end.found, end.remarks))
    assert merged.summary == whole.summary
    tables = [(tmp_path / folder / "evaluation.csv").read_text() for folder in ("whole", "parts")]
    assert tables[0] == tables[1]


def test_a_test_that_ends_its_workers():
    progress = RandomizationProgress()
    assert [progress.died(), progress.died()] == [None, None]
    with pytest.raises(NetworkError, match="has ended 3 workers"):
        progress.died()


def test_records_of_a_part_are_there_before_it_is_done(many, tmp_path):
    folder = tmp_path / "parts"
    worker = PartWorker(plan_of(many, folder), 1)
    progress = PartProgress(Shard(1, 1), folder)
    assert list(progress.records()) == []
    (many / "2.png").write_bytes(b"none")
    with pytest.raises(FailFastError):
        PartWorker(plan_of(many, folder, fail_fast=True), 1).do(PartTask(Shard(1, 1)))
    stopped = [one.relative for one in progress.records()]
    assert "2.png" in stopped
    worker.do(PartTask(Shard(1, 1)))
    done = [one.relative for one in progress.records()]
    assert len(done) == 6
    assert done[: len(stopped)] == stopped


def test_an_image_that_crashed_is_not_touched(many, tmp_path):
    folder = tmp_path / "parts"
    folder.mkdir()
    worker = PartWorker(plan_of(many, folder), 1)
    worker.do(PartTask(Shard(1, 1), isolating=True, crashed=(str(many / "2.png"),)))
    merge_manifest(folder, 1)
    records = {image["relative"]: image for image in images_of(folder)}
    assert [name for name, one in records.items() if one["crashed"]] == ["2.png"]
    assert records["2.png"]["error"] == "the libraries that cnnviz uses crashed on it"
    assert not list(folder.glob(".cnnviz-in-hand*"))


@pytest.fixture
def part(tmp_path):
    return PartProgress(Shard(4, 2), tmp_path)


def die(part, image=None):
    if image is not None:
        name = part.shard.file(".cnnviz-in-hand.txt")
        (part.folder / name).write_text(image)
    return part.died()


def test_an_image_has_a_name_after_its_part_has_ended_five_workers(part):
    """Three times as any part, then twice with this image in hand, others between them."""
    assert [die(part), die(part)] == [None, None]
    assert "part 2 of 4 has ended 3 workers" in die(part)
    assert part.task() == PartTask(Shard(4, 2), isolating=True)
    for image in ("a.png", "bad.png", "b.png"):  # machines fail at any time
        assert die(part, image) is None
        assert part.task().isolating
    die(part, "bad.png")
    assert part.task() == PartTask(Shard(4, 2), crashed=("bad.png",))
    for _ in range(3):
        die(part)
    for _ in range(2):
        die(part, "worse.png")
    assert part.task() == PartTask(Shard(4, 2), crashed=("bad.png", "worse.png"))


def test_workers_that_end_and_not_over_an_image(part):
    for _ in range(5):
        die(part)
    with pytest.raises(NetworkError, match=r"part 2 of 4 has ended 6 workers, and not over an"):
        die(part)


def test_what_was_done_again_is_not_done_once_more(part):
    """With --force, after a worker has ended, and if it had begun."""
    part.forced = True
    assert part.task().force
    die(part)
    assert part.task().force  # nothing was done yet
    journal = part.folder / ".cnnviz-journal.part-2-of-4.jsonl"
    journal.write_text('{"cnnviz_journal": 1, "fingerprint": "a"}\n')  # of an earlier run
    assert part.task().force
    journal.write_text('{"cnnviz_journal": 1, "fingerprint": "a", "afresh": true}\n')
    assert not part.task().force


def test_notes_of_workers_are_removed_and_nothing_else(part):
    names = {"kept.part-2-of-4.txt", ".cnnviz-journal.part-2-of-4.jsonl", "manifest.json"}
    for name in (*names, f"{PROBE}1", ".cnnviz-in-hand.part-2-of-4.txt"):
        (part.folder / name).touch()
    remove_notes(part.folder)
    assert {path.name for path in part.folder.iterdir()} == names


def test_how_much_of_a_part_is_done(part):
    assert part.look() == 0
    journal = part.folder / ".cnnviz-journal.part-2-of-4.jsonl"
    journal.write_text('{"cnnviz_journal": 1}\n{"stem": 1}\n{"stem"')
    assert part.look() == 1
    with open(journal, "a") as file:
        file.write(": 2}\n")
    assert part.look() == 2
    assert list(part.records()) == []  # they are no records
    journal.write_text('{"cnnviz_journal": 1}\n')
    assert part.look() == 0


def test_what_a_killed_worker_was_writing_goes_after_its_part_was_looked_at_again(many, tmp_path):
    output = tmp_path / "parts"
    output.mkdir()
    (output / ".cnnviz-journal.part-1-of-1.jsonl").write_bytes(b"begun")
    partial = output / ".cnnviz-0123456789abcdef.tmp"
    partial.touch()
    for _ in range(2):  # the second finds all done
        PartWorker(plan_of(many, output), 1).do(PartTask(Shard(1, 1)))
    merge_manifest(output, 1)
    assert not partial.exists()
