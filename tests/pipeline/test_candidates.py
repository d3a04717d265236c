from dataclasses import replace

import numpy as np
import pytest
from oracle import analysed, graph
from small import context_of, network, samples_of

from passes.compensate import Compensate
from passes.criteria.l2 import L2
from toolchain.graph.hashing import model_sha256
from toolchain.graph.plan import Plan, make_plan
from toolchain.pipeline.candidates import Candidates

RESIDUAL = """net (float[N,3,8,8] x) => (float[N,4] scores) <
    float[16,3,3,3] stem_weight, float[16] stem_bias, float[8,16,3,3] one_weight, float[8] one_bias,
    float[16,8,3,3] two_weight, float[16] two_bias, float[4,16] head_weight, float[4] head_bias
> {
    stem = Conv<pads=[1,1,1,1]>(x, stem_weight, stem_bias)
    stem_out = Relu(stem)
    one = Conv<pads=[1,1,1,1]>(stem_out, one_weight, one_bias)
    one_out = Relu(one)
    two = Conv<pads=[1,1,1,1]>(one_out, two_weight, two_bias)
    joined = Add(two, stem_out)
    pooled = GlobalAveragePool(joined)
    flat = Flatten(pooled)
    scores = Gemm<transB=1>(flat, head_weight, head_bias)
}"""


def candidates_of(model, folder, *repairs):
    analysis = analysed(model)
    context = replace(context_of(model, folder, samples=samples_of(model)), repairs=repairs)
    return Candidates(analysis, context, lambda _, *model: L2().scores(*model))


def plan_of(candidates, **removed):
    analysis = candidates.analysis
    return make_plan(analysis, model_sha256(analysis.model), {name: list(units) for name, units in removed.items()})


@pytest.mark.parametrize(
    ("first", "more"),
    [
        ({"stem": [1, 5]}, {"stem": [0, 1, 5, 9]}),
        ({"one": [3]}, {"stem": [2, 4], "one": [3, 7]}),
        ({"stem": [0], "one": [0, 1]}, {"stem": [0], "one": range(8)}),
    ],
)
def test_without_repair_a_cut_in_two_stages_is_the_cut_at_once(tmp_path, first, more):
    candidates = candidates_of(graph(RESIDUAL), tmp_path)
    start, plan = plan_of(candidates, **first), plan_of(candidates, **more)
    assert candidates.divergence(plan, start) == pytest.approx(candidates.divergence(plan), rel=1e-5)
    assert candidates.divergence(plan) > 1e-3


def test_what_is_cut_from_a_repaired_network_is_worse_than_what_is_repaired_as_a_whole(tmp_path):
    candidates = candidates_of(network(batch="N"), tmp_path, Compensate())
    start, plan = plan_of(candidates, stem=range(8)), plan_of(candidates, stem=range(12), body=range(8))
    nothing = Plan(model_sha256=start.model_sha256)
    assert candidates.divergence(plan) < candidates.divergence(plan, start) < candidates.divergence(plan, nothing)


def test_nothing_cut_diverges_by_nothing(tmp_path):
    candidates = candidates_of(network(batch="N"), tmp_path)
    assert candidates.divergence(plan_of(candidates)) == 0


def test_units_that_are_gone_score_least_and_the_others_where_they_were(tmp_path):
    candidates = candidates_of(network(batch="N"), tmp_path)
    before = candidates.score("l2", plan_of(candidates))["stem"]
    after = candidates.score("l2", plan_of(candidates, stem=[0, 7]))["stem"]
    assert np.isneginf(after[[0, 7]]).all()
    left = np.setdiff1d(np.arange(32), [0, 7])
    assert np.allclose(after[left] / after[left].sum(), before[left] / before[left].sum(), rtol=1e-6)
