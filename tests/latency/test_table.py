from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest
from oracle import analysed, graph
from small import TILES, feeds_of, network
from structures import Classifier, Inception, OptionAResidual, Residual, conv, export

from toolchain.graph.deployment import bind_model
from toolchain.graph.hashing import model_sha256
from toolchain.graph.plan import make_plan
from toolchain.graph.surgery import apply_plan
from toolchain.latency.measured_table import measured_table, profiled
from toolchain.latency.table import GRID, _neighbours
from toolchain.measure.protocol import Protocol, measure
from toolchain.store.carried import CarriedLatencies
from toolchain.store.json_lines import to_lines
from toolchain.store.latency_store import LatencyStore
from toolchain.store.network_entry import NetworkEntry
from toolchain.targets.layer_time import LayerTime
from toolchain.targets.null import Null
from toolchain.targets.onnxruntime import Onnxruntime
from toolchain.targets.openvino import Openvino

NETWORKS = {
    "chain": lambda: network(width=48),
    "residual": lambda: export(Classifier(Residual(conv(24, 40, 3), conv(40, 24, 3)), 24, 24)),
    "padded shortcut": lambda: export(Classifier(OptionAResidual(16), 16, 32)),
    "concat": lambda: export(Classifier(Inception(16), 16, 15)),
    "depthwise": lambda: export(Classifier(Residual(conv(24, 32), conv(32, 32, 3, groups=32), conv(32, 24)), 24, 24)),
}


def table_of(model, folder, *, target=TILES, store=None):
    analysis = analysed(model)
    return analysis, measured_table(analysis, target, folder, np.random.default_rng(0), store)


def modelled_ms(model, folder, target=TILES):
    engine = target.build(model, folder)
    return measure(target, engine, feeds_of(model), protocol=Protocol(), rng=np.random.default_rng(0)).median_ms


def pruned(analysis, widths):
    removed = {name: list(range(width, analysis.by_name[name].width)) for name, width in widths.items()}
    plan = make_plan(analysis, model_sha256(analysis.model), removed)
    return bind_model(apply_plan(analysis, plan).model, analysis.binding)


def random_widths(analysis, seed):
    rng = np.random.default_rng(seed)
    return {group.name: int(rng.integers(1, group.width + 1)) for group in analysis.prunable_groups}


@pytest.mark.parametrize("name", NETWORKS)
def test_where_latency_is_a_formula_of_single_layers_the_prediction_is_exact(name, tmp_path):
    analysis, table = table_of(NETWORKS[name](), tmp_path)
    original = modelled_ms(bind_model(analysis.model, analysis.binding), tmp_path)
    assert table.predict({}) == pytest.approx(1.0)
    for seed in range(5):
        widths = random_widths(analysis, seed)
        now = modelled_ms(pruned(analysis, widths), tmp_path)
        assert table.predict(widths) == pytest.approx(now / original, rel=1e-9)


def test_a_latency_is_timed_once_for_all_layers_of_one_shape(tmp_path):
    text = "net (float[1,16,8,8] x) => (float[1,16,8,8] y) <float[16,16,3,3] w> {" + "".join(
        f"t{number + 1} = Conv<pads=[1,1,1,1]>({'x' if number == 0 else f't{number}'}, w)" for number in range(6)
    )
    _, table = table_of(graph(text + " y = Conv<pads=[1,1,1,1]>(t6, w) }"), tmp_path)
    table.predict({})
    assert (table.timings, table.shared) == (1, 6)


def test_a_second_table_of_the_same_network_times_nothing(tmp_path):
    with LatencyStore(tmp_path / "store.sqlite", print) as store:
        _, first = table_of(network(), tmp_path / "a", store=store)
        first.predict({"stem": 16})
        _, second = table_of(network(seed=1), tmp_path / "b", store=store)
        assert second.predict({"stem": 16}) == first.predict({"stem": 16})
    assert first.timings == 5
    assert (second.timings, second.shared) == (0, 5)
    assert not (tmp_path / "b").exists(), "no engine was built, not even the original's"


@pytest.mark.parametrize("device", ["this one", "another"])
def test_nothing_is_timed_where_a_carried_file_holds_all(device, tmp_path):
    """On a real runtime: no engine is built but for what the file lacks."""
    target, widths, file = Onnxruntime(), {"stem": 16, "body": 24}, tmp_path / "carried.jsonl"
    with LatencyStore(tmp_path / "there.sqlite", print) as store:
        _, first = table_of(network(), tmp_path / "a", target=target, store=store)
        first.predict(widths)
        carried = [entry if device == "this one" else elsewhere(entry) for entry in store.entries()]
    file.write_text("\n".join(to_lines(carried)) + "\n")
    with LatencyStore(tmp_path / "here.sqlite", print) as store:
        given = CarriedLatencies.read(file, target.identity(), store)
        _, second = table_of(network(), tmp_path / "b", target=target, store=given)
        assert second.predict(widths) == pytest.approx(first.predict(widths), rel=1e-6)
        assert (second.timings, given.origin.own, given.origin.profiled) == (0, 0, True)
        assert given.origin.entries == len(carried) - 1
        assert store.entries() == []
        assert not (tmp_path / "b").exists()


def elsewhere(entry):
    identity = replace(entry.identity, device="another device")
    if isinstance(entry, NetworkEntry):
        return replace(entry, identity=identity)
    return replace(entry, latency=replace(entry.latency, identity=identity))


