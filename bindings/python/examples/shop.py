"""A shop that tracks what is bought: gunicorn --preload -w 4 shop:app

The client is made once, before gunicorn forks its workers, and each worker goes on using it. With a spool nothing that
was tracked is lost, however a worker ends.
"""

import os

from flask import Flask
from segment_native import Client

app = Flask(__name__)
analytics = Client(
    os.environ.get("SEGMENT_WRITE_KEY", "WRITE_KEY"),
    host=os.environ.get("SEGMENT_HOST"),  # Segment's own, unless one is given
    spool_dir=os.environ.get("SEGMENT_SPOOL"),
)
analytics.track("shop", "Shop Opened", {"process": os.getpid()})


@app.get("/buy/<int:item>")
def buy(item):
    analytics.track("u-42", "Order Completed", {"item": item, "process": os.getpid()})
    return f"bought from {os.getpid()}\n"
