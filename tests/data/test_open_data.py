import re

import pytest

from toolchain.data.open_data import open_data
from toolchain.errors import DataError


def test_a_missing_path_is_refused(tmp_path, classifier):
    path = tmp_path / "val"
    with pytest.raises(DataError, match=f"{path}: no such file or folder; check --data"):
        open_data(path, classifier)


def test_another_kind_of_file_is_refused_with_the_kinds(tmp_path, classifier):
    path = tmp_path / "val.csv"
    path.touch()
    with pytest.raises(
        DataError, match=re.escape(f"{path}: not a kind of data; give a folder of images, or .npz or .py")
    ):
        open_data(path, classifier)
