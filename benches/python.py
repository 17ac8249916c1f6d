"""Ours beside segment-analytics-python, in one run: python benches/python.py [events]

Both packages must be installed in the interpreter that runs this. A collector, which is a process of its own and
answers at once, stands in Segment's place. What is measured: the time of one `track` with 8 properties, events
delivered in a second from a loop, CPU seconds for a million of them, memory for each event that waits, and what
importing the package and making a client costs.
"""

import json
import os
import resource
import socket
import statistics
import subprocess
import sys
import time

PROPERTIES = {
    "order_id": "50314b8e9bcf000000000000", "coupon": "hasbros", "currency": "USD", "affiliation": "Google Store",
    "total": 27.5, "quantity": 2, "step": 3, "product": {"sku": "45790-32", "brand": "Hasbro"},
}  # fmt: skip
RUNS = 3


def collect(port_file):
    """Answers every request at once; nothing is read but the length."""
    import threading

    listener = socket.create_server(("127.0.0.1", 0), backlog=64)
    answer = b'HTTP/1.1 200 OK\r\nContent-Length: 17\r\n\r\n{"success": true}'

    def serve(connection):
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        room = bytearray(1 << 20)
        waiting = b""
        while True:
            while b"\r\n\r\n" not in waiting:
                got = connection.recv(65536)
                if not got:
                    return
                waiting += got
            head, _, rest = waiting.partition(b"\r\n\r\n")
            lines = {k.lower(): v for k, _, v in (line.partition(b":") for line in head.split(b"\r\n"))}
            left = int(lines.get(b"content-length", b"0")) - len(rest)
            while left > 0:
                got = connection.recv_into(room, min(left, len(room)))
                if not got:
                    return
                left -= got
            waiting = b""
            connection.sendall(answer)

    os.write(port_file, str(listener.getsockname()[1]).encode())
    os.close(port_file)
    while True:
        threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()


def client(which, host, **settings):
    if which == "peer":
        from segment.analytics import Client
    else:
        from segment_native import Client
    return Client("WRITE_KEY", host=host, **settings)


def calls(which, host):
    """The time of one call in microseconds, with nothing being sent."""
    limits = {"max_queue_size": 1_000_000} if which == "peer" else {"queue_max_bytes": 1 << 30}
    one = client(which, "http://127.0.0.1:9", upload_interval=600, upload_size=10_000_000, **limits)
    track, clock = one.track, time.perf_counter_ns
    times = []
    for n in range(100_000):
        start = clock()
        track("user-12345678", "Order Completed", PROPERTIES)
        times.append(clock() - start)
    idle = statistics.median(clock_cost() for _ in range(5))
    times = sorted(max(0, taken - idle) for taken in times)
    parts = {"p50": 0.5, "p99": 0.99, "p99.9": 0.999}
    report = {name: times[int(len(times) * part)] / 1000 for name, part in parts.items()}
    print(json.dumps(report), flush=True)
    os._exit(0)


def clock_cost():
    clock = time.perf_counter_ns
    times = []
    for _ in range(1000):
        start = clock()
        times.append(clock() - start)
    return statistics.median(times)


def delivered(which, host, events, gzip):
    """Events in a second from the first call to the last answer, and the CPU seconds of this process for a million."""
    limits = {"max_queue_size": 10_000_000} if which == "peer" else {"queue_max_bytes": 1 << 30}
    one = client(which, host, gzip=gzip, **limits)
    before = resource.getrusage(resource.RUSAGE_SELF)
    start = time.perf_counter()
    track = one.track
    for _ in range(events):
        track("user-12345678", "Order Completed", PROPERTIES)
    one.flush()
    taken = time.perf_counter() - start
    after = resource.getrusage(resource.RUSAGE_SELF)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    print(json.dumps({"events_s": events / taken, "cpu_s_per_million": cpu * 1e6 / events}), flush=True)


def waiting(which, host):
    """Bytes for each of 100,000 events that wait."""
    limits = {"max_queue_size": 1_000_000} if which == "peer" else {"queue_max_bytes": 1 << 30}
    one = client(which, "http://127.0.0.1:9", upload_interval=600, upload_size=10_000_000, **limits)
    for _ in range(100):
        one.track("user-12345678", "Order Completed", PROPERTIES)
    before = resident()
    for _ in range(100_000):
        one.track("user-12345678", "Order Completed", PROPERTIES)
    print(json.dumps({"bytes_per_event": (resident() - before) / 100_000}), flush=True)
    os._exit(0)


def resident():
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * resource.getpagesize()


def start(which):
    """Milliseconds from the start of a process to a client, over the bare interpreter; neither is cleared up at its
    end."""
    module = "segment.analytics" if which == "peer" else "segment_native"
    programs = ("import os; os._exit(0)", f"from {module} import Client; import os; Client('k'); os._exit(0)")
    best = []
    for program in programs:
        times = []
        for _ in range(15):
            begun = time.perf_counter()
            subprocess.run([sys.executable, "-c", program], check=True)
            times.append(time.perf_counter() - begun)
        best.append(statistics.median(times))
    return {"import_and_client_ms": (best[1] - best[0]) * 1000}


def child(*arguments):
    done = subprocess.run([sys.executable, __file__, *map(str, arguments)], capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


def main(events):
    read, write = os.pipe()
    collector = subprocess.Popen([sys.executable, __file__, "collect", str(write)], pass_fds=[write])
    os.close(write)
    host = "http://127.0.0.1:" + os.read(read, 100).decode()
    rows = []
    try:
        for run in range(RUNS):
            for which in ("ours", "peer"):
                count = events if which == "ours" else events // 20
                found = {f"track {name}, us": value for name, value in child("calls", which, host).items()}
                for gzip in (0, 1):
                    name = "gzip" if gzip else "plain"
                    result = child("delivered", which, host, count, gzip)
                    found[f"delivered events/s, {name}"] = result["events_s"]
                    found[f"CPU s per million, {name}"] = result["cpu_s_per_million"]
                found["bytes per waiting event"] = child("waiting", which, host)["bytes_per_event"]
                found["import and client, ms"] = start(which)["import_and_client_ms"]
                rows.append((which, found))
    finally:
        collector.terminate()
        collector.wait()
    version = sys.version.split()[0]
    print(f"Python {version}, medians of {RUNS} interleaved runs, {events} events (the peer a twentieth)")
    print("| | ours | segment-analytics-python | times |\n|---|---|---|---|")
    for name in rows[0][1]:
        ours, peer = (
            statistics.median(found[name] for who, found in rows if who == which) for which in ("ours", "peer")
        )
        times = ours / peer if "events/s" in name else peer / ours
        print(f"| {name} | {ours:,.2f} | {peer:,.2f} | {times:.1f} |")


if __name__ == "__main__":
    what, *arguments = sys.argv[1:] or ["600000"]
    if what == "collect":
        collect(int(arguments[0]))
    elif what == "calls":
        calls(*arguments)
    elif what == "delivered":
        delivered(arguments[0], arguments[1], int(arguments[2]), arguments[3] == "1")
    elif what == "waiting":
        waiting(*arguments)
    else:
        main(int(what))
