from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from oracle import Pruned, analysed, assert_pruned_equals_masked, execute, graph, prune, random_feeds, sandwich, widths

from toolchain.errors import ModelError

SHAPE_OF_A = """s = Shape(a) n = Gather<axis=0>(s, zero) k = Gather<axis=0>(s, one) h = Gather<axis=0>(s, two)
                w = Gather<axis=0>(s, three) nu = Unsqueeze(n, axis) ku = Unsqueeze(k, axis)
                hu = Unsqueeze(h, axis) wu = Unsqueeze(w, axis)"""
NUMBERS = "int64 zero = {0}, int64 one = {1}, int64 two = {2}, int64 three = {3}, int64[1] axis = {0}"


def value(pruned: Pruned, name: str) -> list[int]:
    return next(numpy_helper.to_array(item).tolist() for item in pruned.model.graph.initializer if item.name == name)


def test_a_target_computed_from_the_shape_follows_it() -> None:
    body = SHAPE_OF_A + " t = Concat<axis=0>(nu, ku, hu, wu) r = Relu(a) z = Reshape(r, t)"
    pruned = assert_pruned_equals_masked(sandwich(body, declared=NUMBERS))
    assert pruned.node("Reshape").input[1] == "t"


def test_a_shuffle_with_all_sizes_computed_follows_the_shape() -> None:
    body = (
        SHAPE_OF_A
        + """ half = Div(k, groups) halfu = Unsqueeze(half, axis) gu = Unsqueeze(groups, axis)
        t = Concat<axis=0>(nu, gu, halfu, hu, wu) r = Reshape(a, t) p = Transpose<perm=[0,2,1,3,4]>(r)
        u = Concat<axis=0>(nu, ku, hu, wu) z = Reshape(p, u)"""
    )
    pruned = assert_pruned_equals_masked(sandwich(body, declared=NUMBERS + ", int64 groups = {2}"))
    assert [node.input[1] for node in pruned.model.graph.node if node.op_type == "Reshape"] == ["t", "u"]


def test_a_channel_number_among_computed_sizes_is_replaced_alone() -> None:
    body = SHAPE_OF_A + " t = Concat<axis=0>(nu, eight, hu, wu) r = Relu(a) z = Reshape(r, t)"
    pruned = assert_pruned_equals_masked(sandwich(body, declared=NUMBERS + ", int64[1] eight = {8}"))
    target = next(n for n in pruned.model.graph.node if n.output[0] == pruned.node("Reshape").input[1])
    assert target.op_type == "Concat"
    assert target.input[0] == "nu"
    assert value(pruned, target.input[1]) == [4]


def test_a_pin_passes_through_casts_and_reshapes() -> None:
    body = (
        SHAPE_OF_A
        + """ t = Concat<axis=0>(nu, eight, hu, wu) i = Cast<to=6>(t) l = Cast<to=7>(i)
        m = Identity(l) r = Relu(a) z = Reshape(r, m)"""
    )
    assert_pruned_equals_masked(sandwich(body, declared=NUMBERS + ", int64[1] eight = {8}"))


def test_sizes_that_are_computed_otherwise_are_patched_where_they_differ() -> None:
    body = (
        SHAPE_OF_A
        + """ o = Concat<axis=0>(nu, nu, nu, nu) f = Mul(o, mask) t = Add(f, rest)
        r = Relu(a) z = Reshape(r, t)"""
    )
    declared = NUMBERS + ", int64[4] mask = {1,0,0,0}, int64[4] rest = {0,8,8,8}"
    pruned = assert_pruned_equals_masked(sandwich(body, declared=declared))
    assert pruned.node("Where").input[2] == "t"


def test_a_size_that_multiplies_channels_with_the_batch_is_refused() -> None:
    body = (
        SHAPE_OF_A
        + """ m = Mul(nu, eight) t = Concat<axis=0>(m, single, hu, wu) r = Reshape(a, t)
        q = Relu(r) z = Reshape(q, back)"""
    )
    declared = NUMBERS + ", int64[1] eight = {8}, int64[1] single = {1}, int64[4] back = {-1,8,8,8}"
    model = sandwich(body, declared=declared)
    with pytest.raises(ModelError, match=r"Reshape '-> r': its sizes come from 'm', which multiplies channels"):
        prune(model)


