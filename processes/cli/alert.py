"""alert: what is wrong now, saying that it was seen, and trying the channels."""

from typing import Annotated

import typer

from processes.cli.options import ConfigFile, IdleProfile, Json

app = typer.Typer(
    help="See what is wrong, acknowledge it, try the channels.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
)


@app.command(name="list")
def list_alerts(json: Json = False) -> None:
    """Show the alerts that last, what to do, and how the channels are."""
    from processes.cli.alerting import show_alerts

    show_alerts(as_json=json)


@app.command()
def ack(
    name: Annotated[str, typer.Argument(help="As list and messages have it.")],
    json: Json = False,
) -> None:
    """Say that an alert was seen: it is not repeated and goes to no further channel."""
    from processes.cli.alerting import acknowledge

    acknowledge(name, as_json=json)


@app.command(name="test")
def try_channels(
    channel: Annotated[str, typer.Argument(help="One of alerts.channels; all if absent.")] = "",
    profile: IdleProfile = "",
    config: ConfigFile = None,
    json: Json = False,
) -> None:
    """Send a message to a channel, whatever the hour, and say whether it was taken."""
    from processes.cli.alerting import send_tests

    send_tests(channel, profile, config, as_json=json)
