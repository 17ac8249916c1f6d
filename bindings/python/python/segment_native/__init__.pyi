import logging
import os
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from ._native import Delivery, Id, Message, Response, Stats, __version__
from .client import Client
from .errors import APIError, Error, InvalidError, TooLargeError
from .typed import Address, Company, GroupTraits, Product, Revenue, Traits

__all__ = [
    "APIError", "Address", "Client", "Company", "Delivery", "Error", "GroupTraits", "InvalidError", "Message",
    "Product", "Response", "Revenue", "Stats", "TooLargeError", "Traits", "__version__", "alias", "flush", "group",
    "identify", "join", "page", "screen", "shutdown", "track",
]

write_key: str | None
host: str | None
debug: bool
max_queue_size: int | None
send: bool
on_error: Callable[[Error, list[Message]], object] | None
gzip: bool
max_retries: int
sync_mode: bool
timeout: float
proxies: Mapping[str, str] | None
upload_size: int
upload_interval: float
log_handler: logging.Handler | None
oauth_client_id: str | None
oauth_client_key: str | None
oauth_key_id: str | None
oauth_auth_server: str | None
oauth_scope: str
max_total_backoff_duration: float
max_rate_limit_duration: float
flush_at: int | None
flush_interval: float | None
spool_dir: str | bytes | os.PathLike[str] | os.PathLike[bytes] | None
shutdown_timeout: float
before_send: Callable[[Message], Message | dict[str, Any] | None] | None
on_delivery: Callable[[Delivery], object] | None
default_client: Client | None

def identify(
    user_id: Id | None = None,
    traits: dict[str, Any] | None = None,
    context: dict[str, Any] | None = None,
    timestamp: datetime | None = None,
    anonymous_id: Id | None = None,
    integrations: dict[str, Any] | None = None,
    message_id: object = None,
) -> tuple[bool, Message]: ...
def track(
    user_id: Id | None = None,
    event: str | None = None,
    properties: dict[str, Any] | None = None,
    context: dict[str, Any] | None = None,
    timestamp: datetime | None = None,
    anonymous_id: Id | None = None,
    integrations: dict[str, Any] | None = None,
    message_id: object = None,
) -> tuple[bool, Message]: ...
def page(
    user_id: Id | None = None,
    category: str | None = None,
    name: str | None = None,
    properties: dict[str, Any] | None = None,
    context: dict[str, Any] | None = None,
    timestamp: datetime | None = None,
    anonymous_id: Id | None = None,
    integrations: dict[str, Any] | None = None,
    message_id: object = None,
) -> tuple[bool, Message]: ...
def screen(
    user_id: Id | None = None,
    category: str | None = None,
    name: str | None = None,
    properties: dict[str, Any] | None = None,
    context: dict[str, Any] | None = None,
    timestamp: datetime | None = None,
    anonymous_id: Id | None = None,
    integrations: dict[str, Any] | None = None,
    message_id: object = None,
) -> tuple[bool, Message]: ...
def group(
    user_id: Id | None = None,
    group_id: Id | None = None,
    traits: dict[str, Any] | None = None,
    context: dict[str, Any] | None = None,
    timestamp: datetime | None = None,
    anonymous_id: Id | None = None,
    integrations: dict[str, Any] | None = None,
    message_id: object = None,
) -> tuple[bool, Message]: ...
def alias(
    previous_id: Id | None = None,
    user_id: Id | None = None,
    context: dict[str, Any] | None = None,
    timestamp: datetime | None = None,
    integrations: dict[str, Any] | None = None,
    message_id: object = None,
) -> tuple[bool, Message]: ...
def flush(timeout: float | None = None) -> bool: ...
def join() -> None: ...
def shutdown(timeout: float | None = None) -> bool: ...
