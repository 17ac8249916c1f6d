"""Forks, children of every kind, and the ends of processes."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
from collector import PATIENCE, until

HERE = Path(__file__).parent
EXAMPLES = HERE.parent / "examples"
needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")


class TestExit:
    def test_without_shutdown_everything_is_delivered(self, run, collector):
        run("""
            client = segment_native.Client("k", host=URL, shutdown_timeout=PATIENCE)
            for n in range(500):
                client.track("u", f"E{n}", {"n": n})
        """)
        assert len(set(collector.events())) == 500

    def test_of_the_default_client_too(self, run, collector):
        run("""
            segment_native.write_key = "k"
            segment_native.host = URL
            segment_native.shutdown_timeout = PATIENCE
            segment_native.track("u", "E")
        """)
        assert collector.events() == ["E"]

    def test_with_shutdown_everything_is_delivered(self, run, collector):
        run("""
            client = segment_native.Client("k", host=URL, shutdown_timeout=PATIENCE)
            client.track("u", "E")
            assert client.shutdown() is True
        """)
        assert collector.events() == ["E"]

    @pytest.mark.parametrize("end, status", [("sys.exit(3)", 3), ("raise SystemExit", 0), ("1 / 0", 1)])
    def test_however_the_program_ends(self, run, collector, end, status):
        run(f"""
            import sys
            client = segment_native.Client("k", host=URL, shutdown_timeout=PATIENCE)
            client.track("u", "E")
            {end}
        """, expect=status)
        assert collector.events() == ["E"]

    def test_sys_exit_in_a_thread_ends_the_thread_alone(self, run, collector):
        run("""
            import sys, threading
            client = segment_native.Client("k", host=URL, shutdown_timeout=PATIENCE)
            def work():
                client.track("u", "Thread")
                sys.exit(1)
            thread = threading.Thread(target=work)
            thread.start()
            thread.join()
            client.track("u", "Main")
        """)
        assert collector.events() == ["Main", "Thread"]

    def test_takes_as_long_as_was_said_and_no_longer(self, run, collector):
        collector.hold()
        done = run("""
            client = segment_native.Client("k", host=URL, shutdown_timeout=0.5, upload_interval=0.05,
                                           on_error=lambda error, messages: print(error.kind, len(messages)))
            client.track("u", "E")
        """)
        assert done.stdout == "timeout 1\n"

    def test_keeps_the_rest_in_the_spool(self, run, collector, tmp_path):
        program = """
            import sys
            client = segment_native.Client("k", host=URL, spool_dir=sys.argv[1], shutdown_timeout=0.2)
            for event in sys.argv[2:]:
                client.track("u", event)
            if not sys.argv[2:]:
                client.flush(PATIENCE)
        """
        collector.script = [(503, {})] * 50
        run(program, str(tmp_path / "spool"), "A", "B")
        assert collector.events() == []
        collector.script = []
        run(program, str(tmp_path / "spool"))
        assert collector.events() == ["A", "B"]

    def test_what_is_in_the_spool_for_a_former_source_goes_to_this_one(self, run, collector, tmp_path):
        spool = str(tmp_path / "spool")
        run("""
            import os, signal, sys
            client = segment_native.Client("OLD", host="http://127.0.0.1:9", spool_dir=sys.argv[1])
            client.track("u", "Before", message_id="kept")
            os.kill(os.getpid(), signal.SIGKILL)
        """, spool, expect=-signal.SIGKILL)
        run("""
            import sys
            client = segment_native.Client("NEW", host=URL, spool_dir=sys.argv[1], former_write_key="OLD",
                                           former_endpoint="http://127.0.0.1:9")
            client.flush(PATIENCE)
            assert client.stats().recovered == 1
        """, spool)
        assert [message["messageId"] for message in collector.messages] == ["kept"]
        assert [batch["writeKey"] for _, _, batch in collector.requests] == ["NEW"]

    def test_callbacks_that_run_meanwhile_are_waited_for(self, run, collector):
        done = run("""
            import time
            def told(delivery):
                time.sleep(0.3)
                print("told", flush=True)
            client = segment_native.Client("k", host=URL, shutdown_timeout=PATIENCE, on_delivery=told)
            client.track("u", "E")
        """)
        assert done.stdout == "told\n"

    def test_daemon_threads_that_go_on_do_no_harm(self, run):
        for _ in range(5):
            run("""
                import logging, threading, time
                from datetime import date
                logging.disable()
                client = segment_native.Client("k", host=URL, shutdown_timeout=PATIENCE, upload_interval=0.01,
                                               on_delivery=lambda delivery: None)
                def forever():
                    while True:
                        client.track("u", "E", {"list": [1, 2, {"a": "b"}], "when": date(2026, 1, 2), "lost": 1j})
                def flush_forever():
                    while True:
                        client.flush(0.01)
                for target in (forever, forever, flush_forever):
                    threading.Thread(target=target, daemon=True).start()
                time.sleep(0.2)
            """)

    def test_what_atexit_runs_later_finds_a_client_that_says_no(self, run, collector):
        done = run("""
            import atexit, sys
            atexit._clear()
            atexit.register(lambda: print(client.track("u", "Late")[0]))
            segment_native._support.register(segment_native._support._at_exit)
            client = segment_native.Client("k", host=URL, shutdown_timeout=PATIENCE)
            client.track("u", "E")
        """)
        assert done.stdout == "False\n" and collector.events() == ["E"]

    def test_a_client_in_a_global_cycle_is_ended_too(self, run, collector):
        run("""
            class Owner:
                def __init__(self):
                    self.client = segment_native.Client("k", host=URL, shutdown_timeout=PATIENCE, on_error=self.failed)
                    self.me = self
                def failed(self, *args): pass
            Owner().client.track("u", "E")
        """)
        assert collector.events() == ["E"]

    def test_ctrl_c_ends_a_flush(self, collector, tmp_path):
        collector.hold()
        program = (
            "import segment_native, sys\n"
            f"client = segment_native.Client('k', host={collector.url!r}, upload_interval=0.01)\n"
            "try:\n    client.track('u', 'E')\n    client.flush()\n"
            "except KeyboardInterrupt:\n    print('interrupted', flush=True)\n"
            "client.shutdown(0)\n"
        )
        pipe = subprocess.PIPE
        child = subprocess.Popen([sys.executable, "-c", program], stdout=pipe, stderr=pipe, text=True)
        until(lambda: collector.held)
        child.send_signal(signal.SIGINT)
        out, error = child.communicate(timeout=PATIENCE)
        assert out == "interrupted\n" and child.returncode == 0, error


class TestKill:
    def test_what_was_accepted_survives_sigkill(self, run, collector, tmp_path):
        spool = str(tmp_path / "spool")
        program = """
            import os, signal, sys
            client = segment_native.Client("k", host="http://127.0.0.1:9", spool_dir=sys.argv[1], upload_interval=0.01)
            for n in range(int(sys.argv[2])):
                assert client.track("u", f"{sys.argv[3]}-{n}", {"n": n})[0]
            os.kill(os.getpid(), signal.SIGKILL)
        """
        for life in range(5):
            run(program, spool, str(1 + life * 400), str(life), expect=-signal.SIGKILL)
        run("""
            import sys
            client = segment_native.Client("k", host="http://127.0.0.1:9", spool_dir=sys.argv[1])
            assert client.stats() and client.flush(0) in (True, False)
        """, spool)
        # Another address is another queue: the messages belong to the one they were meant for.
        files = Path(spool).glob("segment-native/*/*.jsonl")
        # A process killed while it took over what another had left leaves it twice, under the same ids.
        waiting = {found for path in files for found in re.findall(rb'"messageId":"([^"]+)"', path.read_bytes())}
        assert len(waiting) == sum(1 + life * 400 for life in range(5))

    def test_and_is_delivered_by_the_next_run(self, run, collector, tmp_path):
        spool = str(tmp_path / "spool")
        collector.script = [(503, {})] * 1000
        run("""
            import os, signal, sys
            client = segment_native.Client("k", host=URL, shutdown_timeout=PATIENCE, spool_dir=sys.argv[1])
            for n in range(3000):
                client.track("u", f"E{n}")
            os.kill(os.getpid(), signal.SIGKILL)
        """, spool, expect=-signal.SIGKILL)
        collector.script = []
        run("""
            import sys, time
            client = segment_native.Client("k", host=URL, shutdown_timeout=PATIENCE, spool_dir=sys.argv[1])
            until = time.monotonic() + PATIENCE
            while client.stats().recovered < 3000 and time.monotonic() < until:
                time.sleep(0.01)
            assert client.flush(PATIENCE)
        """, spool)
        assert len(set(collector.events())) == 3000


@needs_fork
class TestFork:
    def test_parent_and_child_both_deliver_their_own(self, run, collector):
        run("""
            import os
            client = segment_native.Client("k", host=URL, shutdown_timeout=PATIENCE, upload_interval=0.01)
            client.track("u", "Before")
            child = os.fork()
            client.track("u", "Child" if child == 0 else "Parent")
            if child:
                assert os.waitpid(child, 0)[1] == 0
        """)
        assert sorted(collector.events()) == ["Before", "Child", "Parent"]
        ids = [message["messageId"] for message in collector.messages]
        assert len(ids) == len(set(ids))

    def test_a_child_that_leaves_by_os_exit_delivers_what_it_flushes(self, run, collector):
        run("""
            import os
            client = segment_native.Client("k", host=URL, shutdown_timeout=PATIENCE)
            children = []
            for n in range(8):
                child = os.fork()
                if child == 0:
                    client.track("u", f"Child {n}")
                    os._exit(0 if client.flush(PATIENCE) else 1)
                children.append(child)
            assert [os.waitpid(child, 0)[1] for child in children] == [0] * 8
        """)
        assert len(collector.events()) == 8

    def test_forks_while_threads_call_and_callbacks_run(self, run, collector):
        run("""
            import os, threading, time
            told = []
            slowly = lambda delivery: told.append(time.sleep(0.002))
            client = segment_native.Client("k", host=URL, shutdown_timeout=PATIENCE, upload_interval=0.001,
                                           on_delivery=slowly)
            stop = False
            def work():
                while not stop:
                    client.track("u", "Busy", {"a": [1, 2, 3]})
                    time.sleep(0.0005)
            threads = [threading.Thread(target=work) for _ in range(3)]
            for thread in threads: thread.start()
            children = []
            for n in range(60):
                child = os.fork()
                if child == 0:
                    client.track("u", f"Child {n}")
                    good = client.flush(PATIENCE) and len(told) > 0
                    client.shutdown(PATIENCE)
                    os._exit(0 if good else 1)
                children.append(child)
                time.sleep(0.003)
            stop = True
            for thread in threads: thread.join()
            statuses = [os.waitpid(child, 0)[1] for child in children]
            assert statuses == [0] * 60, statuses
        """)
        assert len({e for e in collector.events() if e.startswith("Child")}) == 60

    def test_a_grandchild_of_a_stateful_spooled_client(self, run, collector, tmp_path):
        run("""
            import os, sys
            client = segment_native.Client("k", host=URL, shutdown_timeout=PATIENCE, spool_dir=sys.argv[1],
                                           stateful=True, before_send=lambda m: m)
            client.identify("u")
            child = os.fork()
            if child == 0:
                client.track(event="Child")
                grandchild = os.fork()
                if grandchild == 0:
                    client.track(event="Grandchild")
                else:
                    assert os.waitpid(grandchild, 0)[1] == 0
            else:
                assert os.waitpid(child, 0)[1] == 0
                client.track(event="Parent")
        """, str(tmp_path / "spool"))
        assert collector.events() == ["Child", "Grandchild", "Parent", "identify"]
        assert {m.get("userId") for m in collector.messages} == {"u"}


WORK = f"PATIENCE = {PATIENCE}" + """
import multiprocessing, sys
import segment_native

