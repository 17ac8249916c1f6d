"""Every way in which you are told that something is wrong: python errors.py"""

import sys

from segment_native import Client, InvalidError

try:
    Client("WRITE_KEY", host="https://api.segment.io:port")
except InvalidError as error:
    print("no client:", error)

client = Client("WRITE_KEY", host=sys.argv[1] if len(sys.argv) > 1 else None)  # Segment's own, unless one is given

try:
    client.track(None, "Order Completed")
except InvalidError as error:
    print("invalid:", error)

try:
    client.track("u-42", "Order Completed", {"price": float("nan")})
except InvalidError as error:
    print("invalid:", error)

# Nothing is raised where the queue is full, the client was shut down or the user has opted out.
accepted, message = client.track("u-42", "Order Completed", {"price": 19.99})
print("accepted" if accepted else "not taken")

# What goes wrong later is no error of a call; on_error is told of it too.
delivered = client.flush(timeout=5)
if client.last_problem:
    print("not delivered:", client.last_problem)
else:
    print("delivered" if delivered else "it takes longer")
