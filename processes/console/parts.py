"""The few things of a page that are typed, chosen or pressed, as plain elements.

Quasar's own would bring their look; these take the page's style, the keyboard and a phone's fields
as they are.
"""

from collections.abc import Callable
from typing import Any

from nicegui import ui

from processes.console.memory import VALUE_MAX


def tag(name: str, words: str) -> ui.element:
    """An element with a text."""
    return ui.html(escape(words), tag=name, sanitize=False)


def escape(words: str) -> str:
    """Text that is safe in a page."""
    return words.replace("&", "&amp;").replace("<", "&lt;")


def bound(act: Callable[[str], None], name: str) -> Callable[[], None]:
    """An act with its argument."""
    return lambda: act(name)


def button(words: str, act: Callable[[], Any], kind: str, *, key: str = "") -> ui.element:
    """A button; what it does may be awaited."""
    made = ui.element("button").props("type=button").classes(f"button {kind}")
    made._props["data-key"] = key or words  # noqa: SLF001
    made.on("click", lambda _: act())
    with made:
        tag("span", words)
    return made


class Field:
    """A plain field of a form; its value follows what is typed."""

    def __init__(self, element: ui.element, value: str) -> None:
        self.value = value
        self._element = element
        element.on("input", self._typed, js_handler="(event) => emit(event.target.value)")

    def _typed(self, event: Any) -> None:
        self.value = str(event.args)[:VALUE_MAX]

    def on(self, event: str, act: Callable[[], Any]) -> None:
        """Do something as well."""
        self._element.on(event, lambda _: act())


def input_(words: str, value: str, *, kind: str = "text", key: str = "") -> Field:
    """A field to type in."""
    with ui.element("label").classes("field"):
        tag("span", words)
        element = ui.element("input").props(f"type={kind} autocomplete=off spellcheck=false")
        # Not `value`: Vue would write it back over what is being typed.
        element._props["data-value"] = value  # noqa: SLF001
        element._props["data-key"] = key or words  # noqa: SLF001
    return Field(element, value)


def select(words: str, choices: list[str], value: str) -> Field:
    """A field to choose in."""
    chosen = value if value in choices else choices[0]
    with ui.element("label").classes("field"):
        tag("span", words)
        element = ui.element("select")
        element._props["data-key"] = words  # noqa: SLF001
        with element:
            for one in choices:
                option = ui.element("option")
                option._props |= {"value": one, "label": one or "all"}  # noqa: SLF001
                if one == chosen:
                    option.props("selected")
    return Field(element, chosen)
