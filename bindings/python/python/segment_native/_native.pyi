from collections.abc import ItemsView, Iterator, KeysView, Mapping, ValuesView
from datetime import datetime
from numbers import Number
from typing import Any, TypeAlias, final, overload

from typing_extensions import disjoint_base

from .errors import Error

__all__ = ["Client", "Delivery", "Message", "Response", "Stats", "__version__"]

__version__: str

Id: TypeAlias = str | int | float | Number

@disjoint_base
class Client:
    def __new__(cls, *_args: object, **_kwargs: object) -> Client: ...
    def identify(
        self,
        user_id: Id | None = None,
        traits: dict[str, Any] | None = None,
        context: dict[str, Any] | None = None,
        timestamp: datetime | None = None,
        anonymous_id: Id | None = None,
        integrations: dict[str, Any] | None = None,
        message_id: object = None,
    ) -> tuple[bool, Message]: ...
    def track(
        self,
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
        self,
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
        self,
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
        self,
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
        self,
        previous_id: Id | None = None,
        user_id: Id | None = None,
        context: dict[str, Any] | None = None,
        timestamp: datetime | None = None,
        integrations: dict[str, Any] | None = None,
        message_id: object = None,
    ) -> tuple[bool, Message]: ...
    def stats(self) -> Stats: ...
    def set_consent(self, categories: dict[str, bool] | None) -> None: ...
    def opt_out(self) -> None: ...
    def opt_in(self) -> None: ...
    @property
    def opted_out(self) -> bool: ...
    def reset(self) -> None: ...
    @property
    def user_id(self) -> str | None: ...
    @property
    def anonymous_id(self) -> str | None: ...

@final
class Message(Mapping[str, Any]):
    def __new__(cls, json: bytes) -> Message: ...
    @property
    def json(self) -> bytes: ...
    def __getitem__(self, key: str, /) -> Any: ...
    def __len__(self) -> int: ...
    def __contains__(self, key: object, /) -> bool: ...
    def __iter__(self) -> Iterator[str]: ...
    def __eq__(self, value: object, /) -> bool: ...
    @overload
    def get(self, key: str) -> Any | None: ...
    @overload
    def get(self, key: str, default: Any) -> Any: ...
    def keys(self) -> KeysView[str]: ...
    def values(self) -> ValuesView[Any]: ...
    def items(self) -> ItemsView[str, Any]: ...

@final
class Delivery:
    @property
    def error(self) -> Error | None: ...
    @property
    def http_status(self) -> int | None: ...
    @property
    def attempts(self) -> int: ...
    @property
    def body_bytes(self) -> int: ...
    @property
    def message_ids(self) -> list[str]: ...
    @property
    def messages(self) -> list[Message]: ...

@final
class Stats:
    @property
    def accepted(self) -> int: ...
    @property
    def delivered(self) -> int: ...
    @property
    def failed(self) -> int: ...
    @property
    def dropped(self) -> int: ...
    @property
    def queued(self) -> int: ...
    @property
    def queued_bytes(self) -> int: ...
    @property
    def refused(self) -> int: ...
    @property
    def recovered(self) -> int: ...
    @property
    def requests(self) -> int: ...
    @property
    def retries(self) -> int: ...
    @property
    def in_memory(self) -> int: ...

@final
class Response:
    @property
    def status(self) -> int: ...
    @property
    def ok(self) -> bool: ...
    @property
    def headers(self) -> dict[str, str]: ...
    @property
    def body(self) -> bytes: ...
    def json(self) -> Any: ...
