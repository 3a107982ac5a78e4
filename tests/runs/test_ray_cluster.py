"""What is decided about workers on a Ray cluster before there is any."""

from __future__ import annotations

import socket

import pytest

from cnnviz.errors import NetworkError
from cnnviz.runs import ray_cluster
from cnnviz.runs.ray_cluster import cores_beside_gpu


@pytest.mark.parametrize(
    ("nodes", "cores"),
    [
        ([{"CPU": 64.0, "GPU": 8.0}], 8),
        ([{"CPU": 64.0, "GPU": 8.0}, {"CPU": 30.0, "GPU": 4.0}, {"CPU": 2.0}], 7),
        ([{"CPU": 2.0, "GPU": 4.0}], 1),
        ([{"CPU": 16.0}], 1),
        ([{"GPU": 1.0}], 1),
    ],
)
def test_a_worker_with_a_gpu_has_its_share_of_the_cores(nodes, cores):
    assert cores_beside_gpu(nodes) == cores


def test_a_head_that_is_gone_ends_the_run_before_ray_ends_the_process(monkeypatch):
    server = socket.create_server(("127.0.0.1", 0))
    address = f"127.0.0.1:{server.getsockname()[1]}"
    head = ray_cluster.Head(address)
    assert head.answers()
    server.close()
    assert not head.answers()  # it may come back
    monkeypatch.setattr(ray_cluster, "_SILENCE", 0.0)
    with pytest.raises(NetworkError, match=rf"^The head of the Ray cluster, {address}, is gone \("):
        head.answers()
    assert ray_cluster.Head(None).answers()
