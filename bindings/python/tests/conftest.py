import logging
import os
import signal
import subprocess
import sys
import textwrap

import pytest
import segment_native
from collector import PATIENCE, Collector

# A shell that runs this in the background has Ctrl-C ignored, and the programs that we start would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)

# A proxy of the environment would get in between the client and the local server.
for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
    os.environ.pop(name, None)
    os.environ.pop(name.upper(), None)


@pytest.fixture
def collector():
    collector = Collector()
    yield collector
    collector.close()


@pytest.fixture
def make(collector):
    """Makes clients that send to the collector, and ends them."""
    clients = []

    def make(write_key="testsecret", **settings):
        settings.setdefault("host", collector.url)
        settings.setdefault("upload_interval", 0.05)
        clients.append(segment_native.Client(write_key, **settings))
        return clients[-1]

    yield make
    for client in clients:
        client.shutdown(0)


@pytest.fixture
def run(collector, tmp_path):
    """Runs a program in its own interpreter, whose output must not show a crash."""

    def run(program, *args, expect=0, prelude=True):
        path = tmp_path / "program.py"
        head = f"import segment_native\nURL, PATIENCE = {collector.url!r}, {PATIENCE}\n" if prelude else ""
        path.write_text(head + textwrap.dedent(program))
        command = [sys.executable, "-X", "faulthandler", str(path), *args]
        done = subprocess.run(command, capture_output=True, text=True, timeout=2 * PATIENCE)
        assert "Fatal Python error" not in done.stderr and "panicked" not in done.stderr, done.stderr
        assert "Traceback" not in done.stderr or expect != 0, done.stderr
        if expect is not None:
            assert done.returncode == expect, (done.returncode, done.stdout, done.stderr)
        return done

    return run


@pytest.fixture
def fresh_module():
    """The module with its own settings, and no default client."""
    before = {name: value for name, value in vars(segment_native).items() if not name.startswith("_")}
    segment_native.default_client = None
    yield segment_native
    if segment_native.default_client:
        segment_native.default_client.shutdown(0)
    for name, value in before.items():
        setattr(segment_native, name, value)
    segment_native.default_client = None


@pytest.fixture(autouse=True)
def same_logger():
    logger = logging.getLogger("segment")
    level, handlers = logger.level, list(logger.handlers)
    yield
    logger.setLevel(level)
    logger.handlers[:] = handlers
