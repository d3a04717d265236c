import json

import pytest
from small import TILES, network

from toolchain.emit.papers import papers_of, place_engine, read_engine
from toolchain.errors import BundleError


@pytest.fixture
def placed(tmp_path):
    engine = TILES.build(network(), tmp_path / "engines")
    place_engine(engine, tmp_path / "net.engine")
    return engine, tmp_path / "net.engine"


def spoil(path, **changes):
    papers = json.loads(papers_of(path).read_text())
    papers_of(path).write_text(json.dumps({**papers, **changes}))


def test_an_engine_is_what_its_papers_say(placed):
    engine, path = placed
    found = read_engine(path).engine
    assert (found.path, found.identity) == (path, engine.identity)
    assert (found.sha256, found.model_sha256) == (engine.sha256, engine.model_sha256)
    assert path.read_bytes() == engine.path.read_bytes()


def test_a_device_gets_no_papers(tmp_path):
    (tmp_path / "null").symlink_to("/dev/null")
    place_engine(TILES.build(network(), tmp_path / "engines"), tmp_path / "null")
    assert not papers_of(tmp_path / "null").exists()


def test_without_papers_nothing_is_said(placed):
    papers_of(placed[1]).unlink()
    assert read_engine(placed[1]) is None


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"schema": 2}, "is of schema 2; this version of prunec knows schemas up to 1; update prunec"),
        ({"identity": {}}, "cannot be read as an engine's papers; build it again"),
        ({"files": []}, "does not list net.engine"),
        ({"files": [{"name": "net.engine", "sha256": "0"}]}, "net.engine does not have the hash that "),
    ],
)
def test_papers_of_something_else_are_refused(placed, changes, complaint):
    spoil(placed[1], **changes)
    with pytest.raises(BundleError, match=complaint):
        read_engine(placed[1])


@pytest.mark.parametrize("name", ["weights", "../weights", "/etc/passwd"])
def test_files_are_beside_the_papers(placed, name):
    _, path = placed
    (path.parent.parent / "weights").touch()
    papers = json.loads(papers_of(path).read_text())
    spoil(path, files=[*papers["files"], {"name": name, "sha256": "0"}])
    with pytest.raises(BundleError, match=f"lists '{name}', which is not beside it"):
        read_engine(path)