def test_one_constant_that_two_reshapes_share_may_become_two() -> None:
    body = """p = Conv(a, v) q = Reshape(a, to) r = Reshape(p, to) z = Concat<axis=1>(q, r)"""
    declared = "float[8,8,1,1] v, int64[4] to = {0,8,8,8}"
    model = sandwich(body, declared=declared, result_width=16)
    pruned = assert_pruned_equals_masked(model, removed={"a": [0, 1], "p": [4]})
    targets = [node.input[1] for node in pruned.model.graph.node if node.op_type == "Reshape"]
    assert [value(pruned, name)[1] for name in targets] == [6, 7]
    assert "to" not in {item.name for item in pruned.model.graph.initializer}


def test_a_constant_with_another_reader_stays_what_it_was() -> None:
    body = "q = Reshape(a, to) o = ConstantOfShape(to) p = Reshape(o, flat) m = ReduceSum(p) z = Add(q, m)"
    model = sandwich(body, declared="int64[4] to = {2,8,8,8}, int64[1] flat = {-1}")
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 2
    model.graph.output[0].type.tensor_type.shape.dim[0].dim_value = 2
    pruned = assert_pruned_equals_masked(model)
    assert value(pruned, "to") == [2, 8, 8, 8]


def test_an_expand_to_another_tensors_shape_follows_it() -> None:
    body = "q = GlobalAveragePool(c) s = Shape(a) e = Expand(q, s) z = Mul(a, e)"
    assert_pruned_equals_masked(sandwich(body))


def test_a_tile_by_a_count_repeats_as_often_as_before() -> None:
    body = """m = Slice(x, first, last, axis) s = Shape<start=1, end=2>(c) r = Concat<axis=0>(ones, s, ones, ones)
              t = Tile(m, r) z = Concat<axis=1>(a, t, c)"""
    declared = "int64[1] ones = {1}, int64[1] first = {0}, int64[1] last = {1}, int64[1] axis = {1}"
    model = sandwich(body, declared=declared, result_width=24)
    assert_pruned_equals_masked(model)


def test_initialisers_that_are_listed_as_inputs_are_parameters() -> None:
    model = sandwich("z = Conv(a, w)", declared="float[8,8,1,1] w")
    for item in model.graph.initializer:
        shape = list(item.dims)
        model.graph.input.append(onnx.helper.make_tensor_value_info(item.name, item.data_type, shape))
    model.ir_version = 3
    pruned = assert_pruned_equals_masked(model)
    assert [item.name for item in pruned.model.graph.input] == ["x"]


def test_constant_nodes_become_parameters() -> None:
    model = sandwich("k = Constant<value_ints=[0, 8, 8, 8]>() z = Reshape(a, k)")
    weight = next(item for item in model.graph.initializer if item.name == "a_weight")
    node = onnx.helper.make_node("Constant", [], ["a_weight"], value=weight)
    model.graph.initializer.remove(weight)
    model.graph.node.insert(0, node)
    assert assert_pruned_equals_masked(model).shape("a_weight") == (4, 3, 1, 1)


def test_half_precision_stays_half_precision() -> None:
    model = graph(
        """net (float16[N,3,8,8] x) => (float16[N,2,8,8] y) <float16[6,3,1,1] v, float16[6] b, float16[2,6,1,1] w> {
            a = Conv(x, v, b)
            r = Relu(a)
            y = Conv(r, w)
        }"""
    )
    pruned = prune(model, {"a": [0, 1]})
    assert {item.data_type for item in pruned.model.graph.initializer} == {onnx.TensorProto.FLOAT16}
    assert pruned.shape("v") == (4, 3, 1, 1)
    assert_pruned_equals_masked(model)


def test_external_data_is_read_and_sliced(tmp_path: Path) -> None:
    model = sandwich("z = Conv(a, w)", declared="float[8,8,1,1] w")
    onnx.save(model, tmp_path / "m.onnx", save_as_external_data=True, location="m.data", size_threshold=0)
    assert_pruned_equals_masked(onnx.load(tmp_path / "m.onnx"))


def test_outputs_that_nothing_reads_and_nodes_that_lead_nowhere_are_no_obstacle() -> None:
    body = "p, q = Split<axis=1, num_outputs=2>(a) u = Relu(q) z = Sigmoid(p)"
    assert_pruned_equals_masked(sandwich(body, result_width=4))


def test_several_inputs_and_outputs_keep_their_order_and_shapes() -> None:
    model = graph(
        """net (float[N,3,8,8] x, float[N,2,8,8] u) => (float[N,2,8,8] y, float[N,4] logits, float[N,3,8,8] same)
        <float[6,3,1,1] v, float[6,2,1,1] t, float[2,6,1,1] w, float[6,4] h, int64[2] axes = {2,3}> {
            a = Conv(x, v)
            b = Conv(u, t)
            c = Add(a, b)
            y = Conv(c, w)
            p = ReduceMean<keepdims=0>(c, axes)
            logits = MatMul(p, h)
            same = Identity(x)
        }"""
    )
    assert widths(model) == {"a": 6}
    assert_pruned_equals_masked(model)


