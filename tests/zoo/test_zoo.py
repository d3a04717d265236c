"""Every network of the zoo: analysed, pruned at random, held to the mask oracle; its exports have the same groups.

Constants are folded first, as the default pipeline does: only so are standardised weights weights.
"""

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import pytest
from oracle import (
    LARGEST_ERROR,
    analysed,
    assert_pruned_equals_masked,
    assert_valid,
    execute,
    prune,
    random_feeds,
    random_removal,
)

from passes.fold_constants import FoldConstants
from toolchain.graph.coverage import coverage
from toolchain.graph.normalise import normalise
from toolchain.graph.oracle import WIDEST, Feeds, compare_with_masked, masked_model

pytest.importorskip("zoo.libraries", reason="the zoo is made of networks of torchvision and timm")

from emitted import emitted, imported, run
from zoo.channels import partition
from zoo.exports import Exporter, export
from zoo.networks import BY_NAME, NETWORKS, SLOWLY_EXPORTED, Network

pytestmark = pytest.mark.slow

SEMANTICALLY_FIXED = (
    "graph output",  # its size is part of the interface
    "it takes statistics across these channels",
    "it reduces over these channels",
    "its statistics span these positions",  # GroupNorm of one group
    "it convolves along these channels",  # a convolution over channels
    "it broadcasts this channel to all others",
    "it multiplies all channels of the other operand by this one",
    "one operand cannot lose the channels of the other",  # a learned table of all heads' biases, gathered at run time
    "it joins parts along another axis than their channels'",  # a class token
)


CHAOTIC = {"timm/convmixer_768_32"}
"""Networks that amplify rounding: with random weights a change of 1e-7 at the input is one of 6e-4 at the output."""


@dataclass(frozen=True)
class Exported:
    """One network in two forms; constants are folded in both, BatchNorm in one."""

    folded: onnx.ModelProto
    kept: onnx.ModelProto
    largest_error: float = LARGEST_ERROR


@pytest.fixture(scope="module", params=NETWORKS, ids=lambda network: network.name)
def exported(request: pytest.FixtureRequest) -> Exported:
    largest_error = WIDEST if request.param.name in CHAOTIC else LARGEST_ERROR
    forms = (exported_by(request.param, exporter) for exporter in (Exporter.FOLDED, Exporter.KEPT))
    return Exported(*forms, largest_error)


def exported_by(network: Network, exporter: Exporter) -> onnx.ModelProto:
    model = export(network.build(), network.example(), exporter)
    return FoldConstants().run(normalise(model), None).model  # type: ignore[arg-type]


def test_all_but_what_its_meaning_fixes_can_be_pruned(
    exported: Exported, record_property: Callable[[str, object], None]
) -> None:
    analysis = analysed(exported.folded)
    record_property("prunable_share", coverage(analysis).share)
    for group in analysis.groups:
        assert group.prunable or group.width == 1 or any(why in str(group.reason) for why in SEMANTICALLY_FIXED)


@pytest.mark.parametrize("ratio", [0.1, 0.3, 0.6])
def test_what_is_pruned_at_random_equals_masked(exported: Exported, ratio: float) -> None:
    if analysed(exported.folded).prunable_groups:
        assert_pruned_equals_masked(exported.folded, ratio, round(100 * ratio), largest_error=exported.largest_error)


def test_with_batch_normalisation_kept_the_pruned_network_equals_masked(exported: Exported) -> None:
    if analysed(exported.kept).prunable_groups:
        assert_pruned_equals_masked(exported.kept, 0.3, largest_error=exported.largest_error)


@pytest.mark.parametrize("name", sorted(CHAOTIC))
def test_where_rounding_moves_the_outputs_pruned_equals_masked_in_double_precision(name: str) -> None:
    model = exported_by(BY_NAME[name], Exporter.FOLDED)
    pruned = prune(model, random_removal(analysed(model), 0.1, 10))
    feeds = random_feeds(pruned.analysis.model, 10, pruned.analysis.binding)
    masked = masked_model(pruned.analysis.model, pruned.surgery.kept)
    np.testing.assert_allclose(in_double_precision(pruned.model, feeds), in_double_precision(masked, feeds), rtol=1e-9)


def in_double_precision(model: onnx.ModelProto, feeds: Feeds) -> np.ndarray:  # type: ignore[type-arg]
    """Run a network of one output as its emitted PyTorch module, in double precision."""
    with tempfile.TemporaryDirectory() as folder:
        network = imported(emitted(model, batchnorm=False), Path(folder)).load().double().eval()
    return run(network, {name: value.astype(np.float64) for name, value in feeds.items()})[0]


def test_what_only_statistics_tie_is_cut_where_that_is_allowed(exported: Exported) -> None:
    strict, lenient = analysed(exported.folded), analysed(exported.folded, allow_inexact=True)
    inexact = [group.name for group in lenient.prunable_groups if group.inexact]
    assert inexact == [
        group.name for group in strict.groups if group.reason and group.reason.inexact and group.width > 1
    ]
    if not inexact:
        return
    pruned = prune(exported.folded, random_removal(lenient, 0.4, 0), allow_inexact=True)
    assert_valid(pruned)
    feeds = random_feeds(lenient.model, 0, lenient.binding)
    verdict = compare_with_masked(lenient.model, pruned.model, pruned.surgery.kept, feeds, execute, inexact=True)
    assert not verdict.equal
    assert not verdict.wrong


def test_removing_nothing_changes_nothing(exported: Exported) -> None:
    pruned = prune(exported.folded, {})
    before, after = pruned.analysis.model.graph, pruned.model.graph
    assert [*after.node] == [*before.node]
    assert [*after.initializer] == [*before.initializer]


def test_keeping_batch_normalisation_leaves_the_groups_as_they_are(exported: Exported) -> None:
    assert partition(analysed(exported.kept)) == partition(analysed(exported.folded))


@pytest.mark.parametrize("name", sorted(SLOWLY_EXPORTED))
def test_the_other_exporter_gives_the_same_groups(name: str) -> None:
    network = BY_NAME[name]
    here, there = (analysed(exported_by(network, exporter)) for exporter in (Exporter.FOLDED, Exporter.DYNAMO))
    assert partition(here) == partition(there)
