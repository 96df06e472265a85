"""Memory and adoption: what was handed over is known, what was not is provably not."""

from decimal import Decimal

import pytest
from msgspec.structs import replace

from processes.execution.brokers.base import Outstanding
from processes.execution.brokers.freqtrade import memory as memory_module
from processes.execution.brokers.freqtrade.adoption import adopt, command_of, tell_again
from processes.execution.brokers.freqtrade.command import fill_name
from processes.execution.brokers.freqtrade.memory import Memory
from processes.execution.brokers.freqtrade.outcomes import news_of
from schemas.trading import OrderAccepted, OrderCanceled, OrderFilled
from tests.unit.execution.freqtrade.makers import T0, TAG, entry, leaving, order, reading, trade


@pytest.fixture
def memory(tmp_path):
    one = Memory(tmp_path / "new" / "bot.sqlite")
    yield one
    one.close()


def reopened(memory, tmp_path) -> Memory:
    memory.close()
    return Memory(tmp_path / "new" / "bot.sqlite")


def test_what_was_saved_is_there_after_a_death_and_what_was_removed_is_not(memory, tmp_path):
    command = entry()
    news_of(command, reading(trade(order(filled="0.4"))), T0)
    memory.save(entry())
    memory.save(command)
    gone = leaving()
    memory.save(gone)
    memory.remove(gone)
    again = reopened(memory, tmp_path)
    assert again.commands == {TAG: command}
    assert again.pending == again.awaited == [command]
    command.checked = True
    again.save(command)
    assert (again.pending, again.awaited) == ([command], [])
    assert again.tags == {TAG}
    again.close()


def test_old_orders_go_and_those_of_open_trades_stay(memory, monkeypatch, tmp_path):
    monkeypatch.setattr(memory_module, "KEPT", 5)
    for number in range(30):
        one = entry(tag=f"{number}", answered=True)
        one.intent = type(one.intent)(
            command_id=f"{number}", instrument=0, symbol="", side="buy", quantity="1", kind="limit"
        )
        if number != 7:
            one.told = [OrderCanceled(f"{number}", T0)]
        memory.save(one)
    memory.forget({"3"})
    kept = {"3", "7", *(str(number) for number in range(25, 30))}
    assert set(memory.commands) == kept
    again = reopened(memory, tmp_path)
    assert set(again.commands) == kept
    again.close()


def test_an_order_without_a_row_that_the_bot_does_not_show_was_never_handed_over(memory):
    one = Outstanding(intent=entry().intent)
    assert adopt(one, "ETH/USD", memory, reading()).sent_ns == 0
    out = Outstanding(intent=leaving("0.6").intent)
    shown = reading(trade(order(filled="1"), order("sell", "1", side="sell")))
    assert adopt(out, "ETH/USD", memory, shown).sent_ns == 0


def test_an_order_with_a_row_is_what_the_row_says(memory):
    command = entry(order_id="o")
    memory.save(command)
    assert adopt(Outstanding(intent=command.intent), "ETH/USD", memory, reading()) is command


def test_without_its_memory_an_entry_is_found_by_tag_and_told_only_what_the_ledger_lacks(memory):
    shown = reading(trade(order(filled="0.7")))
    one = Outstanding(
        intent=entry().intent,
        venue_order_id="dry_run_buy",
        fill_ids=frozenset({fill_name("dry_run_buy", Decimal("0.4"))}),
        filled="0.4",
    )
    command = adopt(one, "ETH/USD", memory, shown)
    assert tell_again(command, one) == []
    (fill,) = news_of(command, shown, T0).events
    assert isinstance(fill, OrderFilled)
    assert (fill.quantity, fill.fill_id) == ("0.3", fill_name("dry_run_buy", Decimal("0.7")))


def test_without_its_memory_an_exit_is_found_by_its_order(memory):
    shown = reading(trade(order(filled="1"), order("sell-7", "1", side="sell")))
    one = Outstanding(intent=leaving().intent, venue_order_id="sell-7")
    command = adopt(one, "ETH/USD", memory, shown)
    assert (command.tag, command.order_id) == (TAG, "sell-7")
    assert [type(event) for event in news_of(command, shown, T0).events] == [OrderFilled]


def test_the_killers_exit_is_found_by_its_amount_and_time_and_by_nothing_less(memory):
    bought = order(filled="1")
    one = Outstanding(intent=leaving("0.4").intent)

    def found(*orders, **more):
        shown = reading(trade(bought, *orders, **more))
        return adopt(one, "ETH/USD", memory, shown).order_id

    exit_order = order("sell-7", "0.4", "0.4", "sell")
    assert found(exit_order) == "sell-7"
    assert found(order("sell-7", "0.5", "0.5", "sell")) == ""
    early = order("sell-7", "0.4", "0.4", "sell", order_timestamp=T0 // 10**6 - 60_000)
    assert found(early) == ""
    assert found(exit_order, order("sell-8", "0.4", "0.4", "sell")) == ""  # nobody can say
    assert found(exit_order, enter_tag="by hand") == ""
    assert found(exit_order, pair="BTC/USD") == ""
    memory.save(leaving("0.4", order_id="sell-7"))
    other = Outstanding(intent=replace(one.intent, command_id="d" * 32))
    shown = reading(trade(bought, exit_order))
    assert adopt(other, "ETH/USD", memory, shown).order_id == ""  # another one's


def test_what_the_ledger_lacks_is_told_again_and_nothing_else():
    command = entry()
    news_of(command, reading(trade(order(filled="0.4", is_open=False))), T0)
    accepted, fill, canceled = command.told
    assert isinstance(accepted, OrderAccepted)
    bare = Outstanding(intent=command.intent)
    assert tell_again(command, bare) == [accepted, fill, canceled]
    knows = Outstanding(
        intent=command.intent, venue_order_id="dry_run_buy", fill_ids=frozenset({fill.fill_id})
    )
    assert tell_again(command, knows) == [canceled]
    over = Outstanding(intent=command.intent, venue_order_id="dry_run_buy", open=False)
    assert tell_again(command, over) == [fill]


def test_an_exit_takes_its_trade_later_and_an_entry_is_its_own_tag():
    assert command_of(entry().intent, "ETH/USD").tag == TAG
    assert command_of(leaving().intent, "ETH/USD").tag == ""
    assert command_of(leaving().intent, "ETH/USD").role == "exit"
