"""What execution tells of accounts and the ledger, for those who watch it."""

import zmq

from processes.bus import subscribe
from processes.execution.machine import Machine
from processes.execution.telling import Teller
from processes.runtime import Context
from schemas.messages import AccountAlarmed, decode_fact
from schemas.metrics import place
from schemas.trading import AccountAlarm, AccountAway, Reconciled
from tests.helpers import wait_until
from tests.instances import bare_instance


def test_an_alarm_goes_over_the_bus_and_counts_say_who_is_away(closed_logs):
    with bare_instance() as instance:
        instance.put_in_force()
        instance.open()
        context = Context(instance.paths.run, "execution")
        heard = subscribe(context.bus.context, instance.paths.run, ["execution"])
        try:
            machine = Machine(7, [], instance.settings)
            teller = Teller(context, machine)
            alarm = AccountAlarm("paper", 5, "vanished", "7: gone", pause=True)

            def is_heard():
                teller.account(AccountAway("paper", 4, "closed"))  # is no alarm
                teller.account(alarm)
                return heard.poll(10)

            wait_until(is_heard, 10, "a subscription takes a moment")
            fact = decode_fact(heard.recv_multipart(zmq.NOBLOCK)[-1])
            assert fact == AccountAlarmed(
                account="paper", code="vanished", text="7: gone", time_ns=5
            )

            def counted():
                teller.count()
                return [
                    context.metrics.get(place(name)) for name in ("accounts_away", "ledger_away")
                ]

            machine.on_ledger(away=True)
            assert counted() == [1, 1]
            machine.on_event(Reconciled("paper", 6), 6)
            machine.on_ledger(away=False)
            assert counted() == [0, 0]
        finally:
            heard.close(0)
            context.close()
