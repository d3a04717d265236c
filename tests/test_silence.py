import ctypes
import os

from toolchain.silence import silent_stdout


def test_what_c_holds_back_in_its_buffer_goes_nowhere_too(capfd):
    with silent_stdout():
        ctypes.CDLL(None).printf(b"noise")
    ctypes.CDLL(None).fflush(None)
    assert capfd.readouterr().out == ""


def test_what_native_code_prints_goes_nowhere_and_stdout_comes_back(capfd):
    os.write(1, b"before ")
    with silent_stdout():
        os.write(1, b"noise")
    os.write(1, b"after")
    assert capfd.readouterr().out == "before after"
