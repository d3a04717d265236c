"""Samples that are none, or are made to hurt: refused in one line, as a wrong call; nothing is ever unpickled."""

import struct
import zipfile
import zlib

import numpy as np
import pytest
from PIL import Image

MEMORY_BYTES = 1 << 30


def archive(**arrays):
    return lambda folder: np.savez(folder / "data.npz", **arrays)


def content(name, data):
    return lambda folder: (folder / name).write_bytes(data)


def cut_off(folder):
    np.savez(folder / "data.npz", x=np.zeros((8, 3, 8, 8), np.float32))
    (folder / "data.npz").write_bytes((folder / "data.npz").read_bytes()[:2000])


def bomb(folder):
    """Twelve gibibytes of zeros in twelve megabytes: three entries whose directory says what they unpack to."""
    header = b"\x93NUMPY\x01\x00" + struct.pack("<H", 118)
    header += b"{'descr': '<f4', 'fortran_order': False, 'shape': (5592405, 3, 8, 8), }".ljust(117) + b"\n"
    with zipfile.ZipFile(folder / "data.npz", "w", zipfile.ZIP_DEFLATED) as made:
        made.writestr("x.npy", header + bytes(1 << 20))
    forged = bytearray((folder / "data.npz").read_bytes())
    place = forged.rfind(b"PK\x01\x02") + 24
    forged[place : place + 4] = struct.pack("<I", 0xFFFFFFF0)
    (folder / "data.npz").write_bytes(forged)
    with zipfile.ZipFile(folder / "data.npz", "a") as made:
        for number in range(2):
            made.writestr(f"more{number}.npy", b"")
        for item in made.infolist():
            item.file_size = 0xFFFFFFF0


def lying_header(folder):
    """A header that promises 10^12 samples."""
    header = b"\x93NUMPY\x01\x00" + struct.pack("<H", 118)
    header += b"{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000000, 3, 8, 8), }".ljust(117) + b"\n"
    with zipfile.ZipFile(folder / "data.npz", "w") as made:
        made.writestr("x.npy", header + bytes(100))


def images(name, data):
    def make(folder):
        for label in range(4):
            (folder / "images" / f"class{label}").mkdir(parents=True)
            (folder / "images" / f"class{label}" / name).write_bytes(data)

    return make


def png_of(width, height):
    """A picture whose header promises that many pixels."""

    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    )


def jpeg_cut_off(folder):
    images("a.jpg", b"")(folder)
    for file in folder.glob("images/*/a.jpg"):
        Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)).save(file)
        file.write_bytes(file.read_bytes()[:400])


def script(text):
    return lambda folder: (folder / "data.py").write_text(text)


X = np.zeros((8, 3, 8, 8), np.float32)

REFUSED = [
    ("nothing there", "none.npz", lambda _: None, "none.npz: no such file or folder"),
    ("another kind", "data.txt", content("data.txt", b"x"), "data.txt: not a kind of data"),
    ("text", "data.npz", content("data.npz", b"hello"), "data.npz: not an .npz archive"),
    ("empty", "data.npz", content("data.npz", b""), "data.npz: not an .npz archive"),
    ("cut off", "data.npz", cut_off, "data.npz: not an .npz archive"),
    ("pickled", "data.npz", archive(x=np.array([{"a": print}], object)), "data.npz: array 'x' cannot be read: pickled"),
    (
        "pickled labels",
        "data.npz",
        archive(x=X, y=np.array([print] * 8, object)),
        "data.npz: array 'y' cannot be read:",
    ),
    ("a bomb", "data.npz", bomb, "data.npz: "),
    ("a header that lies", "data.npz", lying_header, "data.npz: array 'x' cannot be read"),
    ("another name", "data.npz", archive(a=X, b=X), "data.npz: nothing for input 'x'; there is 'a', 'b'"),
    ("another shape", "data.npz", archive(x=X[:, :, :5]), "data.npz, sample 0: input 'x' expects [1, 3, 8, 8]"),
    (
        "another type",
        "data.npz",
        archive(x=X.astype(int)),
        "data.npz, sample 0: input 'x' expects float32, found int64",
    ),
    ("texts", "data.npz", archive(x=np.array(["a"] * 8)), "data.npz, sample 0: input 'x' expects [1, 3, 8, 8]"),
    ("a scalar", "data.npz", archive(x=np.float32(1)), "the data holds no sample"),
    ("no sample", "data.npz", archive(x=X[:0]), "the data holds no sample"),
    ("NaN", "data.npz", archive(x=X + np.nan), "data.npz, sample 0: input 'x' has a value that is not finite"),
    ("too few labels", "data.npz", archive(x=X, y=np.arange(3)), "8 samples but 3 labels"),
    ("an empty folder", "images", lambda folder: (folder / "images").mkdir(), "images: no image in it"),
    ("no picture", "images", images("a.png", b"hello"), "images/class0/a.png: cannot be read as an image"),
    ("a picture cut off", "images", jpeg_cut_off, "images/class0/a.jpg: cannot be read as an image"),
    ("10^10 pixels", "images", images("a.png", png_of(100_000, 100_000)), "images/class0/a.png: cannot be read as an"),
    ("a program as a picture", "images", images("a.png", b"%!PS-Adobe-3.0 EPSF-3.0\n"), "images/class0/a.png: cannot"),
    ("a script that fails", "data.py", script("def load_data():\n    raise KeyError('x')\n"), "data.py:2: KeyError"),
    ("a script that leaves", "data.py", script("import sys\nsys.exit(0)\n"), "data.py:2: SystemExit"),
    ("a script that is none", "data.py", script("def load_data(:\n"), "data.py:1: SyntaxError"),
    ("a script with zero bytes", "data.py", content("data.py", b"a\0b"), "data.py"),
    ("a script without the function", "data.py", script("x = 1\n"), "data.py: no function 'load_data' in it"),
    ("a script that yields numbers", "data.py", script("def load_data():\n    return [1]\n"), "data.py: feed 0"),
    (
        "a script that yields nothing",
        "data.py",
        script("def load_data():\n    return []\n"),
        "data.py: load_data() yields",
    ),
]


@pytest.mark.parametrize(("name", "make", "told"), [case[1:] for case in REFUSED], ids=[case[0] for case in REFUSED])
def test_it_is_refused(commands, folder, name, make, told):
    make(folder)
    call = ["compile", "net.onnx", "--budget", "60%", "--target", "null", "--data", name]
    outcome = commands.run(call, folder)
    assert outcome.complaint.startswith(f"prunec: {told}")
    assert (outcome.code, outcome.stdout) == (2, "")
    assert outcome.memory_bytes < MEMORY_BYTES
    assert not (folder / "build" / "model.onnx").exists()