client = None

def get():
    global client
    client = client or segment_native.Client("k", host=sys.argv[1], shutdown_timeout=PATIENCE)
    return client

def work(n):
    get().track("u", f"Child {n}")

if sys.argv[2] == "preload":
    get()

if __name__ == "__main__":
    context = multiprocessing.get_context(sys.argv[3])
    if sys.argv[2] == "used":
        get().track("u", "Parent")
    if sys.argv[4] == "process":
        processes = [context.Process(target=work, args=(n,)) for n in range(4)]
        for process in processes: process.start()
        for process in processes: process.join()
        assert all(process.exitcode == 0 for process in processes), processes
    elif sys.argv[4] == "pool":
        pool = context.Pool(2)
        pool.map(work, range(4))
        pool.close()
        pool.join()
    else:
        from concurrent.futures import ProcessPoolExecutor
        with ProcessPoolExecutor(2, mp_context=context) as pool:
            list(pool.map(work, range(4)))
"""


# With an executor it makes no difference whether the parent has used its client.
CLIENTS = [(kind, client) for kind in ("process", "pool", "executor") for client in ("preload", "used", "child")]
CLIENTS.remove(("executor", "used"))


@needs_fork
@pytest.mark.parametrize("kind, client", CLIENTS)
@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_children_of_multiprocessing_lose_nothing(run, collector, kind, method, client):
    run(WORK, collector.url, client, method, kind, prelude=False)
    assert [e for e in collector.events() if e != "Parent"] == [f"Child {n}" for n in range(4)]
    assert ("Parent" in collector.events()) == (client == "used")


@needs_fork
@pytest.mark.parametrize("kind", ["process", "pool"])
def test_children_of_billiard_which_is_celerys_lose_nothing(run, collector, kind):
    pytest.importorskip("billiard")
    program = WORK.replace("import multiprocessing, sys", "import billiard as multiprocessing, sys")
    run(program, collector.url, "used", "fork", kind, prelude=False)
    assert collector.events() == [f"Child {n}" for n in range(4)] + ["Parent"]


@needs_fork
class TestLocks:
    def test_the_default_client_can_be_made_in_a_child_while_the_parent_makes_it(self, run, collector):
        run("""
            import os, threading
            locked, forked = threading.Event(), threading.Event()
            def hold():
                with segment_native._support.LOCK:
                    locked.set()
                    forked.wait()
            threading.Thread(target=hold).start()
            locked.wait()
            segment_native.write_key, segment_native.host = "k", URL
            child = os.fork()
            if child == 0:
                segment_native.track("u", "Child")
                os._exit(0 if segment_native.flush(PATIENCE) else 1)
            _, status = os.waitpid(child, 0)
            forked.set()
            assert status == 0
        """)
        assert collector.events() == ["Child"]

    def test_a_fork_while_the_delivery_thread_begins_finds_nothing_half_made(self, run, collector):
        for _ in range(12):
            run(WORK, collector.url, "used", "fork", "process", prelude=False)
        assert len(collector.events()) == 60

    def test_many_clients_are_watched_once(self, run):
        run("""
            import multiprocessing.util as util
            clients = [segment_native.Client("k", send=False) for _ in range(5)]
            ours = [key for key in util._afterfork_registry if key[2].__module__ == "segment_native._support"]
            assert len(ours) == 1, ours
        """)


@needs_fork
class TestGunicorn:
    @pytest.mark.parametrize(
        "options",
        [["--preload", "-w", "3"], ["-w", "2"], ["--preload", "-w", "2", "-k", "gthread", "--threads", "4"]],
    )
    def test_workers_deliver(self, run, collector, tmp_path, options):
        pytest.importorskip("gunicorn")
        pytest.importorskip("flask")
        # It is given a listening socket: no other process can take the port, and no request comes too early.
        listener = socket.create_server(("127.0.0.1", 0))
        port = listener.getsockname()[1]
        log = open(tmp_path / "log", "w")
        bind = f"fd://{listener.fileno()}"
        spool = str(tmp_path / "spool")
        server = subprocess.Popen(
            [sys.executable, "-m", "gunicorn", "-b", bind, "--chdir", str(EXAMPLES), *options, "shop:app"],
            stdout=log, stderr=log, pass_fds=[listener.fileno()],
            env={**os.environ, "SEGMENT_HOST": collector.url, "SEGMENT_WRITE_KEY": "k", "SEGMENT_SPOOL": spool},
        )  # fmt: skip
        listener.close()
        try:
            workers = set()
            for n in range(40):
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/buy/{n}", timeout=PATIENCE) as answer:
                    workers.add(answer.read())
            server.send_signal(signal.SIGTERM)
            assert server.wait(PATIENCE) == 0
        finally:
            server.kill()
            server.wait()
            log.close()
            text = (tmp_path / "log").read_text()
        assert "Traceback" not in text and "Fatal" not in text, text
        assert len(workers) >= 1
        # What a worker had no time to deliver is in the spool.
        run("segment_native.Client('k', host=URL, shutdown_timeout=PATIENCE, spool_dir=%r).flush(PATIENCE)" % spool)
        bought = {m["properties"]["item"] for m in collector.messages if m["event"] == "Order Completed"}
        assert bought == set(range(40)), text
        started = {m["properties"]["process"] for m in collector.messages if m["event"] == "Shop Opened"}
        assert started, "what was tracked before the fork"


@pytest.mark.skipif(os.name != "posix", reason="the signal is sent by os.kill")
class TestInterrupt:
    @pytest.mark.parametrize("wait", ["shutdown(9 * PATIENCE)", "join()", "flush(9 * PATIENCE)"])
    def test_is_heard_while_waiting(self, run, collector, wait):
        collector.hold()
        run(f"""
            import os, signal, threading
            client = segment_native.Client("k", host=URL, upload_interval=0.01, shutdown_timeout=9 * PATIENCE)
            client.track("u", "E")
            try:
                threading.Timer(0.3, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
                client.{wait}
            except KeyboardInterrupt:
                os._exit(0)
            os._exit(1)
        """)


class TestInspect:
    def test_the_real_server_sees_every_event(self, run, tmp_path):
        binary = HERE.parents[2] / "target" / "debug" / ("segment.exe" if os.name == "nt" else "segment")
        if not binary.exists():
            assert not os.environ.get("CI"), "in CI nothing may be skipped: cargo build -p segment-cli makes segment"
            print("SKIPPED: segment inspect: cargo build -p segment-cli makes it", file=sys.__stderr__)
            pytest.skip("there is no segment: cargo build -p segment-cli")
        server = subprocess.Popen(
            [binary, "inspect", "--port", "0"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        try:
            url = re.search(r"http://[0-9.:]+", server.stdout.readline())[0]
            run("""
                import sys
                client = segment_native.Client("k", host=sys.argv[1])
                for n in range(20):
                    client.track("u", f"Event {n:02}", {"n": n})
                assert client.flush(PATIENCE) and client.stats().delivered == 20
            """, url)
        finally:
            server.send_signal(signal.SIGINT)
            said, _ = server.communicate(timeout=PATIENCE)
        assert [n for n in range(20) if said.count(f"Event {n:02}") != 1] == [], said


class TestSubinterpreters:
    def test_are_refused_clearly(self, run):
        modules = {(3, 10): "_xxsubinterpreters", (3, 11): "_xxsubinterpreters", (3, 12): "_xxsubinterpreters"}
        module = modules.get(sys.version_info[:2], "_interpreters")
        done = run(f"""
            import {module} as interpreters
            which = interpreters.create()
            text = ("try:\\n import segment_native\\n"
                    "except ImportError as error:\\n print('refused:', error, flush=True)")
            interpreters.run_string(which, text)
            interpreters.destroy(which)
        """)
        assert done.stdout.startswith("refused:") and "subinterpreter" in done.stdout, done.stdout


class TestExamples:
    @pytest.mark.parametrize("name", ["hello", "call"])
    def test_run(self, collector, name):
        program = [sys.executable, EXAMPLES / f"{name}.py", collector.url]
        done = subprocess.run(program, capture_output=True, text=True, timeout=PATIENCE)
        assert done.returncode == 0, done.stderr
        assert collector.requests

    def run(self, name, *args):
        program = [sys.executable, EXAMPLES / f"{name}.py", *args]
        done = subprocess.run(program, capture_output=True, text=True, timeout=PATIENCE)
        assert done.returncode == 0, done.stderr
        return done

    def test_callbacks(self, collector):
        *warnings, last = self.run("callbacks", collector.url).stdout.splitlines()
        assert any("revenue" in line for line in warnings) and all(line.startswith("WARNING: ") for line in warnings)
        assert last == "2 delivered"
        order, signed_out = collector.messages
        assert order["properties"] == {"token": "********", "revenue": "19.99"}
        assert signed_out["event"] == "Signed Out"

    def test_errors(self, collector):
        first, second, *rest = self.run("errors", collector.url).stdout.splitlines()
        assert first == "no client: endpoint must have a port between 1 and 65535, or none"
        assert second.startswith("invalid: user_id or anonymous_id must")
        assert rest == ['invalid: properties: "price": not a finite number', "accepted", "delivered"]
        assert [message["properties"] for message in collector.messages] == [{"price": 19.99}]
        collector.script = [(401, {})]
        last = self.run("errors", collector.url).stdout.splitlines()[-1]
        assert last.startswith("not delivered: Segment answered with status 401"), last

    def test_at_exit(self, collector, tmp_path):
        collector.script = [(503, {})] * 50
        done = self.run("at_exit", collector.url, tmp_path, "0.5")
        assert done.stdout == "0 delivered, 2 kept\n" and "not all is delivered yet: " in done.stderr, done
        collector.script = []
        done = self.run("at_exit", collector.url, tmp_path, str(PATIENCE))
        assert done.stdout == "4 delivered, 0 kept\n", done
        assert collector.events() == ["Document Opened"] * 2 + ["Document Saved"] * 2


def test_importing_loads_little(run):
    done = run("""
        import sys
        client = segment_native.Client("k", send=False)
        client.track("u", "E", {"a": 1})
        heavy = {"logging", "json", "asyncio", "datetime", "decimal", "uuid", "threading", "typing", "urllib",
                 "requests", "inspect"}
        print(sorted(heavy & set(sys.modules)))
    """)
    assert done.stdout == "[]\n"
