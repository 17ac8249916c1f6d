"""What a client tells you, and what you may change: a log, what became of messages, and a secret that never leaves."""

import logging
import sys

from segment_native import Client

# The client logs to the logger "segment".
logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s", stream=sys.stdout)
delivered = []


def before_send(message):
    """On the thread that tracks; the other two run on the delivery thread."""
    properties = message.get("properties", {})
    if "token" in properties:
        return {**message, "properties": {**properties, "token": "********"}}
    return message  # None would drop it


def on_delivery(delivery):
    if delivery.error is None:
        delivered.extend(delivery.message_ids)


def on_error(error, messages):
    print(f"{len(messages)} messages are lost: {error}")


host = sys.argv[1] if len(sys.argv) > 1 else None  # Segment's own, unless one is given
with Client("WRITE_KEY", host, before_send=before_send, on_delivery=on_delivery, on_error=on_error) as client:
    client.track("u-42", "Order Completed", {"token": 's3cr"et', "revenue": "19.99"})  # no number: the log warns
    client.track("u-42", "Signed Out")
print(len(delivered), "delivered")  # no callback runs any more
