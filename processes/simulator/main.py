"""The simulator as a child process."""

import asyncio

from aiohttp import web

from processes.runtime import Context, run
from processes.simulator.server import Exchange
from schemas.metrics import place


async def serve(context: Context) -> None:
    """Open the port, move the markets, until told to stop."""
    settings = context.settings.simulator
    log_path = context.paths.data / "simulator" / f"sent-{context.session}.jsonl"
    sent_log = None
    if settings.log_sent:
        log_path.parent.mkdir(parents=True, exist_ok=True)
        sent_log = log_path.open("a", encoding="utf-8")
    exchange = Exchange(settings, context.clock.now_ns, sent_log)
    context.bus.on_command("fault", exchange.commit_fault)
    context.bus.on_command("truth", exchange.truth)
    runner = web.AppRunner(exchange.application(), access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", settings.port).start()
    context.ready(f"ws://127.0.0.1:{settings.port}/ws/2")

    def turn() -> bool:
        context.service()
        context.metrics.set(place("simulator_frames"), exchange.frames_sent)
        context.metrics.set(place("simulator_clients"), len(exchange.clients))
        return context.stopping

    await exchange.live(turn)
    await runner.cleanup()
    if sent_log is not None:
        sent_log.close()


def main(context: Context) -> None:
    """Run the server's loop."""
    asyncio.run(serve(context))


if __name__ == "__main__":
    run(main)
