"""Files that are no ONNX model, or cannot be reached as one: each function puts `bad.onnx` beside a good `net.onnx`."""

import gzip
import os
import pickle
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import onnx
from onnx.external_data_helper import set_external_data

Maker = Callable[[Path], None]


def of_bytes(content: bytes) -> Maker:
    """Write these bytes."""
    return lambda folder: void((folder / "bad.onnx").write_bytes(content))


def of_good(change: Callable[[bytes], bytes]) -> Maker:
    """Write what a change makes of the good file's bytes."""
    return lambda folder: void((folder / "bad.onnx").write_bytes(change((folder / "net.onnx").read_bytes())))


def void(*_: object) -> None:
    """Drop what an expression returns."""


def zip_archive(folder: Path) -> None:
    with zipfile.ZipFile(folder / "bad.onnx", "w") as archive:
        archive.writestr("archive/data.pkl", b"x")


def sparse(folder: Path) -> None:
    """A file of 5 GiB that takes no room on the disk."""
    (folder / "bad.onnx").touch()
    os.truncate(folder / "bad.onnx", 5 << 30)


def unreadable(folder: Path) -> None:
    """/proc/self/mem is a regular file that fails when it is read; permissions would not stop root."""
    (folder / "bad.onnx").symlink_to("/proc/self/mem")


def dangling(folder: Path) -> None:
    (folder / "bad.onnx").symlink_to(folder / "nowhere.onnx")


def endless(folder: Path) -> None:
    (folder / "bad.onnx").symlink_to(folder / "bad.onnx")


def external(location: str, **entries: int) -> Maker:
    """Say that the first weight lies in another file."""

    def make(folder: Path) -> None:
        model = onnx.load(folder / "net.onnx")
        tensor = model.graph.initializer[0]
        (folder / "weights").write_bytes(tensor.raw_data)
        set_external_data(tensor, location.format(folder=folder), **entries)
        tensor.ClearField("raw_data")
        (folder / "sub").mkdir(exist_ok=True)
        (folder / "bad.onnx").write_bytes(model.SerializeToString())

    return make


def linked(link: Callable[[Path, Path], None]) -> Maker:
    """Let the file of weights be a link to a file outside."""

    def make(folder: Path) -> None:
        external("link")(folder)
        outside = folder.parent / f"{folder.name}.outside"
        outside.write_bytes((folder / "weights").read_bytes())
        link(folder / "link", outside)

    return make


def nested_fields(depth: int) -> bytes:
    """A message in a message in a message: NodeProto.attribute.g.node, again and again."""
    body = b""
    for number in range(depth):
        tag = (b"\x0a", b"\x32", b"\x2a")[number % 3]
        body = tag + _varint(len(body)) + body
    return b"\x08\x08" + b"\x3a" + _varint(len(body)) + body


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def many_empty_nodes(count: int) -> bytes:
    """Two bytes a node, a hundred times as much in memory."""
    body = b"\x0a\x00" * count
    return b"\x08\x08\x3a" + _varint(len(body)) + body


NOT_MODELS: Mapping[str, Maker] = {
    "nothing there": void,
    "a folder": lambda folder: (folder / "bad.onnx").mkdir(),
    "a FIFO": lambda folder: os.mkfifo(folder / "bad.onnx"),
    "a device": lambda folder: (folder / "bad.onnx").symlink_to("/dev/zero"),
    "unreadable": unreadable,
    "a link to nothing": dangling,
    "a link to itself": endless,
    "empty": of_bytes(b""),
    "text": of_bytes(b"hello\n"),
    "zeros": of_bytes(bytes(1000)),
    "ones": of_bytes(b"\xff" * 1000),
    "Git LFS pointer": of_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"),
    "HTML": of_bytes(b"<!DOCTYPE html><html></html>"),
    "HTML after blanks": of_bytes(b"\n\n  <html></html>"),
    "JSON": of_bytes(b'{"error": "rate limit"}'),
    "zip": zip_archive,
    "pickle": of_bytes(pickle.dumps({"state_dict": [1, 2, 3]})),
    "old pickle": of_bytes(pickle.dumps({"state_dict": [1, 2, 3]}, protocol=3)),
    "gzip": of_good(gzip.compress),
    "PNG": of_bytes(b"\x89PNG\r\n\x1a\n" + bytes(100)),
    "safetensors": of_bytes(b"\x20\x00\x00\x00\x00\x00\x00\x00" + b'{"w":{"dtype":"F32","shape":[1]}}'),
    "truncated": of_good(lambda good: good[: len(good) // 2]),
    "one byte": of_bytes(b"\x08"),
    "twice in one": of_good(lambda good: good + good),
    "five gibibytes of nothing": sparse,
    "protobuf of a length that lies": of_bytes(b"\x08\x08\x3a\xff\xff\xff\xff\x07abc"),
    "protobuf 10,000 deep": of_bytes(nested_fields(10_000)),
    "protobuf of 10 million empty nodes": of_bytes(many_empty_nodes(10_000_000)),
    "weights in a parent folder": external("../weights"),
    "weights in a parent folder, by a detour": external("sub/../../weights"),
    "weights at an absolute path": external("{folder}/weights"),
    "weights on a device": external("/dev/zero"),
    "weights in a folder": external("sub"),
    "weights not there": external("nowhere"),
    "weights without a place": external(""),
    "weights at an offset beyond the file": external("weights", offset=1 << 40),
    "weights at a negative offset": external("weights", offset=-1),
    "weights of a length that lies": external("weights", length=1 << 40),
    "weights behind a symbolic link": linked(lambda link, outside: link.symlink_to(outside)),
    "weights behind a hard link": linked(lambda link, outside: link.hardlink_to(outside)),
    "weights in a name of 100,000 letters": external("w" * 100_000),
    "weights in a name with a zero byte": external("wei\0ghts"),
}
