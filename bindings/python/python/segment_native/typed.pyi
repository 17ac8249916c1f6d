from datetime import date, datetime
from decimal import Decimal
from typing import Any

class Traits(dict[str, Any]):
    def __init__(
        self,
        *,
        address: Address | None = None,
        age: int | None = None,
        avatar: str | None = None,
        birthday: date | None = None,
        company: Company | None = None,
        created_at: datetime | None = None,
        description: str | None = None,
        email: str | None = None,
        first_name: str | None = None,
        gender: str | None = None,
        id: str | None = None,
        last_name: str | None = None,
        name: str | None = None,
        phone: str | None = None,
        title: str | None = None,
        username: str | None = None,
        website: str | None = None,
        **others: Any,
    ) -> None: ...

class GroupTraits(dict[str, Any]):
    def __init__(
        self,
        *,
        address: Address | None = None,
        avatar: str | None = None,
        created_at: datetime | None = None,
        description: str | None = None,
        email: str | None = None,
        employees: int | None = None,
        id: str | None = None,
        industry: str | None = None,
        name: str | None = None,
        phone: str | None = None,
        plan: str | None = None,
        website: str | None = None,
        **others: Any,
    ) -> None: ...

class Address(dict[str, Any]):
    def __init__(
        self,
        *,
        street: str | None = None,
        city: str | None = None,
        state: str | None = None,
        postal_code: str | None = None,
        country: str | None = None,
    ) -> None: ...

class Company(dict[str, Any]):
    def __init__(
        self,
        *,
        name: str | None = None,
        id: str | None = None,
        industry: str | None = None,
        employee_count: int | None = None,
        plan: str | None = None,
    ) -> None: ...

class Revenue(dict[str, Any]):
    def __init__(
        self,
        amount: float | Decimal,
        currency: str = "USD",
    ) -> None: ...

class Product(dict[str, Any]):
    def __init__(
        self,
        *,
        product_id: str | None = None,
        sku: str | None = None,
        category: str | None = None,
        name: str | None = None,
        brand: str | None = None,
        variant: str | None = None,
        price: float | Decimal | None = None,
        quantity: int | None = None,
        position: int | None = None,
        coupon: str | None = None,
        url: str | None = None,
        image_url: str | None = None,
        **others: Any,
    ) -> None: ...
