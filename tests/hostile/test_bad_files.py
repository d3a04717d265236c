"""What cannot be compiled is refused in one line, by the exit code of its kind, soon, and at little cost."""

import pytest
from bad_files import NOT_MODELS
from bad_models import BAD_MODELS

PROCESSOR_SECONDS = 5
MEMORY_BYTES = 1 << 30

REFUSED = [
    ("nothing there", 2, "no such file; check the path of the model"),
    ("a folder", 2, "a folder, not a file; give the .onnx file in it"),
    ("a FIFO", 2, "not a regular file; give the .onnx file itself"),
    ("a device", 2, "not a regular file; give the .onnx file itself"),
    ("unreadable", 2, "cannot be read (Input/output error); check its permissions"),
    ("a link to nothing", 2, "no such file; check the path of the model"),
    ("a link to itself", 2, "no such file; check the path of the model"),
    ("empty", 3, "the file is empty; export or download it again"),
    ("text", 3, "not ONNX, or cut off in the middle; export or download it again"),
    ("zeros", 3, "not ONNX, or cut off in the middle; export or download it again"),
    ("ones", 3, "not ONNX, or cut off in the middle; export or download it again"),
    ("Git LFS pointer", 3, "not ONNX but a Git LFS pointer, not the file itself; run `git lfs pull`"),
    ("HTML", 3, "not ONNX but HTML or XML; download the file itself"),
    ("HTML after blanks", 3, "not ONNX but HTML or XML; download the file itself"),
    ("JSON", 3, "not ONNX but JSON; download the file itself"),
    ("zip", 3, "not ONNX but a zip archive (a PyTorch .pt file is one); export the network to ONNX first"),
    ("pickle", 3, "not ONNX but a Python pickle; export the network to ONNX first"),
    ("old pickle", 3, "not ONNX but a Python pickle; export the network to ONNX first"),
    ("gzip", 3, "not ONNX but gzip-compressed; unpack it first"),
    ("PNG", 3, "not ONNX but a picture; give the network itself"),
    ("safetensors", 3, "not ONNX, or cut off in the middle; export or download it again"),
    ("truncated", 3, "not ONNX, or cut off in the middle; export or download it again"),
    ("one byte", 3, "not ONNX, or cut off in the middle; export or download it again"),
    ("twice in one", 3, "2 outputs are called 'scores'; export it again"),
    ("five gibibytes of nothing", 3, "5368709120 bytes, more than the 2147483647 that an ONNX file can have"),
    ("protobuf of a length that lies", 3, "not ONNX, or cut off in the middle; export or download it again"),
    ("protobuf 10,000 deep", 3, "not ONNX, or cut off in the middle; export or download it again"),
    ("protobuf of 10 million empty nodes", 3, "more than 1000000 fields outside its tensors"),
    ("weights in a parent folder", 3, "the data of 'stem_weight' is said to be in '../weights', outside of the model'"),
    ("weights in a parent folder, by a detour", 3, "the data of 'stem_weight' is said to be in 'sub/../../weights', o"),
    ("weights at an absolute path", 3, "the data of 'stem_weight' is said to be in '/"),
    ("weights on a device", 3, "the data of 'stem_weight' is said to be in '/dev/zero', outside of the model's folder"),
    ("weights in a folder", 3, "the data of 'stem_weight' is said to be in 'sub', where no file is"),
    ("weights not there", 3, "the data of 'stem_weight' is said to be in 'nowhere', where no file is"),
    ("weights without a place", 3, "the data of 'stem_weight' is said to be in '', which is no name of a file"),
    ("weights at an offset beyond the file", 3, "the data of 'stem_weight' is said to be 3456 bytes at 1099511627776 "),
    ("weights at a negative offset", 3, "the data of 'stem_weight' is said to be 3456 bytes at -1 in a file of 3456"),
    ("weights of a length that lies", 3, "the data of 'stem_weight' is said to be 1099511627776 bytes at 0 in a file "),
    ("weights behind a symbolic link", 3, "the data of 'stem_weight' is said to be in 'link', a symbolic link"),
    ("weights behind a hard link", 3, "the data of 'stem_weight' is said to be in 'link', a hard link to a file that "),
    ("weights in a name of 100,000 letters", 3, "the data of 'stem_weight' is said to be in 'wwwwwwwwwwwwwwwwwwwwwwww"),
    (
        "weights in a name with a zero byte",
        3,
        "the data of 'stem_weight' is said to be in 'wei\\x00ghts', which is no ",
    ),
    ("no nodes", 3, "the graph has no nodes; check that this is the exported network"),
    ("no outputs", 3, "the graph has no outputs; check that this is the exported network"),
    ("no inputs", 3, "the graph has no inputs; check that this is the exported network"),
    ("no graph", 3, "the graph has no nodes; check that this is the exported network"),
    ("no opset", 3, "opset 0 is older than 7; convert it with onnx.version_converter.convert_version"),
    ("opset 0", 3, "opset 0 is older than 7; convert it with onnx.version_converter.convert_version"),
    ("opset 6", 3, "opset 6 is older than 7; convert it with onnx.version_converter.convert_version"),
    ("opset 999", 3, "opset 999 is newer than "),
    ("opset below zero", 3, "opset -4611686018427387904 is older than 7"),
    ("IR version 999", 3, "not a valid model (Your model ir_version 999 is higher than the checker's"),
    ("no IR version", 3, "not a valid model (The model does not have an ir_version set properly.); export it again"),
    ("NaN weights", 3, "parameter 'stem_weight' (read by Conv '-> stem') holds NaN or infinity"),
    ("infinite weights", 3, "parameter 'stem_weight' (read by Conv '-> stem') holds NaN or infinity"),
    ("weight too short", 3, "not a valid model (TensorProto (tensor name: stem_weight) raw_data size (12 bytes) is to"),
    ("weight too long", 3, "parameter 'stem_weight' (read by Conv '-> stem'): its data does not fit its shape and typ"),
    ("weight without data", 3, "not a valid model (TensorProto (tensor name: stem_weight) should contain one and only"),
    ("weight of 2^60 values", 3, "parameter 'stem_weight' would have [1048576, 1048576, 1048576] elements, more than "),
    ("weight whose size overflows to zero", 3, "parameter 'stem_weight' would have [4294967296, 4294967296] elements,"),
    ("weight of negative size", 3, "parameter 'stem_weight' has an axis of size -1; export it again"),
    ("weight of rank 10,000", 3, "parameter 'stem_weight' (read by Conv '-> stem'): its data does not fit its shape a"),
    ("weight of no type", 3, "not a valid model (setting data_type field (tensor name: stem_weight) to UNDEFINED is n"),
    ("weight of type 9999", 3, "parameter 'stem_weight' (read by Conv '-> stem'): its data does not fit its shape and"),
    ("weight of strings", 3, "not a valid model (STRING data (tensor name: stem_weight) should not be stored in raw_d"),
    ("weight of another type", 3, "not a valid model (TensorProto (tensor name: stem_weight) raw_data size (3456 byte"),
    ("sparse weight of 2^40 rows", 3, "sparse initialisers are not supported; export it with dense ones"),
    ("input of 2^62 values", 3, "'x' would have [1, 3, 1073741824, 1073741824] elements, more than 2147483648 in all"),
    ("input whose size overflows", 3, "'x' would have [4611686018427387904, 4611686018427387904, 4, 4] elements, more"),
    ("input of negative size", 3, "'x' has an axis of size -8; export it again"),
    ("input of size 0", 3, "'x' has an axis of size 0; export it with a real size, or none"),
    ("input of rank 10,004", 3, "Conv '-> stem': its shapes do not fit together ([ShapeInferenceError] Number of spat"),
    ("input without a type", 3, "not a valid model (Field 'type' of 'value_info' is required but missing.)"),
    ("input without a name", 3, "not a valid model (Field 'name' of 'value_info' is required to be non-empty.)"),
    ("input of a sequence", 3, "'x' is not a tensor; only tensors can be fed and compared"),
    ("two inputs of one name", 3, "not a valid model (Graph must be in single static assignment (SSA) form, however '"),
    ("two outputs of one name", 3, "2 outputs are called 'scores'; export it again"),
    ("two weights of one name", 3, "not a valid model (stem_weight initializer name is not unique); export it again"),
    ("two nodes that make one tensor", 3, "not a valid model (Graph must be in single static assignment (SSA) form, h"),
    ("all weights of one name", 3, "not a valid model (same initializer name is not unique); export it again"),
    ("an output nobody makes", 3, "not a valid model (Graph output 'nobody' is not an output of any node in graph.)"),
    ("an input nobody makes", 3, "not a valid model (Nodes in a graph must be topologically sorted, however input 'no"),
    ("a node without outputs", 3, "not a valid model (Node with schema(::Relu:14) has output size 0 not in range [min"),
    ("a node without inputs", 3, "not a valid model (Node with schema(::Relu:14) has input size 0 not in range [min=1"),
    ("a node without an op", 3, "not a valid model (Field 'op_type' of 'node' is required to be non-empty.)"),
    ("an op that does not exist", 3, "not a valid model (No Op registered for Perceive with domain_version of 20)"),
    ("an op of a custom domain", 3, "not a valid model (No opset import for domain 'com.custom'); export it again"),
    ("a weight of a custom domain", 3, "not a valid model (No opset import for domain 'com.custom'); export it again"),
    ("cyclic", 3, "not a valid model (Nodes in a graph must be topologically sorted, however input 'body_out' of node"),
    ("a node that reads itself", 3, "not a valid model (Nodes in a graph must be topologically sorted, however input "),
    ("nodes in reverse", 3, "not a valid model (Nodes in a graph must be topologically sorted, however input 'flat' o"),
    ("Conv of the wrong input channels", 3, "Conv '-> y': its weight [4, 5, 1, 1] with 1 groups does not fit 3 input "),
    ("Conv of zero groups", 3, "Conv '-> stem': its weight [32, 3, 3, 3] with 0 groups does not fit 3 input channels"),
    ("Conv of -1 groups", 3, "Conv '-> stem': its weight [32, 3, 3, 3] with -1 groups does not fit 3 input channels"),
    ("Conv of 2^62 groups", 3, "Conv '-> stem': its weight [32, 3, 3, 3] with 4611686018427387904 groups does not fit"),
    ("Conv of strides 0", 3, "Conv '-> stem': its shapes do not fit together ([ShapeInferenceError] Attribute strides"),
    ("Conv of pads 2^62", 3, "Conv '-> stem': its shapes do not fit together ([ShapeInferenceError] Integer overflow "),
    ("Conv of negative pads", 3, "Conv '-> stem': its shapes do not fit together ([ShapeInferenceError] Attribute pad"),
    ("Conv of three pads", 3, "Conv '-> stem': its shapes do not fit together ([ShapeInferenceError] Attribute pads h"),
    ("Conv of dilations 2^62", 3, "Conv '-> stem': its shapes do not fit together ([ShapeInferenceError] Integer over"),
    ("Conv whose group is a text", 3, "not a valid model (Mismatched attribute type in ' : group'. Expected: 'INT', a"),
    ("Conv with an unknown attribute", 3, "not a valid model (Unrecognized attribute: wisdom for operator Conv)"),
    ("Flatten of axis 99", 3, "Flatten '-> flat': its shapes do not fit together ([ShapeInferenceError] Invalid value"),
    ("an input of size 2^40 by Tile", 3, "tensor 'y' would have [1, 4, 8388608, 8388608] elements, more than 21474836"),
    ("an input of size 2^40 by Expand", 3, "tensor 'y' would have [1, 4, 1048576, 1048576] elements, more than 214748"),
    ("an input of size 2^40 by Resize", 3, "tensor 'y' would have [1, 4, 8000000, 8000000] elements, more than 214748"),
    ("a constant of size 2^40", 3, "tensor 'b' would have [1048576, 1048576] elements, more than 2147483648 in all"),
    ("padded by 2^40", 3, "tensor 'y' would have [1, 1099511627780, 8, 8] elements, more than 2147483648 in all"),
    ("padded by 2^28", 3, "an axis of 268435456 channels, more than 16777216; check the sizes in the model"),
    ("a range to 2^62", 3, "tensor 'r' would have [4611686018427387904] elements, more than 2147483648 in all"),
    ("functions of 2^40 nodes", 3, "thousands of millions of nodes, functions expanded"),
    ("functions of 10^7 nodes", 3, "10000000 nodes, functions expanded"),
    ("functions 5,000 deep", 3, "not a valid model (Function call chain depth exceeds limit (100). The model may be m"),
    ("a function that calls itself", 3, "function 'F0' ends up calling itself; export it again"),
    ("branches 30 deep", 3, "loops and branches more than 8 deep; export the network without control flow"),
    ("branches of 2^14 graphs", 3, "loops and branches more than 8 deep; export the network without control flow"),
    ("a chain of 300,000 nodes", 3, "more than 1000000 fields outside its tensors"),
    ("a name of a million letters", 3, "a name of 1000000 characters, 'nnnnnnnnnnnnnnnnnnnn...'"),
]

