"""A model that ends the process of its runtime does not end that of a command: it is tried apart before it is run."""

import platform
import shutil

import numpy as np
import onnx
import pytest
from bad_models import BAD_MODELS
from bundles import manifest_of, null_bundle, reseal
from bundles import place_engine as place_in_bundle
from test_bad_files import is_modest, write

from toolchain.emit.manifest import input_figures
from toolchain.emit.papers import place_engine
from toolchain.graph.deployment import random_feeds
from toolchain.graph.hashing import model_sha256
from toolchain.graph.plan import Plan
from toolchain.targets.onnxruntime import Onnxruntime

AT_RUN, AT_LOAD = "a division that ends the process", "a constant division that ends the process"
LOOP = "a Loop of 2^62 trips"
COMMANDS = [
    (AT_RUN, "compile bad.onnx --budget 60% --target null --dry-run"),
    (AT_RUN, "bench net.onnx bad.onnx --target onnxruntime"),
    (AT_RUN, "profile bad.onnx --target onnxruntime"),
    (AT_LOAD, "inspect bad.onnx"),
    (AT_LOAD, "build bad.onnx -o engine.onnx --target onnxruntime"),
    (AT_LOAD, "profile bad.onnx --target null"),
]
LOOPS = [
    "bench bad.onnx bad.onnx --target onnxruntime",
    "profile bad.onnx --target onnxruntime",
]

pytestmark = pytest.mark.skipif(platform.machine() != "x86_64", reason="other processors divide without an exception")


@pytest.mark.parametrize(("kind", "command"), COMMANDS, ids=[command for _, command in COMMANDS])
def test_a_model_that_kills_the_runtime_is_refused(commands, folder, kind, command):
    write(kind, folder)
    (folder / "net.onnx").write_bytes(BAD_MODELS[AT_RUN]().SerializeToString())  # bench takes two of the same inputs
    outcome = commands.run(command.split(), folder)
    assert outcome.code == 3
    assert outcome.complaint.endswith("running it crashes ONNX Runtime (SIGFPE); check the model with its exporter")
    assert "Warning" not in outcome.stderr
    assert is_modest(outcome)


@pytest.mark.parametrize("command", LOOPS)
def test_a_model_that_does_not_end_is_refused(commands, folder, command):
    write(LOOP, folder)
    outcome = commands.run(command.split(), folder)
    assert outcome.code == 3
    assert "one run does not end within 2 seconds of processor time" in outcome.complaint
    assert is_modest(outcome)


def test_an_engine_that_kills_its_runtime_is_refused(commands, folder):
    model = BAD_MODELS[AT_RUN]()
    (folder / "net.onnx").write_bytes(model.SerializeToString())
    place_engine(Onnxruntime().build(model, folder / "engines"), folder / "engine.onnx")
    outcome = commands.run(["bench", "engine.onnx", "net.onnx"], folder)
    assert outcome.code == 3
    assert outcome.complaint == (
        "prunec: engine.onnx: running it crashes target onnxruntime (SIGFPE); "
        "build it again from a model that you trust"
    )
    assert is_modest(outcome)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    """A bundle that may be copied and forged."""
    return null_bundle(tmp_path_factory.mktemp("bundle"))


def forged(bundle, folder, kind):
    """Copy a bundle and make its model, its engine, and all papers those of a bad model."""
    model, forged = BAD_MODELS[kind](), shutil.copytree(bundle, folder / "build")
    forged_plan = Plan(model_sha256=model_sha256(model))
    onnx.save(model, forged / "model.onnx")
    (forged / "plan.json").write_text(forged_plan.model_dump_json())
    figures = input_figures(random_feeds(model, {}, np.random.default_rng(0)))
    place_in_bundle(forged, model)
    hashes = {"model_sha256": model_sha256(model), "pruned_from_sha256": forged_plan.model_sha256}
    reseal(forged, parameters=(), inputs=figures, **hashes)
    return forged


def test_a_bundle_whose_model_kills_the_runtime_is_refused(commands, folder, bundle):
    forged(bundle, folder, AT_RUN)
    for options in ((), ("--any-machine",)):
        outcome = commands.run(["verify", "build", *options], folder)
        assert outcome.code == 3
        assert outcome.complaint == (
            "prunec: trial: build/model.onnx: running it crashes ONNX Runtime (SIGFPE); "
            "check the model with its exporter"
        )
        assert is_modest(outcome)


def test_a_bundle_whose_model_does_not_end_is_refused(commands, folder, bundle):
    forged(bundle, folder, LOOP)
    outcome = commands.run(["verify", "build", "--any-machine"], folder)
    assert outcome.code == 3
    assert "prunec: trial: build/model.onnx: one run does not end within 2 seconds " in outcome.complaint


def test_a_bundle_whose_engine_alone_kills_the_runtime_is_refused(commands, folder, bundle):
    shutil.copytree(bundle, folder / "build")
    place_in_bundle(folder / "build", BAD_MODELS[AT_RUN]())
    entry = manifest_of(folder / "build").engines[0]
    right = model_sha256(onnx.load(folder / "build" / "model.onnx"))
    reseal(folder / "build", engines=(entry.model_copy(update={"model_sha256": right}),))
    outcome = commands.run(["verify", "build"], folder)
    assert outcome.code == 3
    assert "prunec: trial: build/engine/engine.onnx: running it crashes target onnxruntime (SIGFPE); " in (
        outcome.complaint.replace(str(folder) + "/", "")
    )


def test_a_model_that_is_not_run_is_not_tried(commands, folder):
    """What kills the runtime only when it runs can be looked at, drawn, and said in PyTorch."""
    write(AT_RUN, folder)
    assert commands.run(["inspect", "bad.onnx"], folder).code == 0
    assert commands.run(["emit", "bad.onnx", "-o", "emitted"], folder).code == 0
