"""A local server in Segment's place, with scripted answers."""

import gzip
import json
import os
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

# In seconds, longer than anything but a hang takes.
PATIENCE = 120 * float(os.environ.get("SEGMENT_TEST_PATIENCE", "1"))


def until(is_true, *told):
    """Waits until ``is_true`` returns true."""
    end = time.monotonic() + PATIENCE
    while not is_true():
        assert time.monotonic() < end, told
        time.sleep(0.005)


class Collector:
    """Takes batches. ``script`` has the answers to the next requests, as (status, headers), or an event to wait
    for first; after those the answer is 200."""

    def __init__(self):
        self.script = []
        self.requests = []
        self.messages = []
        self.pages = {}
        self.tunnels = []
        self.holds = []
        self.held = 0
        collector = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                headers = {name.lower(): value for name, value in self.headers.items()}
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                if self.headers.get("Content-Encoding") == "gzip":
                    body = gzip.decompress(body)
                answer = collector.script.pop(0) if collector.script else (200, {})
                if isinstance(answer, threading.Event):
                    collector.held += 1
                    answer.wait()
                    answer = (200, {})
                status, more = answer
                batch = json.loads(body) if body else {}
                collector.requests.append((self.path, headers, batch))
                if status == 200 and "batch" in batch:
                    collector.messages.extend(batch["batch"])
                self.answer(status, more, b'{"success": true}')

            def do_GET(self):
                headers = {name.lower(): value for name, value in self.headers.items()}
                collector.requests.append((self.path, headers, None))
                status, body = collector.pages.get(self.path, (404, b"{}"))
                self.answer(status, {}, body)

            def do_CONNECT(self):
                # A proxy that also plays the server at the other end.
                collector.tunnels.append(self.path)
                self.send_response(200)
                self.end_headers()

            def answer(self, status, headers, body):
                try:
                    self.send_response(status)
                    for name, value in headers.items():
                        self.send_header(name, value)
                    self.send_header("Content-Length", str(len(body)))
                    self.end_headers()
                    self.wfile.write(body)
                except OSError:
                    pass  # the client has gone

            def log_message(self, *_):
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 64

            def handle_error(self, *_):
                pass  # the client was killed

        self.server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True)
        self.thread.start()

    def events(self):
        """The events, or types, of the messages that were taken, each message once."""
        taken = {message["messageId"]: message for message in self.messages}
        return sorted(message.get("event", message["type"]) for message in taken.values())

    def wait_for(self, count):
        """Waits until ``count`` different messages were taken; returns the messages."""
        until(lambda: len({m["messageId"] for m in self.messages}) >= count, count, self.messages)
        return self.messages

    def hold(self):
        """The next request gets no answer before the event that this returns is set, or the test is over."""
        event = threading.Event()
        self.holds.append(event)
        self.script.append(event)
        return event

    def close(self):
        for event in self.holds:
            event.set()
        self.server.shutdown()
        self.server.server_close()
