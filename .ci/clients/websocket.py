"""serve PORT: gives back each message. ask PORT: sends one, a large one, and a ping, from inside."""

import asyncio
import sys

import websockets


async def serve(port):
    async def again(connection):
        async for message in connection:
            await connection.send("again " + message)

    async with websockets.serve(again, "127.0.0.1", port, max_size=None):
        await asyncio.get_running_loop().create_future()


async def ask(port):
    async with websockets.connect(f"ws://host.cofferdam:{port}/", max_size=None) as connection:
        await (await connection.ping())
        large = "x" * 3_000_000
        await connection.send(large)
        assert await connection.recv() == "again " + large
        await connection.send("ping")
        print(await connection.recv())


asyncio.run({"serve": serve, "ask": ask}[sys.argv[1]](int(sys.argv[2])))
