"""The client."""

from __future__ import annotations

from . import _native, _support
from .errors import InvalidError


class _Log:
    """The logger ``segment``, of the class and of each client. ``logging`` is only imported when it is used."""

    def __get__(self, client, owner):
        return _support.logger()


class Client(_native.Client):
    """A queue of messages, and the thread that delivers them.

    Every call writes its message into the queue and returns; nothing waits for the network except :meth:`flush`,
    :meth:`shutdown` and :meth:`call`. A client can be used from all threads at once, and goes on working in a forked
    child, which has a queue of its own.

    The arguments up to ``max_rate_limit_duration`` are those of segment-analytics-python.

    Args:
        write_key: The write key of your source.
        host: Where to send: Segment in the United States. ``"eu"`` is short for the EU's host; a proxy of your own is
            given by its URL. One whose path ends in ``/batch`` or ``/b`` is the whole URL of batches.
        debug: Log every message, to the logger ``segment``, and print the log.
        max_queue_size: How many messages may wait; a call that finds the queue full returns ``(False, message)``. None,
            zero or less: as many as fit into ``queue_max_bytes``.
        send: Whether anything is sent. False: everything else happens.
        on_error: Called as ``on_error(error, messages)`` when messages are given up or dropped by ``drop_oldest``, on
            the delivery thread.
        gzip: Compress what is sent.
        max_retries: How often a request is tried again before its messages are given up. With a ``spool_dir`` nothing
            is given up, however often it fails.
        sync_mode: Every call waits until its message is settled, and raises if it was given up. With a ``spool_dir``,
            which keeps the message, it waits for ``shutdown_timeout`` at most.
        timeout: Seconds for one request; of a tuple, as requests has it, the second.
        proxies: ``{"https": "http://user:password@host:port"}``, as for requests. None: what ``HTTPS_PROXY`` says.
        thread: How many batches may be on their way at once, 64 at most. None: one at first, and up to 16 while more
            waits than one carries and the server keeps up. Several at once arrive in any order; 1 keeps it.
        upload_size: Send when this many messages wait.
        upload_interval: Send what waits this often, in seconds.
        log_handler: Added to the logger ``segment``.
        oauth_client_id, oauth_client_key, oauth_key_id: OAuth 2.0 instead of Basic authentication; the key is the
            private key in PEM.
        oauth_auth_server: The token server. None: Segment's, in the region of ``host``.
        oauth_scope: What the token allows.
        max_total_backoff_duration, max_rate_limit_duration: Checked, and without effect.
        flush_at, flush_interval: Other names for ``upload_size`` and ``upload_interval``.
        spool_dir: A folder in which accepted messages are kept until they are delivered; they survive the end of the
            process, however it ends. It should be used by the library alone. A relative path counts from the working
            directory when the client is made.
        sync: With a spool: survive a loss of power too, except for the last tenth of a second.
        queue_max_bytes: How many bytes of messages may wait.
        drop_oldest: When the queue is full, drop the oldest messages instead of refusing new ones.
        shutdown_timeout: How many seconds the end of the interpreter, or of the client, may take for delivering what
            waits.
        stateful: Remember who the user is: for apps on a user's machine, not for servers.
        ask_first: Store and send nothing before the user has answered: until :meth:`opt_in` or :meth:`opt_out` was
            called once, in this run or an earlier one with this ``spool_dir``, messages are held in memory, and nothing
            is written. ``opt_in`` releases them, ``opt_out`` or the end of the client drops them. A folder that cannot
            be read counts as a no, and so does ``DO_NOT_TRACK`` in the environment, unless it is empty or ``0``, until
            the user opts in.
        strict: Refuse what is only doubtful, not just what Segment would discard.
        before_send: Called with each message on the calling thread; returns it, or a dict to replace it, or None to
            drop it.
        on_delivery: Called with a :class:`Delivery` for messages that were delivered, given up or dropped by
            ``drop_oldest`` (then ``error.kind`` is ``"queue_full"``), on the delivery thread.
        context: Part of every message's context.
        integrations: Every message's integrations.
        device_context: Add the operating system, the device, its sandbox or container, the locale and the time zone to
            every message's context.
        lifecycle: With ``stateful``: track ``Application Installed``, ``Updated`` and ``Opened``.
        headers: A dict of headers for every request to the Tracking API.
        ca_file: A file with PEM certificates to trust besides the system's.
        access_token, profile_token: For :meth:`call` to the Public API and the Profile API.
        public_endpoint, profile_endpoint: Where these are, if not at Segment.
        former_write_key, former_endpoint: With a spool: the program's former ``write_key`` and ``host``. What waits in
            the folder for them is delivered too, with ``write_key``, to ``host``.

    Raises:
        InvalidError: A setting is wrong. It is an ``AssertionError`` and a ``ValueError``.
    """

    log = _Log()

    def __init__(
        self,
        write_key=None,
        host=None,
        debug=False,
        max_queue_size=None,
        send=True,
        on_error=None,
        gzip=False,
        max_retries=10,
        sync_mode=False,
        timeout=15,
        proxies=None,
        thread=None,
        upload_size=100,
        upload_interval=0.5,
        log_handler=None,
        oauth_client_id=None,
        oauth_client_key=None,
        oauth_key_id=None,
        oauth_auth_server=None,
        oauth_scope="tracking_api:write",
        max_total_backoff_duration=43200,
        max_rate_limit_duration=1800,
        *,
        flush_at=None,
        flush_interval=None,
        spool_dir=None,
        sync=False,
        queue_max_bytes=None,
        drop_oldest=False,
        shutdown_timeout=2.0,
        stateful=False,
        ask_first=False,
        strict=False,
        before_send=None,
        on_delivery=None,
        context=None,
        integrations=None,
        device_context=False,
        lifecycle=False,
        headers=None,
        ca_file=None,
        access_token=None,
        profile_token=None,
        public_endpoint=None,
        profile_endpoint=None,
        former_write_key=None,
        former_endpoint=None,
    ):
        if not isinstance(write_key, str):
            raise _support.must_have("write_key", "str", write_key)
        for name, value in (
            ("max_total_backoff_duration", max_total_backoff_duration),
            ("max_rate_limit_duration", max_rate_limit_duration),
        ):
            if value is None or value < 0:
                raise InvalidError(f"{name} must be a non-negative number")
        self.write_key = write_key
        self.on_error = on_error
        self.debug = debug
        self.send = send
        self.sync_mode = sync_mode
        self.host = host
        self.gzip = gzip
        self.timeout = timeout
        self.proxies = proxies
        self.max_total_backoff_duration = max_total_backoff_duration
        self.max_rate_limit_duration = max_rate_limit_duration
        self._max_queue_size = max_queue_size
        self._shutdown_timeout = shutdown_timeout
        self._spooled = spool_dir is not None
        if log_handler:
            self.log.addHandler(log_handler)
        if debug:
            import logging

            self.log.setLevel(logging.DEBUG)
            if not log_handler:
                self.log.addHandler(logging.StreamHandler())
        if on_error or on_delivery or before_send or sync_mode:
            # Callbacks read messages. A fork while the delivery thread imports would leave the child with half a
            # module.
            import json  # noqa: F401
        has_oauth = oauth_client_id and oauth_client_key and oauth_key_id
        self._open(
            {
                "write_key": write_key,
                "host": host,
                "debug": debug,
                "max_queue_size": max_queue_size if max_queue_size and max_queue_size > 0 else None,
                "dry_run": not send,
                "on_error": on_error,
                "gzip": bool(gzip),
                "thread": thread,
                "max_retries": max_retries,
                "sync_mode": sync_mode,
                "timeout": timeout[1] if isinstance(timeout, tuple) else timeout,
                "proxy": _proxy(proxies, host),
                "upload_size": upload_size if flush_at is None else None,
                "upload_interval": upload_interval if flush_interval is None else None,
                "flush_at": flush_at,
                "flush_interval": flush_interval,
                "oauth": (oauth_client_id, oauth_key_id, oauth_client_key) if has_oauth else None,
                "oauth_auth_server": oauth_auth_server,
                "oauth_scope": oauth_scope,
                "spool_dir": spool_dir,
                "sync": sync,
                "queue_max_bytes": queue_max_bytes,
                "drop_oldest": drop_oldest,
                "shutdown_timeout": shutdown_timeout,
                "stateful": stateful,
                "ask_first": ask_first,
                "strict": strict,
                "before_send": before_send,
                "on_delivery": on_delivery,
                "context": {"library": {"name": "segment-native-python"}} | (context or {}),
                "integrations": integrations,
                "device_context": device_context,
                "lifecycle": lifecycle,
                "headers": list(headers.items()) if headers else None,
                "ca_file": ca_file,
                "access_token": access_token,
                "profile_token": profile_token,
                "public_endpoint": public_endpoint,
                "profile_endpoint": profile_endpoint,
                "former_write_key": former_write_key,
                "former_endpoint": former_endpoint,
            }
        )
        _support.watch(self)

    @property
    def queue(self):
        """What waits, with the methods of ``queue.Queue``: ``qsize()``, ``empty()``, ``full()`` and ``maxsize``."""
        return _Queue(self)

    @property
    def consumers(self):
        """An empty list: the delivery thread is not Python's."""
        return []

    def flush(self, timeout=None):
        """Sends what waits, and waits until every message accepted before is settled: delivered, given up or dropped.

        Args:
            timeout: In seconds; 0 only starts the sending. None: as long as it takes; with a ``spool_dir``, which never
                gives up and keeps what is left, as long as ``shutdown_timeout``.

        Returns:
            Whether all are settled.

        Raises:
            InvalidError: It was called from a callback of this client.
        """
        if timeout is None and self._spooled:
            timeout = self._shutdown_timeout
        return self._flush(timeout, _support.is_main_thread())

    def join(self):
        """Takes no more messages, and delivers what waits for as long as ``shutdown_timeout`` allows.

        Calls after that return ``(False, message)``.
        """
        self._shutdown(None, _support.is_main_thread())

    def shutdown(self, timeout=None):
        """Takes no more messages, and delivers what waits. May be repeated.

        Args:
            timeout: In seconds. None: as long as it takes; with a ``spool_dir`` as long as ``shutdown_timeout``.

        Returns:
            Whether nothing is left. The rest is kept by the spool or, without one, given up.

        Raises:
            InvalidError: It was called from a callback of this client.
        """
        if timeout is None:
            self.flush()
        return self._shutdown(timeout, _support.is_main_thread())

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.shutdown()

    def __del__(self):
        self._end()

    async def flush_async(self, timeout=None):
        """As :meth:`flush`, on another thread: the event loop goes on."""
        return await _elsewhere(self.flush, timeout)

    def enqueue(self, message):
        """Queues a whole message.

        Args:
            message: ``{"type": "track", ...}``, as a dict, a :class:`Message` or JSON text. What it lacks of
                ``messageId``, ``timestamp`` and ``context`` is added.

        In ``sync_mode`` it waits as the calls do, but does not raise if the message is given up: ``on_error`` is told.

        Raises:
            InvalidError: Segment would discard it.
            TooLargeError: It is over Segment's limit of 32 KB.
            Error: The queue is full, or the client was shut down, or the user has opted out; ``kind`` says which.
        """
        self._enqueue(message)

    def call(self, method, path, body=None, *, api="tracking", query=None, headers=None, timeout=None, cursor=None):
        """Makes one request to one of Segment's HTTP APIs, now. An answer with any status is returned; nothing is tried
        again, and nothing is queued. Ctrl-C takes effect when it is over.

        Args:
            method: ``"GET"``, ``"POST"``, ``"PUT"``, ``"PATCH"`` or ``"DELETE"``.
            path: Relative to the API: ``"/v1/group"``.
            body: Bytes or text are sent as they are; everything else as JSON.
            api: ``"tracking"`` with the write key or OAuth, ``"public"`` with ``access_token``, ``"profile"`` with
                ``profile_token``.
            query: A dict, or text like ``"a=1&b=2"``.
            headers: A dict; they replace ours.
            timeout: Seconds for everything. None: the client's ``timeout``.
            cursor: Of a list of the Public or the Profile API, the page that another one's ``cursor`` names. None: the
                first.

        Returns:
            A :class:`Response`.

        Raises:
            InvalidError: Such a request cannot be made.
            Error: There was no answer: ``kind`` is ``network`` or ``timeout``; or the client was shut down.
        """
        if isinstance(body, str):
            body = body.encode()
        elif body is not None and not isinstance(body, (bytes, bytearray)):
            from json import dumps

            body = dumps(body).encode()
        if query is not None and not isinstance(query, str):
            from urllib.parse import urlencode

            query = urlencode(query, doseq=True)
        headers = list(headers.items()) if headers else []
        return self._call(api, method, path, query, cursor, headers, bytes(body or b""), timeout)

    async def call_async(self, method, path, body=None, **options):
        """As :meth:`call`, on another thread: the event loop goes on."""
        return await _elsewhere(lambda: self.call(method, path, body, **options))

    def pages(self, path, *, query=None, headers=None, timeout=None, api="public"):
        """All pages of a list of the Public or the Profile API, as an iterator of :class:`Response`: repeats the
        request with the ``cursor`` that each answer names. An answer that is not a success is the last.

        Raises:
            Error: As :meth:`call` does, from the iterator.
        """
        options = {"api": api, "query": query, "headers": headers, "timeout": timeout}
        cursor = None
        for _ in range(100_000):
            response = self.call("GET", path, cursor=cursor, **options)
            yield response
            before, cursor = cursor, response.cursor
            # The same cursor again would be the same page, forever.
            if cursor is None or cursor == before:
                return


class _Queue:
    def __init__(self, client):
        self._client = client

    @property
    def maxsize(self):
        return self._client._max_queue_size or 0

    def qsize(self):
        return self._client.stats().queued

    def empty(self):
        return self.qsize() == 0

    def full(self):
        return 0 < self.maxsize <= self.qsize()


async def _elsewhere(function, *args):
    from asyncio import get_running_loop

    return await get_running_loop().run_in_executor(None, function, *args)


def _proxy(proxies, host):
    """The proxy for this host."""
    if not proxies:
        return None
    scheme = "http" if (host or "").startswith("http://") else "https"
    proxy = proxies.get(scheme) or proxies.get("all")
    return f"http://{proxy}" if proxy and "://" not in proxy else proxy
