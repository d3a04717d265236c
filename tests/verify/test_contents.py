"""Files against papers: nothing of a bundle is opened before its hash is right."""

import json
import os
import shutil

import pytest
from bundles import findings, null_bundle, reseal, verify

from toolchain.emit.bundle import CHECKSUMS, MANIFEST, write_checksums
from toolchain.errors import BundleError, ExitCode, UsageError
from toolchain.verify.contents import check_contents


@pytest.fixture(scope="module")
def pristine(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PRUNEC_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield null_bundle(tmp_path_factory.mktemp("compiled"))


@pytest.fixture
def bundle(pristine, tmp_path):
    """A copy that may be spoiled."""
    return shutil.copytree(pristine, tmp_path / "build")


def files(folder):
    return sorted(path for path in folder.rglob("*") if path.is_file())


def test_an_untouched_bundle_is_accepted(bundle):
    manifest = check_contents(bundle)
    assert len(manifest.files) == len(files(bundle)) - 2


@pytest.mark.parametrize("place", ["first", "middle", "last"])
def test_one_flipped_byte_in_any_file_is_found(bundle, place):
    assert len(files(bundle)) >= 9
    for path in files(bundle):
        content = path.read_bytes()
        position = {"first": 0, "middle": len(content) // 2, "last": len(content) - 1}[place]
        for bit in (0, 5):
            spoiled = bytearray(content)
            spoiled[position] ^= 1 << bit
            path.write_bytes(spoiled)
            with pytest.raises(BundleError):
                check_contents(bundle)
        path.write_bytes(content)
    check_contents(bundle)


def test_every_byte_of_the_sums_counts(bundle):
    path = bundle / CHECKSUMS
    content = path.read_bytes()
    for position in range(len(content)):
        spoiled = bytearray(content)
        spoiled[position] ^= 1 << (position % 8)
        path.write_bytes(spoiled)
        with pytest.raises(BundleError):
            check_contents(bundle)


def test_the_file_that_differs_is_named(bundle):
    (bundle / "plan.json").write_bytes((bundle / "plan.json").read_bytes() + b" ")
    with pytest.raises(BundleError, match=r"^plan.json does not have the hash that SHA256SUMS lists; the bundle was"):
        check_contents(bundle)


@pytest.mark.parametrize("reseal_sums", [False, True])
def test_a_missing_file_is_named(bundle, reseal_sums):
    (bundle / "model.onnx").unlink()
    if reseal_sums:
        write_checksums(bundle)
    where = MANIFEST if reseal_sums else CHECKSUMS
    with pytest.raises(BundleError, match=rf"^model.onnx is listed in {where}, but is not there"):
        check_contents(bundle)


@pytest.mark.parametrize("name", [CHECKSUMS, MANIFEST])
def test_without_its_papers_it_is_no_bundle(bundle, name):
    (bundle / name).unlink()
    with pytest.raises(BundleError, match=rf"^{name} is missing; this is not a whole bundle; compile again$"):
        check_contents(bundle)


@pytest.mark.parametrize("reseal_sums", [False, True])
@pytest.mark.parametrize("name", ["engine/libevil.so", ".hidden", "new/folder/file"])
def test_an_extra_file_is_named(bundle, name, reseal_sums):
    (bundle / name).parent.mkdir(parents=True, exist_ok=True)
    (bundle / name).write_text("")
    if reseal_sums:
        write_checksums(bundle)
    with pytest.raises(BundleError, match=rf"^{name} is there, but is not listed in"):
        check_contents(bundle)


def test_a_link_is_refused_wherever_it_leads(bundle, tmp_path):
    outside = tmp_path / "outside"
    (bundle / "model.onnx").rename(outside)
    (bundle / "model.onnx").symlink_to(outside)
    with pytest.raises(BundleError, match=r"^model.onnx is a symbolic link; a bundle holds plain files only$"):
        check_contents(bundle)


def test_a_linked_folder_is_refused(bundle, tmp_path):
    (bundle / "engine").rename(tmp_path / "engine")
    (bundle / "engine").symlink_to(tmp_path / "engine")
    with pytest.raises(BundleError, match=r"^engine is a symbolic link"):
        check_contents(bundle)


def test_a_pipe_is_refused_and_not_waited_for(bundle):
    (bundle / "model.onnx").unlink()
    os.mkfifo(bundle / "model.onnx")
    with pytest.raises(BundleError, match=r"^model.onnx is neither a file nor a folder"):
        check_contents(bundle)


def test_a_newer_schema_is_refused_before_anything_else_of_it_is_read(bundle):
    (bundle / MANIFEST).write_text(json.dumps({"schema_version": 2, "files": "in another way"}))
    write_checksums(bundle)
    with pytest.raises(
        BundleError,
        match=r"^manifest.json is of schema 2; this version of prunec knows schemas up to 1; update prunec$",
    ):
        check_contents(bundle)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"schema_version": 1}', '{"schema_version": "x"}', "\x00"])
def test_a_manifest_that_is_none_is_told_in_one_line(bundle, text):
    (bundle / MANIFEST).write_text(text)
    write_checksums(bundle)
    with pytest.raises(BundleError, match=r"^manifest.json cannot be read: .*; compile again$"):
        check_contents(bundle)


def test_sums_that_are_right_but_written_otherwise_are_refused(bundle):
    lines = (bundle / CHECKSUMS).read_text().splitlines(keepends=True)
    (bundle / CHECKSUMS).write_text("".join([*lines[1:], lines[0]]))
    with pytest.raises(BundleError, match=r"^SHA256SUMS is not written as this tool writes it"):
        check_contents(bundle)


def test_nothing_is_deserialised_before_the_hashes_are_right(bundle):
    """What is in every file is poison to its parser; only hashes are complained of."""
    for path in files(bundle):
        if path.name != CHECKSUMS:
            path.write_bytes(b"\x80\x04poison")
    found = verify(bundle)
    assert findings(found) == {"files": "failed"}
    assert "does not have the hash" in found.checks[0].text
    assert found.exit_code == ExitCode.MODEL


def test_the_hash_of_the_sums_tells_a_careful_forgery(bundle):
    before = verify(bundle, any_machine=True)
    assert before.exit_code == 0
    (bundle / "report.md").write_text("# all is well\n")
    reseal(bundle)
    assert verify(bundle, any_machine=True).exit_code == 0
    found = verify(bundle, any_machine=True, checksums_sha256=before.checksums_sha256)
    assert findings(found) == {"files": "failed"}
    assert "not the one that was given" in found.checks[0].text


def test_no_folder_is_a_wrong_call(tmp_path):
    with pytest.raises(UsageError, match=r"none: no such folder; give a bundle"):
        verify(tmp_path / "none")
