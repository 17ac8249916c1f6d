"""One request, now, and its answer: python call.py"""

import sys

from segment_native import Client, Error

with Client("WRITE_KEY", host=sys.argv[1] if len(sys.argv) > 1 else None) as client:
    try:
        answer = client.call("POST", "/v1/group", {"userId": "u-42", "groupId": "g-7", "traits": {"name": "Initech"}})
    except Error as error:
        sys.exit(f"no answer: {error}")
    print(answer.status, answer.json())
