"""Masks against removal itself: where the output is linear in a unit, its gradient is what its removal takes away."""

from dataclasses import replace

import numpy as np
import pytest
from oracle import analysed, execute, graph
from small import Samples, network, parameters, samples_of

from passes.criteria.fisher import Fisher
from passes.criteria.information_gain import InformationGain
from passes.criteria.l2 import L2
from passes.criteria.taylor import Taylor
from passes.gradients.likelihood import likelihood_gradients
from toolchain.graph.labels import Role

PLAIN = """net (float[N,3,8,8] x) => (float[N,2,8,8] y) <float[8,3,3,3] v, float[8] b, float[2,8,1,1] w> {
    a = Conv<pads=[1,1,1,1]>(x, v, b)
    r = Relu(a)
    y = Conv(r, w)
}"""
READ_TWICE = """net (float[N,3,8,8] x) => (float[N,2,8,8] y) <float[8,3,1,1] v, float[2,8,1,1] w, float[2,8,1,1] u> {
    a = Conv(x, v)
    r = Relu(a)
    p = Conv(r, w)
    q = Conv(r, u)
    y = Add(p, q)
}"""
GROUPED = """net (float[N,3,8,8] x) => (float[N,4,8,8] y) <float[8,3,1,1] v, float[4,2,1,1] w> {
    a = Conv(x, v)
    r = Relu(a)
    y = Conv<group=4>(r, w)
}"""
FLATTENED = """net (float[N,3,2,2] x) => (float[N,1,5] y) <float[8,3,1,1] v, float[32,5] w, int64[3] s = {-1, 1, 5}> {
    a = Conv(x, v)
    r = Relu(a)
    f = Flatten(r)
    g = MatMul(f, w)
    y = Reshape(g, s)
}"""


def gradients(model, samples, seed=0):
    analysis = analysed(model)
    calibration = replace(samples.calibration_of(analysis.model), batches=lambda: samples.feeds)
    rows = list(likelihood_gradients(analysis, calibration, np.random.default_rng(seed)))
    return analysis, {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}


def without(model, group, unit):
    """Zero the slices of everything that reads a unit."""
    copy = type(model)()
    copy.CopyFrom(model)
    for tensor in copy.graph.initializer:
        for site in group.sites:
            if site.parameter == tensor.name and site.role is Role.CONSUMES:
                value = parameters(model)[tensor.name].copy()
                np.moveaxis(value, site.axis, 0)[site.units == unit] = 0
                tensor.raw_data = value.tobytes()
    return copy


@pytest.mark.parametrize("text", [PLAIN, READ_TWICE, GROUPED, FLATTENED], ids=["plain", "twice", "grouped", "flat"])
def test_a_gradient_is_what_removal_takes_from_a_linear_output(text):
    model = graph(text)
    samples = samples_of(model, batches=1, size=6)
    analysis, found = gradients(model, samples)
    y = execute(model, samples.feeds[0])["y"].astype(np.float64)
    noise = np.random.default_rng(0).standard_normal(y.shape) / np.sqrt((y**2).mean())
    (group,) = analysis.prunable_groups
    for column, unit in enumerate(group.units):
        left = execute(without(model, group, unit), samples.feeds[0])["y"].astype(np.float64)
        taken = ((y - left) * noise).reshape(6, -1).sum(1)
        np.testing.assert_allclose(found[group.name][:, column], taken, rtol=1e-4, atol=1e-5 * np.abs(taken).max())


def test_drawn_labels_have_gradients_that_average_to_nothing():
    model = network(batch="N")
    _, found = gradients(model, samples_of(model, batches=4, size=512))
    for rows in found.values():
        assert np.abs(rows.mean(0)).max() < 5 * rows.std(0).max() / np.sqrt(len(rows))


def test_an_output_without_gradients_leaves_the_scores_to_the_weights():
    model = graph("""net (float[N,3,8,8] x) => (int64[N,8,8] y) <float[8,3,1,1] v, float[2,8,1,1] w> {
        a = Conv(x, v)
        p = Conv(a, w)
        y = ArgMax<axis=1,keepdims=0>(p)
    }""")
    analysis = analysed(model)
    calibration = samples_of(model).calibration_of(analysis.model)
    by_weight = L2().scores(analysis, None)
    for criterion in (Taylor(), Fisher(), InformationGain()):
        scores = criterion.scores(analysis, calibration)
        assert scores.keys() == by_weight.keys() == {"a"}
        np.testing.assert_array_equal(scores["a"], by_weight["a"])


def test_gradients_do_not_depend_on_the_batches():
    model = network(batch="N")
    whole = samples_of(model, batches=1, size=32)
    halves = Samples([{"x": whole.feeds[0]["x"][:16]}, {"x": whole.feeds[0]["x"][16:]}])
    once, twice = gradients(model, whole)[1], gradients(model, halves)[1]
    for name, rows in once.items():
        np.testing.assert_allclose(twice[name], rows, rtol=1e-4, atol=1e-6)
