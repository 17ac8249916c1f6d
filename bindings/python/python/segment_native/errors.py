"""What calls raise."""


class Error(Exception):
    """Why a call failed, or why messages were given up.

    ``kind`` is one word that a program can act on: ``invalid``, ``too_large``, ``queue_full``, ``closed``, ``timeout``,
    ``network``, ``rejected``, ``storage``, ``opted_out`` or ``internal``.
    """

    def __init__(self, message, kind="invalid"):
        super().__init__(message)
        self.message = message
        self.kind = kind

    def __reduce__(self):
        return (type(self), (self.message, self.kind))


class InvalidError(Error, AssertionError, ValueError):
    """An argument is wrong, or Segment would accept the message and then silently discard it.

    It is an ``AssertionError`` because that is what segment-analytics-python raises.
    """


class TooLargeError(Error, RuntimeError):
    """A message is over Segment's limit of 32 KB."""


class APIError(Error):
    """Segment answered with an error, and the messages were given up. ``status`` is the HTTP status."""

    def __init__(self, message, kind="rejected", status=None):
        super().__init__(message, kind)
        self.status = status
        self.code = kind

    def __reduce__(self):
        return (type(self), (self.message, self.kind, self.status))


class InternalError(Error, RuntimeError):
    """A bug in the library, contained."""
