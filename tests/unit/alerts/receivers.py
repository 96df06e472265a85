"""Where alerts go in tests: real servers on this machine, well behaved and not."""

import base64
import socket
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import msgspec


class Web(ThreadingHTTPServer):
    """Takes what is posted; `code` is what it answers, `gate` what it waits for before."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Page)
        self.code = 200
        self.gate = threading.Event()
        self.gate.set()
        self.asked: list[str] = []
        self.posted: list[dict] = []

    @property
    def where(self) -> str:
        return f"127.0.0.1:{self.server_address[1]}"

    def titles(self) -> list[str]:
        return [one["title"] for one in self.posted]


class _Page(BaseHTTPRequestHandler):
    server: Web

    def _answer(self) -> None:
        self.server.gate.wait(30)
        self.send_response(self.server.code)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        self._answer()

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.asked.append(self.path)
        self._answer()
        if self.server.code == 200:
            self.server.posted.append(msgspec.json.decode(body))

    def log_message(self, *_: object) -> None:
        pass


class Mail(socketserver.ThreadingTCPServer):
    """Speaks as much of SMTP (RFC 5321, AUTH of RFC 4954) as a mail needs, and no more."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, user: str, password: str) -> None:
        super().__init__(("127.0.0.1", 0), _Session)
        self.login = (user, password)
        self.mails: list[tuple[str, list[str], str]] = []

    @property
    def where(self) -> str:
        return f"127.0.0.1:{self.server_address[1]}"


class _Session(socketserver.StreamRequestHandler):
    server: Mail

    def _say(self, text: str) -> None:
        self.wfile.write(f"{text}\r\n".encode())

    def _line(self) -> str:
        return self.rfile.readline().decode().rstrip("\r\n")

    def handle(self) -> None:
        self._say("220 here")
        is_known, sender, to = False, "", []
        while line := self._line():
            word, _, rest = line.partition(" ")
            match word.upper():
                case "EHLO":
                    self._say("250-here")
                    self._say("250 AUTH LOGIN PLAIN")
                case "AUTH":
                    is_known = self._login(rest) == self.server.login
                    self._say("235 welcome" if is_known else "535 who are you")
                case "MAIL" if is_known:
                    sender = rest.partition("<")[2].partition(">")[0]
                    self._say("250 good")
                case "RCPT" if sender:
                    to.append(rest.partition("<")[2].partition(">")[0])
                    self._say("250 good")
                case "DATA" if to:
                    self._say("354 go on")
                    lines = iter(self._line, ".")
                    self.server.mails.append((sender, to, "\n".join(lines)))
                    self._say("250 taken")
                case "QUIT":
                    self._say("221 bye")
                    return
                case _:
                    self._say("503 not now")

    def _login(self, rest: str) -> tuple[str, str]:
        how, _, first = rest.partition(" ")
        if how.upper() == "PLAIN":
            _, user, password = base64.b64decode(first).decode().split("\0")
            return user, password
        answers = [base64.b64decode(first).decode()] if first else []
        for question in ("Username:", "Password:")[len(answers) :]:
            self._say(f"334 {base64.b64encode(question.encode()).decode()}")
            answers.append(base64.b64decode(self._line()).decode())
        return answers[0], answers[1]


@contextmanager
def serving(server: "Web | Mail") -> Iterator["Web | Mail"]:
    """The server while the block lasts."""
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield server
    finally:
        if isinstance(server, Web):
            server.gate.set()
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def hanging() -> Iterator[str]:
    """An address that takes connections and never says a word."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(16)
        yield f"127.0.0.1:{listener.getsockname()[1]}"
