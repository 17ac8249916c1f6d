#!/usr/bin/env python3
"""A server as far away as it is said to be: collector.py PORT [DELAY_MS [STATUS [RETRY_AFTER]]].

It reads batches, looks at none of them, and answers after the delay, as long as a round trip over the internet takes.
Handshakes take no such time. With a status that is not 200 it says how many requests there were, every 10 s."""
import asyncio
import sys

PORT, DELAY, STATUS, RETRY_AFTER = (sys.argv[1:] + ["0", "200", ""][len(sys.argv) - 2 :])[:4]
PORT, DELAY = int(PORT), float(DELAY) / 1000
HEAD = f"HTTP/1.1 {STATUS} .\r\n" + (f"Retry-After: {RETRY_AFTER}\r\n" if RETRY_AFTER else "")
ANSWER = (HEAD + 'Content-Type: application/json\r\nContent-Length: 16\r\n\r\n{"success":true}').encode()
requests = 0


async def serve(reader, writer):
    global requests
    try:
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            requests += 1
            length = int(head.split(b"content-length:")[1].split(b"\r\n")[0])
            while length:
                length -= len(await reader.read(min(length, 1 << 20)) or sys.exit("cut off"))
            await asyncio.sleep(DELAY)
            writer.write(ANSWER)
    except (asyncio.IncompleteReadError, ConnectionError, IndexError, SystemExit):
        writer.close()


async def count():
    while STATUS != "200":
        await asyncio.sleep(10)
        print(f"{requests} requests", flush=True)


async def main():
    counting = asyncio.create_task(count())  # noqa: F841 (kept alive)
    async with await asyncio.start_server(serve, "127.0.0.1", PORT, limit=1 << 20) as server:
        await server.serve_forever()


asyncio.run(main())
