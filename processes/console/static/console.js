// Live panels: one socket, the newest state only. A message is acknowledged once it is drawn, and
// the next comes only then, so this page never has more than one behind it.
(() => {
  "use strict";
  let socket = null;
  let wait = 250;
  let watched = "";
  const panels = () => [...document.querySelectorAll("[data-panel]")];

  const announce = () => {
    const names = [...new Set(panels().map((one) => one.dataset.panel))];
    if (socket && socket.readyState === WebSocket.OPEN && names.length && names.join() !== watched) {
      watched = names.join();
      socket.send(JSON.stringify({ watch: names }));
    }
  };

  // What is in somebody's hand is not drawn anew: a button that is replaced between press and
  // release gets no click. The newest state waits until it is let go.
  const RELEASED_MS = 300;
  const waiting = new Map();
  let pressed = null;
  let letGo = 0;

  const isHeld = (panel) => {
    const chosen = window.getSelection();
    const selected = chosen && !chosen.isCollapsed && panel.contains(chosen.anchorNode);
    return selected || (pressed && panel.contains(pressed));
  };

  const catchUp = () => {
    for (const [panel, html] of [...waiting]) {
      if (!panel.isConnected) waiting.delete(panel);
      else put(panel, html);
    }
  };

  const hold = (thing) => {
    clearTimeout(letGo);
    pressed = thing;
  };

  // A finger's click comes some time after its release.
  const release = () => {
    clearTimeout(letGo);
    letGo = setTimeout(() => {
      pressed = null;
      catchUp();
    }, RELEASED_MS);
  };

  const put = (panel, html) => {
    if (isHeld(panel)) {
      waiting.set(panel, html);
      return;
    }
    waiting.delete(panel);
    const active = document.activeElement;
    const key = panel.contains(active) ? active.dataset.key : null;
    const tables = [...panel.querySelectorAll(".wide")].map((one) => [one.scrollLeft, one.scrollTop]);
    panel.innerHTML = html;
    [...panel.querySelectorAll(".wide")].forEach((one, at) => {
      if (tables[at]) [one.scrollLeft, one.scrollTop] = tables[at];
    });
    if (key) panel.querySelector(`[data-key="${CSS.escape(key)}"]`)?.focus({ preventScroll: true });
  };

  const connect = () => {
    socket = new WebSocket(`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/live`);
    socket.onopen = () => {
      wait = 250;
      watched = "";
      document.documentElement.classList.remove("away");
      announce();
    };
    socket.onmessage = (message) => {
      const told = JSON.parse(message.data);
      requestAnimationFrame(() => {
        for (const panel of panels()) {
          const html = told.panels[panel.dataset.panel];
          if (html !== undefined) put(panel, html);
        }
        if (socket.readyState === WebSocket.OPEN) socket.send(JSON.stringify({ drawn: told.look }));
      });
    };
    socket.onclose = () => {
      document.documentElement.classList.add("away");
      setTimeout(connect, wait);
      wait = Math.min(wait * 2, 4000);
    };
  };

  // Fields get their first value once; what is typed afterwards is the page's.
  const fill = () => {
    for (const field of document.querySelectorAll("[data-value]")) {
      if (!field.dataset.filled) {
        field.dataset.filled = "1";
        field.value = field.dataset.value;
      }
    }
  };

  document.addEventListener("click", (event) => {
    const button = event.target.closest("[data-act]");
    if (button) {
      const bridge = document.getElementById("act-bridge");
      bridge?.dispatchEvent(new CustomEvent("act", { detail: { ...button.dataset } }));
    }
  });

  // Another button opens a menu, which keeps the release to itself.
  document.addEventListener("pointerdown", (event) => event.button === 0 && hold(event.target), true);
  document.addEventListener("pointerup", release, true);
  document.addEventListener("pointercancel", release, true);
  document.addEventListener("keydown", () => hold(document.activeElement), true);
  document.addEventListener("keyup", release, true);
  document.addEventListener("selectionchange", catchUp);
  window.addEventListener("blur", release);

  const begin = () => {
    new MutationObserver(() => {
      fill();
      announce();
    }).observe(document.body, { childList: true, subtree: true, attributes: true, attributeFilter: ["data-panel"] });
    fill();
    connect();
  };
  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", begin);
  else begin();
})();
