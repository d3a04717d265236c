from datetime import timedelta

import onnx
import pytest
from latencies import MORNING, NOON, entry, identity, network_entry
from pydantic import ValidationError
from small import network

from toolchain.store.entry import SETTLED
from toolchain.store.latency_store import LatencyStore
from toolchain.store.network_entry import network_sha256, read_stored


def test_both_kinds_are_read_back_as_they_were_written():
    for one in (entry(), network_entry()):
        assert read_stored(one.to_json()) == one
        assert "\n" not in one.to_json()
    with pytest.raises(ValidationError):
        read_stored('{"network": "a network"}')


def test_a_store_knows_a_network_by_what_it_is_and_where_it_ran(tmp_path):
    with LatencyStore(tmp_path / "store.sqlite", pytest.fail) as store:
        store.merge([network_entry(), entry(), network_entry("another", created_at=NOON)])
        assert store.network(identity(), "a network") == network_entry()
        assert store.network(identity("another processor"), "a network") is None
        assert store.network(identity(), "a third") is None
        assert len(store.entries()) == 3


def test_a_network_that_was_profiled_on_a_busy_machine_is_profiled_again_on_a_calm_one(tmp_path):
    busy = network_entry(waiting_share=0.8)
    with LatencyStore(tmp_path / "store.sqlite", pytest.fail, lambda: 0.0) as store:
        store.put(busy)
        assert store.network(identity(), "a network") is None
    assert not busy.is_outdone(0.0, MORNING + SETTLED - timedelta(seconds=1))


def test_a_network_is_the_same_whatever_its_weights_are():
    one, other = network(seed=0), network(seed=1)
    assert one.graph.initializer != other.graph.initializer
    assert network_sha256(one) == network_sha256(other)
    assert one == network(seed=0), "the model itself keeps its weights"
    assert network_sha256(network(width=48)) != network_sha256(one)


def test_a_constant_that_is_no_weight_belongs_to_the_network():
    one = network()
    one.graph.initializer.append(onnx.helper.make_tensor("bound", onnx.TensorProto.FLOAT, [], [6.0]))
    other = network()
    other.graph.initializer.append(onnx.helper.make_tensor("bound", onnx.TensorProto.FLOAT, [], [3.0]))
    assert network_sha256(one) != network_sha256(other)
