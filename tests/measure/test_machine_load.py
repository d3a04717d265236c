import pytest

from toolchain.measure.machine_load import PRESSURE, waiting_share

TEXT = """some avg10=12.50 avg60=3.10 avg300=1.00 total=5766206968
full avg10=7.00 avg60=0.00 avg300=0.00 total=0
"""


def test_it_is_the_share_of_the_last_ten_seconds_in_which_some_process_waited(tmp_path):
    path = tmp_path / "cpu"
    path.write_text(TEXT)
    assert waiting_share(path) == pytest.approx(0.125)


@pytest.mark.parametrize("text", [None, "", "some\n", "full avg10=7.00 avg60=0.00 avg300=0.00 total=0\n"])
def test_where_the_kernel_does_not_tell_it_is_unknown(text, tmp_path):
    path = tmp_path / "cpu"
    if text is not None:
        path.write_text(text)
    assert waiting_share(path) is None


@pytest.mark.skipif(not PRESSURE.exists(), reason="this kernel keeps no pressure stall information")
def test_this_machine_tells():
    assert 0 <= waiting_share() <= 1
