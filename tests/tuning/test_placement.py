"""What a worker asks Ray for."""

from __future__ import annotations

from tune_lb.tuning.placement import node_of_worker, worker_bundle
from tune_lb.tuning.resources import Resources


def test_a_worker_asks_for_its_share_and_keeps_off_nodes() -> None:
    whole = worker_bundle(Resources(2, 1, 4))
    assert whole.bundles == [{"CPU": 2, "GPU": 1}]
    assert worker_bundle(Resources(2, 0, 4)).bundles == [{"CPU": 2}]
    assert worker_bundle(Resources(2, 0.25, 4), share=0.5).bundles == [{"CPU": 2, "GPU": 0.5}]
    apart = worker_bundle(Resources(2, 1, 4), ("aa", "bb"))
    assert apart.bundles == whole.bundles
    assert apart != whole, "a worker that runs already, perhaps on such a node, is not taken for it"
    assert apart._bound.arguments["bundle_label_selector"] == [{"ray.io/node-id": "!in(aa,bb)"}]


def test_a_worker_that_ray_does_not_know_is_on_no_node() -> None:
    assert node_of_worker("", "127.0.0.1:9") == node_of_worker("6821adc0", "127.0.0.1:9") == ""
