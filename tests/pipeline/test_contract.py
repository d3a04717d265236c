from dataclasses import dataclass

import onnx
import pytest
from small import context_of, network

from toolchain.errors import PrunecError
from toolchain.pipeline.contract import Pass, PassResult


def copy(model):
    result = onnx.ModelProto()
    result.CopyFrom(model)
    return result


@dataclass(frozen=True)
class RenamesTheInput(Pass):
    def run(self, model, _context):
        result = copy(model)
        result.graph.input[0].name = "renamed"
        result.graph.node[0].input[0] = "renamed"
        return PassResult(result, True)


@dataclass(frozen=True)
class ClaimsTooMuch(Pass):
    def run(self, model, _context):
        return PassResult(copy(model), True)


@dataclass(frozen=True)
class BreaksTheModel(Pass):
    def run(self, model, _context):
        result = copy(model)
        result.graph.node[1].input[0] = "nowhere"
        return PassResult(result, True)


@dataclass(frozen=True)
class TouchesWithoutSaying(Pass):
    def run(self, model, _context):
        result = copy(model)
        del result.graph.node[:]
        return PassResult(result, False)


@pytest.mark.parametrize(
    ("step", "message"),
    [
        (RenamesTheInput(), r"^pass renames-the-input changed the model's inputs or outputs$"),
        (ClaimsTooMuch(), r"^pass claims-too-much claims a change that is not there$"),
        (BreaksTheModel(), r"^pass breaks-the-model made an invalid model \(.*nowhere.*\); please report this$"),
    ],
)
def test_what_a_pass_must_not_do_is_found_out(step, message, tmp_path):
    model = network()
    with pytest.raises(PrunecError, match=message):
        step(model, context_of(model, tmp_path))


def test_a_result_that_is_said_to_be_unchanged_is_not_used(tmp_path):
    model = network()
    assert TouchesWithoutSaying()(model, context_of(model, tmp_path)).model is model


def test_the_name_is_the_class_name_in_kebab_case():
    assert RenamesTheInput.name() == "renames-the-input"


def test_the_fields_are_the_options():
    @dataclass(frozen=True)
    class Sized(ClaimsTooMuch):
        size: int = 3

    assert Sized().options() == {"size": 3}
