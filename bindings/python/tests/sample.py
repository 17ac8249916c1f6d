"""A program as mypy --strict sees it; test_types.py has it checked."""

import asyncio
from datetime import date, datetime, timezone
from decimal import Decimal
from pathlib import Path

import segment_native as analytics
from segment_native import Address, Client, Delivery, Error, Message, Product, Revenue, Traits


def told(delivery: Delivery) -> None:
    if delivery.error is not None:
        print(delivery.error.kind, delivery.http_status, [message["event"] for message in delivery.messages])


def failed(error: Error, messages: list[Message]) -> None:
    print(error, len(messages))


def edit(message: Message) -> Message | None:
    return message if message.get("userId") else None


analytics.write_key = "WRITE_KEY"
analytics.send = False
ok, message = analytics.track("u-42", "E", {"price": 1.5}, timestamp=datetime.now(timezone.utc))
text: str = message["event"] if ok else ""
done: bool = analytics.flush(timeout=1.5)


async def main() -> None:
    spool = Path("spool")
    with Client("k", send=False, spool_dir=spool, on_delivery=told, on_error=failed, before_send=edit) as client:
        client.identify(7, Traits(email="a@b.c", birthday=date(1990, 1, 1), address=Address(city="Oslo"), mine=[1]))
        client.track("u", "Order", {**Revenue(Decimal("1.5"), "EUR"), "products": [Product(price=1, quantity=2)]})
        client.set_consent({"Ads": False})
        status: int = (await client.call_async("POST", "/v1/track", {"a": 1}, timeout=2)).status
        out: bool = await client.flush_async(2)
        print(status, out, client.stats().delivered, client.anonymous_id)
        for page in client.pages("/sources", query={"pagination.count": 10}):
            print(page.ok, page.headers.get("date"), page.json(), page.cursor)


asyncio.run(main())
