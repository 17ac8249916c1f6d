import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, ClassVar

from typing_extensions import Self

from . import _native
from ._native import Delivery, Message, Response
from .errors import Error

class Client(_native.Client):
    log: ClassVar[logging.Logger]
    write_key: str
    host: str | None
    debug: bool
    send: bool
    on_error: Callable[[Error, list[Message]], object] | None
    gzip: bool
    sync_mode: bool
    timeout: float | tuple[float | None, float | None]
    proxies: Mapping[str, str] | None
    max_total_backoff_duration: float
    max_rate_limit_duration: float
    def __init__(
        self,
        write_key: str | None = None,
        host: str | None = None,
        debug: bool = False,
        max_queue_size: int | None = None,
        send: bool = True,
        on_error: Callable[[Error, list[Message]], object] | None = None,
        gzip: bool = False,
        max_retries: int = 10,
        sync_mode: bool = False,
        timeout: float | tuple[float | None, float | None] = 15,
        proxies: Mapping[str, str] | None = None,
        thread: int | None = None,
        upload_size: int = 100,
        upload_interval: float = 0.5,
        log_handler: logging.Handler | None = None,
        oauth_client_id: str | None = None,
        oauth_client_key: str | None = None,
        oauth_key_id: str | None = None,
        oauth_auth_server: str | None = None,
        oauth_scope: str = "tracking_api:write",
        max_total_backoff_duration: float = 43200,
        max_rate_limit_duration: float = 1800,
        *,
        flush_at: int | None = None,
        flush_interval: float | None = None,
        spool_dir: str | bytes | os.PathLike[str] | os.PathLike[bytes] | None = None,
        sync: bool = False,
        queue_max_bytes: int | None = None,
        drop_oldest: bool = False,
        shutdown_timeout: float = 2.0,
        stateful: bool = False,
        strict: bool = False,
        before_send: Callable[[Message], Message | dict[str, Any] | None] | None = None,
        on_delivery: Callable[[Delivery], object] | None = None,
        context: dict[str, Any] | None = None,
        integrations: dict[str, Any] | None = None,
        device_context: bool = False,
        lifecycle: bool = False,
        headers: Mapping[str, str] | None = None,
        ca_file: str | bytes | os.PathLike[str] | os.PathLike[bytes] | None = None,
        access_token: str | None = None,
        profile_token: str | None = None,
        public_endpoint: str | None = None,
        profile_endpoint: str | None = None,
        former_write_key: str | None = None,
        former_endpoint: str | None = None,
    ) -> None: ...
    @property
    def queue(self) -> _Queue: ...
    @property
    def consumers(self) -> list[Any]: ...
    def flush(self, timeout: float | None = None) -> bool: ...
    async def flush_async(self, timeout: float | None = None) -> bool: ...
    def join(self) -> None: ...
    def shutdown(self, timeout: float | None = None) -> bool: ...
    def __enter__(self) -> Self: ...
    def __exit__(self, *_: object) -> None: ...
    def __del__(self) -> None: ...
    def enqueue(self, message: dict[str, Any] | Message | str) -> None: ...
    def call(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        api: str = "tracking",
        query: Mapping[str, object] | Sequence[tuple[str, object]] | str | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float | None = None,
        cursor: str | None = None,
    ) -> Response: ...
    async def call_async(self, method: str, path: str, body: object = None, **options: Any) -> Response: ...
    def pages(
        self,
        path: str,
        *,
        query: Mapping[str, object] | Sequence[tuple[str, object]] | str | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float | None = None,
        api: str = "public",
    ) -> Iterator[Response]: ...

class _Queue:
    def __init__(self, client: Client) -> None: ...
    @property
    def maxsize(self) -> int: ...
    def qsize(self) -> int: ...
    def empty(self) -> bool: ...
    def full(self) -> bool: ...
