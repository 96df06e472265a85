"""Dialogs: what is asked before something is done, and what is told after.

The kill switch takes two steps and says how long it took; releasing it takes a typed word; a change
of settings shows what would differ before it is made. Escape and a click beside cancel.
"""

import asyncio
from collections.abc import Callable
from typing import Any, Final

import msgspec
from nicegui import ui

from processes.console.desk import ARM_WORD, LEVELS, Desk
from processes.console.drawing import amount, clock, number, text
from processes.console.parts import button, input_, select, tag
from processes.operations.chain import Chain, find_chain, slippage_bps
from processes.operations.steering import effect_text, parse_value
from processes.places import Paths
from processes.sessions import latest_settings
from schemas.errors import DataControllerError

MEANS: Final = {
    "pause": "no new entries; positions and orders stay",
    "cancel": "no new entries, all orders cancelled",
    "flatten": "all orders cancelled, all positions closed",
    "shutdown": "as flatten, and then the instance ends",
}


class Dialogs:
    """Those of one page."""

    def __init__(self, desk: Desk, told: Callable[..., None]) -> None:
        self._desk = desk
        self._told = told

    def kill(self) -> None:
        """Ask which level, then pull."""
        with ui.dialog() as dialog, ui.element("div").classes("dialog danger-edge"):
            tag("h2", "Pull the kill switch")
            level = select("Level", list(LEVELS), "flatten")
            means = tag("p", "; ".join(f"{name}: {what}" for name, what in MEANS.items()))
            means.classes("faint")
            answer = ui.element("div").classes("answer").props("role=status")

            async def pull() -> None:
                told = await self._pull(level.value)
                answer.clear()
                with answer:
                    tag("p", told)
                go.set_visibility(False)

            with ui.element("div").classes("acts"):
                button("Cancel", dialog.close, "quiet", key="kill-cancel")
                go = button("Pull now", pull, "danger", key="kill-confirm")
        dialog.on("hide", dialog.delete)
        dialog.open()

    async def _pull(self, level: str) -> str:
        try:
            told = await self._desk.kill("browser", level)
        except DataControllerError as error:
            return str(error)
        took = f"{told['milliseconds']:.1f} ms"
        if told["acknowledged"]:
            words = f"Pulled to {told['level']}: obeyed after {took}."
        elif told["running"]:
            words = f"Pulled to {told['level']}: execution did not answer and was killed, {took}."
        else:
            words = f"Latched at {told['level']}; execution was not running, nothing will be sent."
        if told["killer"]:
            words += " The killer ends what stands at the venues: see the logs."
        return words

    def arm(self) -> None:
        """Ask for the word, then release."""
        with ui.dialog() as dialog, ui.element("div").classes("dialog"):
            tag("h2", "Release the kill switch")
            tag("p", f"Orders may be sent again. Type {ARM_WORD} to say that you mean it.")
            word = input_("Word", "", key="arm-word")
            answer = ui.element("div").classes("answer").props("role=status")

            async def release() -> None:
                try:
                    told = await self._desk.arm("browser", word.value)
                except DataControllerError as error:
                    words = str(error)
                else:
                    before = told["level_before"]
                    words = "It was not pulled." if before == "none" else (
                        f"Armed: it was at {before}, orders may be sent again."
                    )  # fmt: skip
                answer.clear()
                with answer:
                    tag("p", words)

            with ui.element("div").classes("acts"):
                button("Close", dialog.close, "quiet", key="arm-cancel")
                button("Release", release, "accent", key="arm-confirm")
        dialog.on("hide", dialog.delete)
        dialog.open()

    async def sure(self, title: str, words: str) -> bool:
        """Ask once more."""
        with ui.dialog() as dialog, ui.element("div").classes("dialog"):
            tag("h2", title)
            tag("p", words)
            with ui.element("div").classes("acts"):
                button("Cancel", lambda: dialog.submit(False), "quiet", key="sure-cancel")
                button("Yes", lambda: dialog.submit(True), "accent", key="sure-yes")
        answer = await dialog
        dialog.delete()
        return bool(answer)

    async def change(self, key: str) -> None:
        """Ask for a new value of a setting."""
        with ui.dialog() as dialog, ui.element("div").classes("dialog"):
            tag("h2", key)
            tag("p", f"A change takes effect: {effect_text(key)}. Lists are written [a, b].")
            value = input_("New value", "", key="setting-value")
            with ui.element("div").classes("acts"):
                button("Cancel", lambda: dialog.submit(False), "quiet", key="change-cancel")
                button("Show what would change", lambda: dialog.submit(True), "accent",
                       key="change-next")  # fmt: skip
        answer = await dialog
        dialog.delete()
        if not answer:
            return
        try:
            parsed = parse_value(value.value)
        except DataControllerError as error:
            self._told(str(error), is_bad=True)
            return
        await self.confirm_change(f"Change {key}", {key: parsed})

    async def confirm_change(
        self, title: str, changed: dict[str, Any], dropped: list[str] | None = None
    ) -> None:
        """Show what would differ, and make the change if that is wanted."""
        try:
            proposal = await asyncio.to_thread(self._desk.proposal, changed, dropped or [])
        except DataControllerError as error:
            self._told(str(error), is_bad=True)
            return
        if not proposal.diff:
            self._told("nothing would change: it is so already, or the environment says otherwise")
            return
        restarts = ", ".join(proposal.restarts)
        words = f"Restarts {restarts}." if restarts else "Taken at once, nothing is restarted."
        with ui.dialog() as dialog, ui.element("div").classes("dialog"):
            tag("h2", title)
            rows = "".join(
                f"<tr><td><code>{text(key)}</code></td><td><del>{_json(old)}</del></td>"
                f"<td><ins>{_json(new)}</ins></td></tr>"
                for key, (old, new) in proposal.diff.items()
            )
            ui.html(
                f'<table class="diff"><thead><tr><th>setting</th><th>is</th><th>would be</th></tr>'
                f"</thead><tbody>{rows}</tbody></table>",
                sanitize=False,
            )
            tag("p", words)
            with ui.element("div").classes("acts"):
                button("Cancel", lambda: dialog.submit(False), "quiet", key="apply-cancel")
                button("Apply", lambda: dialog.submit(True), "accent", key="apply")
        answer = await dialog
        dialog.delete()
        if not answer:
            return
        try:
            await self._desk.change("browser", changed, dropped or [])
        except DataControllerError as error:
            self._told(str(error), is_bad=True)
        else:
            self._told(f"in force{f'; restarted {restarts}' if restarts else ''}")

    async def why(self, paths: Paths, what: str) -> None:
        """Show all that is behind an order or a decision."""

        def find() -> Chain:
            return find_chain(paths.data, latest_settings(paths.data).ledger, what, "last")

        try:
            shown = why_html(await asyncio.to_thread(find))
        except DataControllerError as error:
            self._told(f"{error} (storage brings it in a second later)", is_bad=True)
            return
        with ui.dialog() as dialog, ui.element("div").classes("dialog broad"):
            tag("h2", f"Why {what[:12]}")
            ui.html(shown, sanitize=False).classes("why")
            with ui.element("div").classes("acts"):
                button("Close", dialog.close, "quiet", key="why-close")
        dialog.on("hide", dialog.delete)
        dialog.open()