def test_symbolic_height_and_width_stay_symbolic() -> None:
    model = graph(
        """net (float[N,3,H,W] x) => (float[N,2,H,W] y) <float[6,3,3,3] v, float[2,6,1,1] w> {
            a = Conv<pads=[1,1,1,1]>(x, v)
            s = Shape(a)
            p = MaxPool<kernel_shape=[2,2], strides=[2,2]>(a)
            sizes = Identity(s)
            r = Resize(p, , , sizes)
            m = Mul(r, a)
            y = Conv(m, w)
        }"""
    )
    pruned = prune(model)
    for size in (16, 24):
        binding = {"N": 1, "H": size, "W": size + 8}
        (found,) = execute(pruned.model, random_feeds(pruned.analysis.model, 0, binding)).values()
        assert found.shape == (1, 2, size, size + 8)
    assert_pruned_equals_masked(model)


def test_the_analysed_model_is_left_alone() -> None:
    analysis = analysed(sandwich("z = Relu(a)"))
    before = analysis.model.SerializeToString(deterministic=True)
    assert_pruned_equals_masked(analysis.model)
    assert analysis.model.SerializeToString(deterministic=True) == before


def test_metadata_and_opsets_are_kept() -> None:
    model = sandwich("z = Relu(a)")
    model.metadata_props.add(key="labels", value="cat,dog")
    model.producer_name = "someone"
    pruned = prune(model)
    assert [(item.key, item.value) for item in pruned.model.metadata_props] == [("labels", "cat,dog")]
    assert pruned.model.producer_name == "someone"
    assert pruned.model.opset_import == model.opset_import


def test_what_was_kept_is_recorded_for_every_parameter_that_changed() -> None:
    pruned = prune(sandwich("z = Relu(a)"), {"a": [0, 3]})
    recorded = {name: {a: k.tolist() for a, k in axes.items()} for name, axes in pruned.surgery.kept.items()}
    rest = [1, 2, 4, 5, 6, 7]
    assert recorded == {"a_weight": {0: rest}, "a_bias": {0: rest}, "y_weight": {1: rest}}
    weights = {item.name: numpy_helper.to_array(item) for item in pruned.analysis.model.graph.initializer}
    sliced = {item.name: numpy_helper.to_array(item) for item in pruned.model.graph.initializer}
    np.testing.assert_array_equal(sliced["a_bias"], weights["a_bias"][rest])


def test_what_a_model_says_of_itself_is_kept() -> None:
    model = graph("""t (float[N, 3, 4, 4] x) => (float[N, 2, 4, 4] y) <float[8, 3, 1, 1] w, float[2, 8, 1, 1] v> {
        a = Conv (x, w)
        y = Conv (a, v)
    }""")
    model.doc_string, model.domain, model.model_version = "a network", "org.example", 7
    model.graph.doc_string = "its graph"
    model.metadata_props.append(onnx.StringStringEntryProto(key="classes", value="cat,dog"))
    pruned = assert_pruned_equals_masked(model, 0.5).model
    assert (pruned.doc_string, pruned.domain, pruned.model_version) == ("a network", "org.example", 7)
    assert pruned.graph.doc_string == "its graph"
    assert [item.value for item in pruned.metadata_props] == ["cat,dog"]


def test_shapes_behind_a_loop_that_only_the_whole_graph_tells_are_taken_as_they_were() -> None:
    model = graph("""t (float[N, 3, 4, 4] x) => (float[N, 2, 4, 4] y, float[N, M] z) <
        float[8, 3, 1, 1] w, float[2, 8, 1, 1] v, int64 turns = {2}, bool go = {1}, int64 zero = {0},
        int64[1] axis = {0}, int64[1] rest = {-1}> {
        a = Conv (x, w)
        y = Conv (a, v)
        l = Loop (turns, go, x) <body = body (int64 i, bool on, float[] carried) => (bool again, float[] twice) {
            twice = Add (carried, x)
            again = Identity (on)
        }>
        s = Shape (l)
        n = Gather <axis = 0> (s, zero)
        nu = Unsqueeze (n, axis)
        t = Concat <axis = 0> (nu, rest)
        z = Reshape (l, t)
    }""")
    pruned = assert_pruned_equals_masked(model, 0.5)
    assert next(item.dims[0] for item in pruned.model.graph.initializer if item.name == "w") == 4
