"""What CUDA and TensorRT are told, written down in order; where there is a GPU, tests/gpu runs it."""

from ctypes import c_float

import numpy as np
import pytest
from polygraphy.backend.base import BaseRunner

from toolchain.errors import EnvironmentMissing
from toolchain.targets.device_runner import DeviceRunner, Launches

STREAM = 7


class Context:
    """Stands in for an execution context: accepts everything."""

    def __init__(self, told, accepts=True):
        self.told, self.accepts = told, accepts
        self.name = "context"

    def execute_async_v3(self, stream):
        self.told.append("execute")
        assert stream == STREAM
        return self.accepts

    def set_tensor_address(self, *_):
        return True

    set_input_shape = set_tensor_address


class Inner(BaseRunner):
    """Stands in for a TrtRunner, which executes by its context."""

    def __init__(self, told):
        super().__init__(name="inner")
        self.told = told

    def activate_impl(self):
        self.context = Context(self.told)

    def infer_impl(self, feed_dict):
        assert self.context.execute_async_v3(STREAM)
        self.inference_time = 0.5
        return feed_dict

    def deactivate_impl(self):
        self.told.append("closed")


@pytest.fixture
def told():
    return []


@pytest.fixture
def call(told):
    """Write down a CUDA call; an elapsed time is always 2.5 ms."""

    def call(name, *arguments):
        told.append(name.removeprefix("cuda"))
        if name == "cudaEventElapsedTime":
            milliseconds = arguments[0]._obj
            assert isinstance(milliseconds, c_float)
            milliseconds.value = 2.5

    return call


TIMED = ["EventRecord", "execute", "EventRecord"]
CAPTURED = ["StreamBeginCapture", "execute", "StreamEndCapture", "GraphInstantiateWithFlags", "GraphDestroy"]
REPLAYED = ["EventRecord", "GraphLaunch", "EventRecord"]


def test_a_launch_lies_between_two_events(told, call):
    launches = Launches(Context(told), call, replays=False)
    assert launches.execute_async_v3(STREAM)
    assert launches.seconds() == pytest.approx(2.5e-3)
    launches.close()
    assert told == ["EventCreate"] * 2 + TIMED + ["EventSynchronize", "EventElapsedTime"] + ["EventDestroy"] * 2


def test_a_graph_is_captured_after_a_plain_launch_and_then_replayed(told, call):
    launches = Launches(Context(told), call, replays=True)
    del told[:]
    for _ in range(3):
        assert launches.execute_async_v3(STREAM)
    assert told == [*TIMED, REPLAYED[0], *CAPTURED, *REPLAYED[1:], *REPLAYED]
    launches.close()
    assert told[-3:] == ["GraphExecDestroy", "EventDestroy", "EventDestroy"]


@pytest.mark.parametrize(
    "change",
    [lambda launches: launches.set_tensor_address("x", 2), lambda launches: launches.set_input_shape("x", (1, 3))],
)
def test_a_graph_with_another_address_or_shape_is_captured_anew(change, told, call):
    launches = Launches(Context(told), call, replays=True)
    launches.set_tensor_address("x", 1)
    for _ in range(2):
        launches.execute_async_v3(STREAM)
    launches.set_tensor_address("x", 1)
    del told[:]
    launches.execute_async_v3(STREAM)
    assert told == REPLAYED
    change(launches)
    launches.execute_async_v3(STREAM)
    assert told[3:] == ["GraphExecDestroy", REPLAYED[0], *CAPTURED, *REPLAYED[1:]]


def test_an_engine_that_cannot_be_captured_is_an_environment_error(told, call):
    context = Context(told)
    launches = Launches(context, call, replays=True)
    launches.execute_async_v3(STREAM)
    context.accepts = False
    with pytest.raises(EnvironmentMissing, match=r"cannot be captured as a CUDA graph; leave cuda_graph out$"):
        launches.execute_async_v3(STREAM)


def test_all_else_is_the_contexts_own(told, call):
    assert Launches(Context(told), call, replays=False).name == "context"


@pytest.mark.parametrize(("on_device", "seconds"), [(True, 2.5e-3), (False, 0.5)])
def test_a_runner_tells_the_time_of_the_clock_it_was_asked_for(on_device, seconds, told, call):
    feeds = {"x": np.ones(1)}
    with DeviceRunner(Inner(told), lambda: call, on_device=on_device, replays=False) as runner:
        assert runner.infer(feeds, check_inputs=False) == feeds
        assert runner.last_inference_time() == pytest.approx(seconds)
    assert told[-1] == "closed"
