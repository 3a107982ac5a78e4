"""What is decided about workers on a Ray cluster before there is any."""

from __future__ import annotations

import pytest

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
