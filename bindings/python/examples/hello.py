"""The first event: python hello.py"""

import sys

import segment_native as analytics

analytics.write_key = "WRITE_KEY"
analytics.host = sys.argv[1] if len(sys.argv) > 1 else None  # Segment's own, unless one is given

analytics.identify("u-42", {"plan": "pro", "address": {"city": "Oslo"}})
analytics.track("u-42", "Plan Upgraded", {"plan": "pro", "price": 19.99})
# The end of the program delivers what is queued.
