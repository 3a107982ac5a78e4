"""Checksums that are begun before anybody asks for them."""

from __future__ import annotations

import hashlib
import os

from cnnviz.weights import digests


def test_digests_ahead_are_those_asked_for(tmp_path, monkeypatch):
    path = tmp_path / "w.params"
    path.write_bytes(bytes(range(256)) * 1000)
    passes = []
    work = digests._digests

    def counted(file, algorithms):
        passes.append(tuple(algorithms))
        return work(file, algorithms)

    monkeypatch.setattr(digests, "_digests", counted)
    digests.digest_ahead(path, ("sha256",))
    wanted = hashlib.sha256(path.read_bytes()).hexdigest()
    assert digests.digest(path, "sha256") == wanted
    assert passes == [("sha256",)]
    # What was not begun ahead is worked out now.
    assert digests.digest(path, "sha1") == hashlib.sha1(path.read_bytes()).hexdigest()
    assert passes == [("sha256",), ("sha1",)]


def test_a_digest_ahead_of_another_content_does_not_count(tmp_path):
    path = tmp_path / "w.params"
    path.write_bytes(b"before")
    digests.digest_ahead(path, ("sha256",))
    path.write_bytes(b"and after")
    assert digests.digest(path, "sha256") == hashlib.sha256(b"and after").hexdigest()


def test_both_digests_take_one_pass(tmp_path, monkeypatch):
    path = tmp_path / "w.params"
    path.write_bytes(b"whole")
    digests.digest_ahead(path, ("sha256", "sha1"))
    digests._ahead[digests._identity(path.stat())].result()
    monkeypatch.setattr(digests, "_digests", None)
    for algorithm in ("sha1", "sha256"):
        assert digests.digest(path, algorithm) == hashlib.new(algorithm, b"whole").hexdigest()


def test_digests_ahead_of_nothing(tmp_path):
    before = dict(digests._ahead)
    digests.digest_ahead(None, ("sha256",))
    digests.digest_ahead(tmp_path / "gone.params", ("sha256",))
    digests.digest_ahead(tmp_path, ("sha256",))
    os.mkfifo(tmp_path / "pipe")  # opening it would wait for a writer
    digests.digest_ahead(tmp_path / "pipe", ("sha256",))
    assert digests._ahead == before
