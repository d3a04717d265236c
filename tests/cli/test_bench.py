import json

import onnx
from command import prunec
from small import network

NULL = ("--target", "null")


def test_a_model_against_itself_is_no_difference(folder):
    options = ("--target-options", "threads=1", "--half-width", "0.2", "--max-seconds", "60", "--json")
    done = prunec("bench", "net.onnx", "net.onnx", *options, cwd=folder)
    assert (done.code, done.stderr) == (0, "")
    found = json.loads(done.stdout)
    assert 0.7 < found["ratio"] < 1.4
    assert found["baseline"]["clock"] == "host"
    assert len(found["candidate"]["samples_ms"]) > 10


def test_the_table_names_models_target_and_verdict(folder):
    onnx.save(network(width=64), folder / "wide.onnx")
    done = prunec("bench", "wide.onnx", "net.onnx", *NULL, cwd=folder)
    assert done.code == 0
    assert "null on modelled GPU" in done.stdout
    assert "modelled" in done.stdout
    assert done.stdout.splitlines()[-1] == "verdict: faster"


def test_too_noisy_to_decide_is_7_with_json_too(folder):
    hopeless = ("--half-width", "0", "--max-seconds", "0.1", "--target-options", "threads=1")
    done = prunec("bench", "net.onnx", "net.onnx", *hopeless, "--json", cwd=folder)
    assert done.code == 7
    assert "wide to either side; close other programs, or give --max-seconds or --half-width" in done.complaint
    assert not json.loads(done.stdout)["converged"]


def test_models_with_other_inputs_are_not_compared(folder):
    onnx.save(network(batch=2), folder / "two.onnx")
    done = prunec("bench", "net.onnx", "two.onnx", *NULL, cwd=folder)
    assert (done.code, done.complaint) == (
        2,
        "prunec: net.onnx and two.onnx do not take the same inputs: x float 1x3x8x8 against x float 2x3x8x8; "
        "only like compares with like; --input-shapes fixes sizes that are open",
    )


def test_symbolic_sizes_may_go_by_other_names(folder):
    onnx.save(network(batch="N"), folder / "first.onnx")
    onnx.save(network(batch="batch"), folder / "second.onnx")
    done = prunec("bench", "first.onnx", "second.onnx", *NULL, "--input-shapes", "x:[4,3,8,8]", cwd=folder)
    assert done.code == 0
    assert done.stdout.splitlines()[-1] == "verdict: no difference"
