"""The stubs: they match the module, and pass a strict type checker."""

import subprocess
import sys
from pathlib import Path

import pytest
from collector import PATIENCE

pytest.importorskip("mypy")
HERE = Path(__file__).parent


def mypy(*arguments, cwd):
    command = [sys.executable, "-m", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, cwd=cwd, timeout=5 * PATIENCE)
    return done.returncode, done.stdout + done.stderr


def test_a_program_passes_mypy_strict(tmp_path):
    status, said = mypy("mypy", "--strict", str(HERE / "sample.py"), cwd=tmp_path)
    assert status == 0, said


def test_a_wrong_program_does_not(tmp_path):
    (tmp_path / "wrong.py").write_text(
        "import segment_native\n"
        "segment_native.track('u', 7)\n"
        "segment_native.Client('k', upload_size='many')\n"
        "segment_native.Client('k').track('u', 'E', [1])\n"
    )
    status, said = mypy("mypy", "--strict", "wrong.py", cwd=tmp_path)
    assert status == 1 and said.count("error:") == 3, said


def test_the_stubs_match_the_module(tmp_path):
    allow = tmp_path / "allow"
    allow.write_text(
        # What starts with an underscore is between the package and its native half.
        "segment_native._support.*\n"
        "segment_native._native.*\\._.*\n"
        "segment_native._native._.*\n"
        "segment_native._native.Id\n"
        "segment_native.client._.*\n"
        "segment_native._client\n"
        "segment_native.__getattr__\n"
        ".*__reduce__\n"
        # It is one for the class and its instances.
        "segment_native(.client)?.Client.log\n"
    )
    options = ("--allowlist", str(allow), "--ignore-unused-allowlist")
    status, said = mypy("mypy.stubtest", "segment_native", *options, cwd=tmp_path)
    assert status == 0, said