def test_a_profile_of_other_nodes_is_not_believed(tmp_path):
    with LatencyStore(tmp_path / "store.sqlite", print) as store:
        table_of(network(), tmp_path / "a", store=store)
        (profile,) = (entry for entry in store.entries() if isinstance(entry, NetworkEntry))
        strange = replace(profile.layers[0], nodes=("elsewhere",))
        store.put(replace(profile, layers=(strange,), created_at=profile.created_at + timedelta(seconds=1)))
        table_of(network(), tmp_path / "b", store=store)
    assert (tmp_path / "b").exists()


def test_engines_of_blocks_are_not_kept(tmp_path):
    _, table = table_of(network(), tmp_path)
    table.predict({"stem": 7})
    assert len(list(tmp_path.iterdir())) == 1


def test_a_block_without_channels_costs_nothing(tmp_path):
    analysis, table = table_of(NETWORKS["residual"](), tmp_path)
    inner = next(block for block in table.blocks if len(block.groups) == 2)
    assert table.block_ms(inner, dict.fromkeys(inner.groups, 0)) == 0
    assert table.predict(dict.fromkeys((group.name for group in analysis.prunable_groups), 0)) < 0.5


def test_steps_are_where_the_latency_of_all_blocks_of_a_group_drops(tmp_path):
    target = Null(multiprocessors=1, tile_rows=16, tile_columns=16, tile_depth=256)
    _, table = table_of(network(width=64), tmp_path, target=target)
    steps = table.steps("body")
    assert set(steps) >= {48, 32, 16}
    costs = [table.block_ms(table.blocks[1], {"body": width}) for width in (64, 48, 47)]
    assert costs[0] > 1.2 * costs[1]
    assert costs[1] == pytest.approx(costs[2], rel=0.02)


def test_a_measured_engine_corrects_the_prediction_and_not_the_table_it_came_from(tmp_path):
    _, table = table_of(network(width=48), tmp_path)
    widths = {"stem": 24, "body": 24}
    before = table.predict(widths)
    after = table.corrected(widths, before * 1.1)
    assert before < after.predict(widths) < before * 1.1
    assert after.predict({}) == pytest.approx(1.0)
    assert table.predict(widths) == before
    assert after.timings == table.timings


@pytest.mark.parametrize("target", [Onnxruntime(), Openvino(threads=1)], ids=lambda target: target.name)
def test_real_targets_are_predicted_with_few_timings(target, tmp_path):
    model = NETWORKS["residual"]()
    _, table = table_of(model, tmp_path, target=target)
    assert table.predict({}) == pytest.approx(1.0)
    assert 0 < table.predict(dict.fromkeys(table.blocks[1].groups, 8)) < 3
    assert 0 < table.timings <= 2 * len(table.blocks)
    assert table.block_ms(table.blocks[1], {}) > table.block_ms(
        table.blocks[1], dict.fromkeys(table.blocks[1].groups, 0)
    )


def test_wide_axes_are_interpolated_between_multiples_on_the_grid():
    assert _neighbours(48, 128, 16) == [(48, 1.0)]
    assert _neighbours(48, 512, 16) == [(16, pytest.approx(1 / 3)), (64, pytest.approx(2 / 3))]
    assert _neighbours(80, 512, 16) == [(64, 0.75), (128, 0.25)]
    assert _neighbours(64, 512, 16) == [(64, 1.0)]
    assert _neighbours(63, 512, 16) == [(63, 1.0)]


@pytest.mark.parametrize("full", [129, 256, 500, 2048])
def test_an_axis_is_timed_at_a_bounded_number_of_multiples(full):
    widths = [*range(16, full, 16), full]
    timed = {near for width in widths for near, _ in _neighbours(width, full, 16)}
    assert len(timed) <= GRID + 2
    for width in widths:
        near = _neighbours(width, full, 16)
        assert sum(share * place for place, share in near) == pytest.approx(width)
        assert sum(share for _, share in near) == pytest.approx(1.0)


def test_a_network_of_other_ops_is_predicted_too(tmp_path):
    model = graph(
        """net (float[1,4,8] x) => (float[1,4,6] y) <float[8,8] inner, float[8,6] outer> {
            t = Transpose<perm=[0,2,1]>(x)
            attention = MatMul(x, t)
            mixed = MatMul(attention, x)
            a = MatMul(mixed, inner)
            b = Relu(a)
            y = MatMul(b, outer)
        }"""
    )
    _, table = table_of(model, tmp_path, target=Onnxruntime())
    assert [block.name for block in table.blocks] == ["a", "y"]
    assert table.predict({"a": 4}) > 0


def test_kernels_too_short_to_be_seen_leave_the_time_of_whole_runs(tmp_path, monkeypatch):
    model = bind_model(network(), analysed(network()).binding)
    target = Onnxruntime()
    engine = target.build(model, tmp_path)
    unseen = [LayerTime("stem", "Conv", ("stem",), "stem", (0.0, 0.0, 0.0))]
    monkeypatch.setattr(Onnxruntime, "profile", lambda *_: unseen)
    whole_ms, layers = profiled(target, model, engine, feeds_of(model))
    assert whole_ms > 0
    assert [layer.samples_ms for layer in layers] == [(0.0, 0.0, 0.0)]
