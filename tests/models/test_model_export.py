import importlib.util
from collections import Counter
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from oracle import assert_pruned_equals_masked
from torch import nn

from models.export import Exporter, export, load_weights, main, randomise_batchnorm
from models.registry import networks
from models.resnet_cifar import resnet20, resnet56
from toolchain.errors import UsageError
from toolchain.graph.normalise import normalise

Exported = Callable[[str, Exporter], tuple[nn.Module, Path]]

SLOW = {"resnet50", "vgg16_bn", "yolov3"}
SLOW_BY_DYNAMO = {"mobilenet_v1", "mobilenet_v2", "resnet18", "resnet56"}


def case(name: str, exporter: Exporter) -> object:
    slow = name in SLOW or (exporter is Exporter.DYNAMO and name in SLOW_BY_DYNAMO)
    return pytest.param(name, exporter, id=f"{name}-{exporter}", marks=pytest.mark.slow if slow else [])


def calibrated(name: str) -> nn.Module:
    network = networks()[name]
    torch.manual_seed(0)
    module = network.build()
    randomise_batchnorm(module, network.input_shape)
    return module


def operators(path: Path) -> Counter[str]:
    return Counter(node.op_type for node in onnx.load(path).graph.node)


def batch_of(path: Path) -> onnx.TensorShapeProto.Dimension:
    return onnx.load(path).graph.input[0].type.tensor_type.shape.dim[0]


def run(path: Path, x: np.ndarray) -> list[np.ndarray]:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return session.run(None, {"input": x})


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, Exporter], tuple[nn.Module, Path]]:
    @cache
    def export_once(name: str, exporter: Exporter) -> tuple[nn.Module, Path]:
        module = calibrated(name)
        path = tmp_path_factory.mktemp(name) / "model.onnx"
        export(
            module,
            torch.randn(2, *networks()[name].input_shape),
            path,
            exporter=exporter,
            outputs=networks()[name].outputs,
        )
        return module, path

    return export_once


EVERY_EXPORT = pytest.mark.parametrize(
    ("name", "exporter"), [case(name, exporter) for name in networks() for exporter in Exporter]
)


@EVERY_EXPORT
def test_onnx_runtime_equals_torch_at_every_batch_size(name: str, exporter: Exporter, exported: Exported) -> None:
    module, path = exported(name, exporter)
    shape = networks()[name].input_shape
    assert batch_of(path).dim_param == "N"
    for batch in (1, 3):
        x = torch.randn(batch, *shape)
        with torch.no_grad():
            outputs = module(x)
        outputs = [outputs] if isinstance(outputs, torch.Tensor) else outputs
        for expected, found in zip(outputs, run(path, x.numpy()), strict=True):
            assert expected.std() > 0.01
            np.testing.assert_allclose(found, expected.numpy(), rtol=0, atol=1e-4 * float(expected.abs().max()))


@EVERY_EXPORT
def test_random_plans_give_networks_that_equal_the_masked_original(
    name: str, exporter: Exporter, exported: Exported
) -> None:
    model = normalise(onnx.load(exported(name, exporter)[1]))
    for seed, ratio in enumerate((0.1, 0.3, 0.6)):
        pruned = assert_pruned_equals_masked(model, ratio, seed)
        assert pruned.model.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "N"


@pytest.mark.parametrize(("exporter", "kept"), [(Exporter.TORCHSCRIPT, 1), (Exporter.DYNAMO, 0)])
def test_torchscript_keeps_batchnorm_as_a_node_and_dynamo_folds_it(
    exporter: Exporter, kept: int, tmp_path: Path
) -> None:
    module = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))
    export(module, torch.randn(2, 3, 8, 8), tmp_path / "model.onnx", exporter=exporter)
    found = operators(tmp_path / "model.onnx")
    assert (found["Conv"], found["BatchNormalization"]) == (1, kept)


def test_a_training_module_is_exported_in_evaluation_mode(tmp_path: Path) -> None:
    module = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Dropout()).train()
    export(module, torch.randn(2, 3, 8, 8), tmp_path / "model.onnx")
    assert operators(tmp_path / "model.onnx")["Dropout"] == 0


def test_a_file_that_cannot_be_written_is_named_and_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").mkdir()
    with pytest.raises(UsageError, match=r"cannot write .*model.onnx: Is a directory"):
        export(nn.Conv2d(3, 4, 1), torch.randn(2, 3, 8, 8), tmp_path / "model.onnx")
    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"]


