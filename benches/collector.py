#!/usr/bin/env python3
"""A server as far away as it is said to be: collector.py PORT [DELAY_MS]. It reads batches, looks at none of them, and
answers 200 after the delay, as long as a round trip over the internet takes. Handshakes take no such time."""
import asyncio
import sys

PORT, DELAY = int(sys.argv[1]), float(sys.argv[2]) / 1000 if len(sys.argv) > 2 else 0
ANSWER = b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 16\r\n\r\n{"success":true}'


async def serve(reader, writer):
    try:
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            length = int(head.split(b"content-length:")[1].split(b"\r\n")[0])
            while length:
                length -= len(await reader.read(min(length, 1 << 20)) or sys.exit("cut off"))
            await asyncio.sleep(DELAY)
            writer.write(ANSWER)
    except (asyncio.IncompleteReadError, ConnectionError, IndexError, SystemExit):
        writer.close()


async def main():
    async with await asyncio.start_server(serve, "127.0.0.1", PORT, limit=1 << 20) as server:
        await server.serve_forever()


asyncio.run(main())
