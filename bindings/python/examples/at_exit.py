"""The end of a program: it delivers for a limited time, and says what is left for the next start.

python at_exit.py ENDPOINT FOLDER [SECONDS]
"""

import atexit
import sys

from segment_native import Client

host, folder, *rest = sys.argv[1:]
client = Client("WRITE_KEY", host=host, spool_dir=folder)  # without a folder, what is left would be lost


@atexit.register  # runs before the client's own, which would deliver for shutdown_timeout without a word
def deliver():
    if not client.shutdown(timeout=float(rest[0]) if rest else 3):
        print("not all is delivered yet:", client.last_problem, file=sys.stderr)
    stats = client.stats()
    print(f"{stats.delivered} delivered, {stats.queued} kept")


client.track("u-42", "Document Opened")
client.track("u-42", "Document Saved")