def test_dynamo_without_onnxscript_is_exit_code_6(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "onnxscript" else found(name))
    with pytest.raises(SystemExit) as stopped:
        main(["resnet20", "--exporter", "dynamo", "-o", str(tmp_path / "model.onnx")])
    assert stopped.value.code == 6
    assert capsys.readouterr().err.endswith("the dynamo exporter needs onnxscript; pip install onnxscript\n")


def test_calibration_gives_batchnorm_the_statistics_of_its_inputs() -> None:
    module = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))
    randomise_batchnorm(module, (3, 64, 64))
    normalised = module(torch.randn(8, 3, 64, 64))
    torch.testing.assert_close(normalised.mean((0, 2, 3)), module[1].bias, rtol=0, atol=0.03)
    torch.testing.assert_close(normalised.std((0, 2, 3)), module[1].weight, rtol=0.03, atol=0)
    assert module[1].momentum == 0.1


def test_the_command_line_exports_the_same_random_weights_for_one_seed(tmp_path: Path) -> None:
    paths = [tmp_path / f"{index}.onnx" for index in range(3)]
    for path, seed in zip(paths, ["1", "1", "2"], strict=True):
        main(["resnet20", "--seed", seed, "-o", str(path)])
    assert paths[0].read_bytes() == paths[1].read_bytes()
    assert paths[0].read_bytes() != paths[2].read_bytes()


def test_the_command_line_loads_weights_and_makes_the_batch_static(tmp_path: Path) -> None:
    module = calibrated("resnet20")
    torch.save(module.state_dict(), tmp_path / "weights.pt")
    options = ["--weights", str(tmp_path / "weights.pt"), "--batch", "1", "--opset", "17"]
    main(["resnet20", *options, "-o", str(tmp_path / "model.onnx")])
    assert batch_of(tmp_path / "model.onnx").dim_value == 1
    assert onnx.load(tmp_path / "model.onnx").opset_import[0].version == 17
    x = torch.randn(1, 3, 32, 32)
    np.testing.assert_allclose(run(tmp_path / "model.onnx", x.numpy())[0], module(x).detach(), atol=1e-4)


def test_weights_are_found_under_state_dict_and_behind_the_prefix_of_data_parallel(tmp_path: Path) -> None:
    source, loaded = resnet20(), resnet20()
    state = {f"module.{name}": value for name, value in source.state_dict().items()}
    torch.save({"state_dict": state, "epoch": 3}, tmp_path / "weights.pt")
    load_weights(loaded, tmp_path / "weights.pt")
    torch.testing.assert_close(loaded.state_dict(), source.state_dict(), rtol=0, atol=0)


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    torch.save(resnet56().state_dict(), tmp_path / "weights.pt")
    with pytest.raises(UsageError, match=r'weights.pt does not fit ResNetCifar: .*"layer1.3.conv1.weight"'):
        load_weights(resnet20(), tmp_path / "weights.pt")


@pytest.mark.parametrize("content", [b"", b"text", b"\x80\x02.", b"PK\x03\x04", bytes(range(256))])
def test_a_file_that_is_no_checkpoint_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "weights.pt").write_bytes(content)
    with pytest.raises(UsageError, match=r"weights.pt holds no state dict; write one by torch.save"):
        load_weights(resnet20(), tmp_path / "weights.pt")


@pytest.mark.parametrize("checkpoint", [[1], {1: 2}, {"state_dict": 3}, torch.ones(2)])
def test_a_checkpoint_without_a_state_dict_is_refused(checkpoint: object, tmp_path: Path) -> None:
    torch.save(checkpoint, tmp_path / "weights.pt")
    with pytest.raises(UsageError, match="holds no state dict"):
        load_weights(resnet20(), tmp_path / "weights.pt")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["resnet19", "-o", "m.onnx"], "invalid choice: 'resnet19' (choose from 'digits_resnet',"),
        (["resnet20", "--exporter", "dynamo", "--opset", "17", "-o", "m.onnx"], "opset 17; use 18 to 23"),
        (
            ["resnet20", "--opset", "21", "-o", "m.onnx"],
            "torchscript exporter cannot write opset 21; use 13 to 20",
        ),
        (["resnet20", "--batch", "0", "-o", "m.onnx"], "the batch is 0; --batch takes a number from 1"),
        (["resnet20", "-o", "absent/m.onnx"], "the folder absent does not exist; create it first"),
        (["resnet20", "--weights", "absent.pt", "-o", "m.onnx"], "cannot read absent.pt: No such file"),
    ],
)
def test_a_wrong_call_is_one_line_and_exit_code_2(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err.splitlines()[-1]
    assert not list(tmp_path.iterdir())