REFUSED_WHEN_RUN = [
    ("a Loop of 2^62 trips", "one run does not end within 2 seconds of processor time; is there a loop without end"),
    ("a constant Loop of 2^62 trips", "one run does not end within 2 seconds of processor time; is there a loop witho"),
    ("a division that ends the process", "running it crashes ONNX Runtime (SIGFPE); check the model with its exporter"),
    ("a constant division that ends the process", "running it crashes ONNX Runtime (SIGFPE); check the model with its"),
    ("all nodes of one name", "ONNX Runtime cannot load the model: This is an invalid model. Error: two nodes with"),
]

UNUSUAL = (
    "two opsets",
    "branches 4 deep",
    "a chain of 20,000 nodes",
    "a name with terminal commands",
    "a name with a path",
    "a name with markup",
    "a name with a zero byte",
    "a name that turns the text round",
)


def write(kind, folder):
    """Write bad.onnx."""
    if kind in NOT_MODELS:
        NOT_MODELS[kind](folder)
    else:
        (folder / "bad.onnx").write_bytes(BAD_MODELS[kind]().SerializeToString())


def is_modest(outcome):
    return outcome.processor_seconds < PROCESSOR_SECONDS and outcome.memory_bytes < MEMORY_BYTES


@pytest.mark.parametrize(("kind", "code", "told"), REFUSED, ids=[kind for kind, _, _ in REFUSED])
def test_it_is_refused_when_it_is_read(commands, folder, kind, code, told):
    write(kind, folder)
    outcome = commands.run(["inspect", "bad.onnx"], folder)
    assert outcome.complaint.removeprefix("prunec: ").removeprefix("bad.onnx: ").startswith(told)
    assert (outcome.code, outcome.stdout) == (code, "")
    assert is_modest(outcome)


@pytest.mark.parametrize(("kind", "told"), REFUSED_WHEN_RUN, ids=[kind for kind, _ in REFUSED_WHEN_RUN])
def test_it_is_refused_when_it_is_tried(commands, folder, kind, told):
    write(kind, folder)
    outcome = commands.run(["compile", "bad.onnx", "--budget", "60%", "--target", "null"], folder)
    assert outcome.complaint.startswith(f"prunec: bad.onnx: {told}")
    assert outcome.code == 3
    assert is_modest(outcome)


@pytest.mark.parametrize("kind", UNUSUAL)
def test_it_is_unusual_but_can_be_read(commands, folder, kind):
    write(kind, folder)
    outcome = commands.run(["inspect", "bad.onnx"], folder)
    assert (outcome.code, outcome.stderr) == (0, "")
    assert all(letter.isprintable() or letter == "\n" for letter in outcome.stdout)
    assert is_modest(outcome)


def test_no_kind_is_forgotten():
    tried = {kind for kind, *_ in REFUSED} | {kind for kind, _ in REFUSED_WHEN_RUN} | set(UNUSUAL)
    assert tried == {*NOT_MODELS, *BAD_MODELS}
    assert len(tried) > 100
