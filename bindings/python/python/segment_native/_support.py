"""What is easier to write in Python than in the native module. None of it is on the path of an ordinary call."""

import sys
from _thread import RLock
from atexit import register
from os import getpid

from _collections_abc import Mapping

from . import _native, errors

#: Held while the default client is made.
LOCK = RLock()

_clients: dict = {}
_warned: set = set()
_watches_children = False
_finalizes_in = None


def error(kind, message, status):
    """The exception for an error of the core."""
    if status is not None or kind == "rejected":
        return errors.APIError(message, kind, status)
    if kind == "invalid":
        return errors.InvalidError(message, kind)
    if kind == "too_large":
        return errors.TooLargeError(message, kind)
    if kind == "internal":
        return errors.InternalError(message, kind)
    return errors.Error(message, kind)


def log(level, line):
    """Writes a line to the logger ``segment``, also on the delivery thread.

    Nothing is imported here: a fork in the middle of an import would leave the child with half a module. Where
    ``logging`` was never imported it was never configured, and would write warnings and errors to ``sys.stderr``.
    """
    get = getattr(sys.modules.get("logging"), "getLogger", None)
    if get is not None:
        getattr(get("segment"), level)("%s", line)
    elif level in ("warning", "error") and sys.stderr is not None:
        sys.stderr.write(line + "\n")


def logger():
    """The logger ``segment``."""
    import logging

    return logging.getLogger("segment")


def queueing(message):
    """What is logged about each message when debugging."""
    logger().debug("queueing: %s", message)


def must_have(name, kind, given):
    """The error of an argument that has the wrong type."""
    if kind == "datetime":
        from datetime import datetime as expected
    else:
        expected = {"str": str, "dict": dict}[kind]
    return errors.InvalidError(f"{name} must have {expected}, got: {given}")


def check_id(name, given):
    """An id is a string or a number."""
    from numbers import Number

    if not isinstance(given, (Number, str)):
        raise errors.InvalidError(f"{name} must have {(Number, str)}, got: {given}")


_NO_NUMBERS = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}


def key(given):
    """The text of a key that is not a string, as JSON has it."""
    if given is None:
        return "null"
    if isinstance(given, bool):
        return "true" if given else "false"
    if isinstance(given, int):
        return int.__repr__(given)
    if isinstance(given, float):
        return _NO_NUMBERS.get(float.__repr__(given)) or float.__repr__(given)
    raise TypeError(f"keys must be str, int, float, bool or None, not {type(given).__name__}")


def unsupported(name, given):
    """Warns that a value was left out."""
    logger().warning(
        'Dictionary values must be serializeable to JSON "%s" value %s of type %s is unsupported.',
        name,
        given,
        type(given),
    )


def naive(time):
    """Adds to a datetime without a zone the one that segment-analytics-python guesses."""
    from datetime import datetime, timezone

    if "naive" not in _warned:
        _warned.add("naive")
        logger().warning("a datetime without a zone: a recent one is read as local time, an older one as UTC")
    if minus(datetime.now(), time).total_seconds() < 5:
        return time.astimezone()
    return time.replace(tzinfo=timezone.utc)


def minus(later, earlier):
    """The ``timedelta`` between two datetimes. Those of other libraries have a subtraction of their own."""
    from datetime import datetime

    return datetime.__sub__(later, earlier)


def epoch():
    """1970, and a millisecond."""
    from datetime import datetime, timedelta, timezone

    return datetime(1970, 1, 1, tzinfo=timezone.utc), timedelta(milliseconds=1)


def read(json):
    """A message as a dict, with all members that segment-analytics-python gives it."""
    from json import loads

    message = loads(json)
    kind = message.get("type")
    message.setdefault("integrations", {})
    message.setdefault("userId", None)
    message.setdefault("anonymousId", None)
    if kind != "alias":
        message.setdefault("traits" if kind in ("identify", "group") else "properties", {})
    if kind in ("page", "screen"):
        message.setdefault("name", None)
        message.setdefault("category", None)
    return message


def message(json):
    """A message from its bytes, for pickle."""
    return _native.Message(json)


def is_main_thread():
    """Whether signals are handled on this thread."""
    threading = sys.modules.get("threading")
    return threading is None or threading.current_thread() is threading.main_thread()


def watch(client):
    """Makes sure that a client ends before the interpreter does."""
    from _weakref import ref

    key = id(client)
    _clients[key] = ref(client, lambda _: _clients.pop(key, None))
    _watch_child()


def _end_all():
    for reference in list(_clients.values()):
        client = reference()
        if client is not None:
            client._end()


def _at_exit():
    _end_all()
    _native._end_calls()


def _after_fork():
    # The thread that held it is the parent's.
    global LOCK
    LOCK = RLock()
    _native._after_fork()
    _watch_child()


def _watch_child():
    """Children of multiprocessing end without running atexit's functions; they run their own finalizers instead."""
    util = sys.modules.get("multiprocessing.util")
    if util is None:
        if "billiard.process" not in sys.modules:
            return
        # Celery's multiprocessing has the same finalizers, and loads them in the child.
        from multiprocessing import util
    global _watches_children
    if not _watches_children:
        _watches_children = True
        # The finalizers are cleared before a child begins, and this is called after that.
        util.register_after_fork(_end_all, lambda _: _finalize(util))
    is_child = getattr(sys.modules.get("multiprocessing.process"), "_parent_process", None) is not None
    if is_child and _finalizes_in != getpid():
        _finalize(util)


def _finalize(util):
    global _finalizes_in
    _finalizes_in = getpid()
    util.Finalize(None, _end_all, exitpriority=-100)


Mapping.register(_native.Message)
register(_at_exit)
if sys.platform != "win32":
    from os import register_at_fork

    register_at_fork(after_in_child=_after_fork)
