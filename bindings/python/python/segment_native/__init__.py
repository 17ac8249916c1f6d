"""Segment analytics that does not lose events: a drop-in for ``segment-analytics-python``.

::

    import segment_native as analytics

    analytics.write_key = "WRITE_KEY"
    analytics.track("u-42", "Plan Upgraded", {"plan": "pro"})

The settings below are those of the client that the first call makes; after that they have no effect. For more than one
client, and for everything else, there is :class:`Client`.
"""

from __future__ import annotations

from ._native import Delivery, Message, Response, Stats, __version__
from .client import Client
from .errors import APIError, Error, InvalidError, TooLargeError

__all__ = [
    "APIError", "Address", "Client", "Company", "Delivery", "Error", "GroupTraits", "InvalidError", "Message",
    "Product", "Response", "Revenue", "Stats", "TooLargeError", "Traits", "__version__", "alias", "flush", "group",
    "identify", "join", "page", "screen", "shutdown", "track",
]  # fmt: skip

# The settings of the default client: see Client.
write_key = None
host = None
on_error = None
debug = False
log_handler = None
send = True
sync_mode = False
max_queue_size = None
gzip = False
timeout = 15
max_retries = 10
max_total_backoff_duration = 43200
max_rate_limit_duration = 1800
proxies = None
upload_size = 100
upload_interval = 0.5
flush_at = None
flush_interval = None
oauth_client_id = None
oauth_client_key = None
oauth_key_id = None
oauth_auth_server = None
oauth_scope = "tracking_api:write"
spool_dir = None
before_send = None
on_delivery = None
shutdown_timeout = 2.0

#: The client that the functions below use; the first of them to be called makes it.
default_client = None


def track(*args, **kwargs):
    """Says what the user did: see :meth:`Client.track`."""
    return (default_client or _client()).track(*args, **kwargs)


def identify(*args, **kwargs):
    """Says who the user is, and what is known about them: see :meth:`Client.identify`."""
    return (default_client or _client()).identify(*args, **kwargs)


def group(*args, **kwargs):
    """Says which company, team or account the user belongs to: see :meth:`Client.group`."""
    return (default_client or _client()).group(*args, **kwargs)


def alias(*args, **kwargs):
    """Says that the user was known by another id before: see :meth:`Client.alias`."""
    return (default_client or _client()).alias(*args, **kwargs)


def page(*args, **kwargs):
    """Says which web page the user saw: see :meth:`Client.page`."""
    return (default_client or _client()).page(*args, **kwargs)


def screen(*args, **kwargs):
    """Says which screen of an app the user saw: see :meth:`Client.screen`."""
    return (default_client or _client()).screen(*args, **kwargs)


def flush(timeout=None):
    """Waits until every message accepted before is settled; returns whether all are: see :meth:`Client.flush`."""
    return (default_client or _client()).flush(timeout)


def join():
    """Takes no more messages, and delivers what waits: see :meth:`Client.join`."""
    (default_client or _client()).join()


def shutdown(timeout=None):
    """Takes no more messages, and delivers what waits; returns whether nothing is left: see :meth:`Client.shutdown`."""
    return (default_client or _client()).shutdown(timeout)


def _client():
    """The default client, made if there is none."""
    global default_client
    with _support.LOCK:
        if not default_client:
            default_client = Client(
                write_key,
                host=host,
                debug=debug,
                max_queue_size=max_queue_size,
                send=send,
                on_error=on_error,
                gzip=gzip,
                max_retries=max_retries,
                sync_mode=sync_mode,
                timeout=timeout,
                proxies=proxies,
                upload_size=upload_size,
                upload_interval=upload_interval,
                log_handler=log_handler,
                oauth_client_id=oauth_client_id,
                oauth_client_key=oauth_client_key,
                oauth_key_id=oauth_key_id,
                oauth_auth_server=oauth_auth_server,
                oauth_scope=oauth_scope,
                max_total_backoff_duration=max_total_backoff_duration,
                max_rate_limit_duration=max_rate_limit_duration,
                flush_at=flush_at,
                flush_interval=flush_interval,
                spool_dir=spool_dir,
                before_send=before_send,
                on_delivery=on_delivery,
                shutdown_timeout=shutdown_timeout,
            )
        return default_client


def __getattr__(name):
    """Loads rarely used classes on demand."""
    if name in ("Traits", "GroupTraits", "Address", "Company", "Product", "Revenue"):
        from . import typed

        return getattr(typed, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


from . import _support  # noqa: E402
