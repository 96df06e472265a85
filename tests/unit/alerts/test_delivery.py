"""Couriers against real servers: web hooks and mail, one that hangs, refuses, is slow, is gone."""

import contextlib
import os
import time

import psutil

from processes.alerts.book import Book, Finding, Memory
from processes.alerts.channels import Channel, Heartbeat
from processes.alerts.courier import Errand
from processes.alerts.delivery import TOO_LONG, Delivery
from schemas.alerts import AlertSettings, ChannelSettings, HeartbeatSettings
from tests.helpers import QuietLog, run_python, wait_until
from tests.planted import plant
from tests.unit.alerts.receivers import Mail, Web, hanging, serving


@contextlib.contextmanager
def sent(url, kind="notify", timeout_s=20.0, title="t", body="b"):
    delivery = Delivery(
        Errand(kind=kind, url=url, timeout_s=timeout_s, title=title, body=body, type="failure")
    )
    try:
        yield delivery
    finally:
        delivery.end()


def outcome(url, **more):
    with sent(url, **more) as delivery:
        wait_until(delivery.is_over, 20, "the courier is over")
        return delivery.outcome().reason


def test_a_web_hook_takes_a_message():
    with serving(Web()) as web:
        body = "what is wrong\nTo do: dcctl arm"
        assert outcome(f"json://{web.where}/hook", title="[critical] x", body=body) == ""
        (posted,) = web.posted
        assert web.asked == ["/hook"]
        assert posted["title"] == "[critical] x"
        assert posted["message"] == body
        assert posted["type"] == "failure"


def test_a_mail_server_takes_a_message():
    password = plant("mail")
    with serving(Mail("me", password)) as mail:
        where = f"{mail.where}?from=dc@example.org&to=you@example.org"
        assert outcome(f"mailto://me:{password}@{where}", body="look at it") == ""
        ((sender, to, text),) = mail.mails
        assert (sender, to) == ("dc@example.org", ["you@example.org"])
        assert "look at it" in text
        assert outcome(f"mailto://me:wrong@{where}").startswith("it was not taken")
        assert len(mail.mails) == 1


def test_why_one_was_not_taken_is_said_without_its_address():
    token = plant("hook")
    with serving(Web()) as web:
        web.code = 403
        assert outcome(f"json://{web.where}/{token}") == "it answered with error 403"
        gone = web.where
    assert outcome(f"json://{gone}/{token}").startswith("it was not taken")
    assert outcome(f"moon://{gone}/{token}").startswith("Apprise knows no such address")


def test_one_that_hangs_is_ended_with_all_it_has_started():
    with hanging() as where, sent(f"json://{where}/x", timeout_s=0.7) as delivery:
        courier = psutil.Process(delivery.pid)
        wait_until(delivery.is_over, 5, "it is ended")
        assert delivery.outcome().reason == TOO_LONG
        assert not courier.is_running()


def test_a_courier_ends_with_who_sent_it():
    with hanging() as where, sent(f"json://{where}/x") as delivery:
        delivery._process.stdin.close()
        delivery._process.wait(5)


def test_a_courier_ends_by_itself_when_its_time_is_over():
    with hanging() as where, sent(f"json://{where}/x", timeout_s=0.1) as delivery:
        delivery._process.wait(5)  # nobody asks whether it is over


def test_one_that_is_killed_has_not_told():
    with hanging() as where, sent(f"json://{where}/x") as delivery:
        os.kill(delivery.pid, 9)
        wait_until(delivery.is_over, 5)
        assert delivery.outcome().reason == "its courier died"


def test_the_address_is_on_no_command_line():
    secret = plant("command-line")
    with hanging() as where, sent(f"json://{where}/{secret}") as delivery:
        assert secret not in " ".join(psutil.Process(delivery.pid).cmdline())


def test_a_fetch_is_taken_or_not():
    with serving(Web()) as web:
        assert outcome(f"http://{web.where}/ping", kind="fetch") == ""
        assert web.asked == ["/ping"]
        web.code = 500
        assert outcome(f"http://{web.where}/", kind="fetch") == "it answered with error 500"
        gone = web.where
    assert outcome(f"http://{gone}/", kind="fetch").startswith("nobody there")


def test_a_channel_that_hangs_holds_up_no_other():
    with hanging() as where, serving(Web()) as web:
        wanted = AlertSettings(
            channels={
                "dead": ChannelSettings(url=f"json://{where}/", timeout_s=0.5),
                "good": ChannelSettings(url=f"json://{web.where}/"),
            }
        )
        book = Book(wanted, Memory(), time.time_ns())
        channels = [Channel(name, wanted, "demo") for name in wanted.channels]
        names = ["kill_switch", "storage_paused", "storage_lost"]
        book.observe([Finding(name, "") for name in names], time.time_ns())
        slowest = 0.0

        def turn():
            nonlocal slowest
            began = time.monotonic()
            for one in channels:
                one.turn(book, time.time_ns())
            slowest = max(slowest, time.monotonic() - began)
            return len(web.posted) == 3 and book.memory.channels["dead"].failures

        try:
            wait_until(turn, 20, "the good one has all, the dead one has failed")
        finally:
            for one in channels:
                one.end()
        assert book.memory.channels["dead"].reason == TOO_LONG
        assert [title.split()[-1] for title in web.titles()] == names
        assert slowest < 0.4  # starting a courier, never waiting for one


def test_a_heartbeat_is_fetched_while_all_is_well():
    with serving(Web()) as web:
        log, well = QuietLog(), False
        settings = HeartbeatSettings(url=f"http://{web.where}/ping", every_s=0.1)
        heart = Heartbeat(settings, log)
        try:
            heart.turn(lambda: well)
            assert heart._delivery is None
            well = True
            wait_until(lambda: heart.turn(lambda: well) or heart.taken >= 2, 10)
            web.code = 500
            wait_until(lambda: heart.turn(lambda: well) or heart.failed, 10)
        finally:
            heart.end()
        assert log.lines == [("warning", "heartbeat", {"reason": "it answered with error 500"})]


def test_apprise_is_in_the_courier_alone():
    code = "import sys, processes.cli.alerting, processes.alerts.main; print(*sys.modules)"
    loaded = run_python("-c", code).stdout.split()
    assert "processes.alerts.main" in loaded
    assert "apprise" not in loaded