def why_html(chain: Chain) -> str:
    """A chain as a page shows it."""
    action, reason = chain.action.replace("_", " "), chain.reason.replace("_", " ")
    head = f"{text(action)} {text(chain.symbol)}: {text(reason)}"
    parts = [f"<p><b>{head}</b><br>{text(chain.reason_text)}</p>"]
    facts: dict[str, Any] = {
        "time": f"{clock(chain.time_ns, millis=True)} UTC", "strategy": chain.strategy,
        "rung": chain.rung, "settings": chain.config_generation, "decision": chain.decision,
        "reference price": amount(chain.reference_price, 5),
    }  # fmt: skip
    numbers = {name: number(value, 4) for name, value in chain.numbers.items() if value == value}  # noqa: PLR0124
    parts += [_list("decided", facts), _list("what the policy saw", numbers)]
    if chain.checks:
        shown = "".join(
            f'<li class="{text(one.result.replace(" ", "-"))}">{text(one.code.lower())} '
            f"<i>{text(one.result)}</i></li>"
            for one in chain.checks
        )
        parts.append(f'<h3>checks, in their order</h3><ol class="checks">{shown}</ol>')
    for model, outputs in chain.models.items():
        parts.append(_list(f"model {model}", {name: number(v, 4) for name, v in outputs.items()}))
    if chain.order is not None:
        intent = chain.order
        parts.append(
            _list("order", {
                "id": intent.command_id, "what": f"{intent.side} {intent.quantity} {intent.symbol}",
                "price": intent.limit_price or intent.kind, "state": chain.order_state,
                "account": intent.account, **chain.cost,
            })
        )  # fmt: skip
        worse = slippage_bps(chain)
        if worse is not None:
            parts.append(f"<p>filled {number(worse, 2)} bp worse than the reference price</p>")
        events = "".join(
            f"<li>{clock(one.time_ns, millis=True)} {text(one.__struct_config__.tag)}</li>"
            for one in chain.events
        )
        parts.append(f"<ol>{events}</ol>")
    if chain.features:
        shown_features = {name: number(value, 4) for name, value in chain.features.items()}
        parts.append(_list("features", shown_features))
    parts += [f'<p class="faint">not found: {text(one)}</p>' for one in chain.missing]
    return "".join(parts)


def _json(value: Any) -> str:
    return text(msgspec.json.encode(value).decode())


def _list(title: str, facts: dict[str, Any]) -> str:
    shown = "".join(
        f"<div><dt>{text(name)}</dt><dd>{text(value)}</dd></div>" for name, value in facts.items()
    )
    return f'<h3>{text(title)}</h3><dl class="facts">{shown}</dl>' if facts else ""
