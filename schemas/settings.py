"""The configuration as typed data: every key, what it may be, and its default.

`config/loader.py` fills these from YAML and the environment; an unknown key or a wrong value is a
`ConfigError`. `RESTARTS` says what a changed key needs: which processes are restarted by a reload,
or that it is refused until the next `dcctl start`. A key that stands there in no row is taken live.
"""

from typing import Annotated, Literal

from msgspec import Meta, Struct, field

from schemas.alerts import AlertSettings
from schemas.brokers import Account, PaperAccount
from schemas.feeds import BitfinexSymbol, GmoSymbol, KrakenSymbol, VenueSettings
from schemas.predictions import PLACE_OF, Family
from schemas.rest import RestSections, Url
from schemas.training import RetrainingSettings, TrainingSettings
from schemas.units import BasisPoints, Decimals, NotNegative, Positive, Seconds, Share

PullLevel = Literal["none", "pause", "cancel", "flatten"]
AccountName = Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9_-]{0,31}$")]
Port = Annotated[int, Meta(ge=0, le=65535)]
PowerOfTwo = Annotated[int, Meta(ge=64, le=1 << 26)]


class PathSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where things live; relative paths are below the project's folder."""

    data: str = "data"
    logs: str = "logs"
    run: str = ""
    """Lock, registry and sockets; empty = `run` if its path is short enough for sockets."""


class HttpSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """/healthz and /metrics, always on 127.0.0.1."""

    port: Port = 9500
    """0 = any free port; `dcctl status` shows which."""


class LogSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Logs, JSON lines, one file a process."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    max_bytes: Annotated[int, Meta(ge=10_000)] = 20_000_000
    keep: Positive = 5


class RingSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Capacities in slots; powers of two."""

    tape: PowerOfTwo = 1 << 19
    features: PowerOfTwo = 1 << 15
    predictions: PowerOfTwo = 1 << 15
    decisions: PowerOfTwo = 1 << 16


class SignalSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a reader that sleeps is woken."""

    doorbell: Literal["zmq", "datagram"] = "zmq"
    timeout_ms: Annotated[int, Meta(ge=1, le=20)] = 10
    """Longest sleep without a look at the ring: what a lost signal costs."""
    spin_us: Annotated[int, Meta(ge=0, le=1000)] = 0
    """Busy-wait this long before sleeping; costs a core."""


class FeatureSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When rows are cut."""

    cut_interval_s: Annotated[float, Meta(ge=0.1, le=5)] = 1.0
    trigger: bool = False
    """Cut also when new events have come, at most once in `trigger_interval_us`."""
    trigger_interval_us: NotNegative = 1000
    stale_after_s: Seconds = 10.0
    """A book without an event for this long marks its rows stale."""
    stuck_after_s: Seconds = 60.0
    """A book whose events change none of its ten levels for this long marks its rows stuck."""


class InferenceSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The model chain: the network on MLX, in numpy, positions only; and the models beside it."""

    enabled: bool = True
    model: str = "models/shipped/tcn"
    device: Literal["auto", "cpu", "gpu", "numpy"] = "auto"
    deadline_ms: Seconds = 50.0
    misses_to_fall: Positive = 20
    """Deadlines missed in a row before the chain falls a rung, and before a model that misses its
    share of the deadline is left out."""
    retry_s: Seconds = 30.0
    """How long after a fall the rung above is tried again, and a model that was left out."""
    families: Annotated[tuple[Family, ...], Meta(min_length=1)] = ("tcn", "moving_average_cross")
    """Models that run side by side, one in each place: the promoted version of a family, or the
    shipped one, or of a rule the textbook's."""
    learn: bool = True
    """Whether an online model goes on learning while it runs."""
    checkpoint_s: Seconds = 60.0
    """How often what it has learnt is kept on disk; what a restart then has to learn again."""
    max_memory_mb: Annotated[int, Meta(ge=64)] = 2048
    """Above so much resident memory the process ends in order, and is started again."""

    def __post_init__(self) -> None:
        """Refuse two models in one place."""
        places = [PLACE_OF[family] for family in self.families]
        if twice := [family for family in self.families if places.count(PLACE_OF[family]) > 1]:
            raise ValueError(f"{', '.join(twice)} stand in one place: name one of them")


class VolatilityTrendSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Follows the moving averages where the market moves enough to pay for its spread."""

    spreads: Annotated[float, Meta(ge=0)] = 2.0
    """A minute's volatility must be so many spreads."""
    share: Annotated[float, Meta(ge=0)] = 1.0
    """Of a minute's volatility, what is expected to be gained."""


class StrategySettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What turns predictions into signals."""

    enabled: bool = True
    name: Literal[
        "moving_average_cross", "tcn", "always_flat", "volatility_trend", "cnn", "linear", "gbdt",
        "regime", "blend", "rsi_thresholds", "bollinger_touch", "donchian_breakout",
    ] = "moving_average_cross"  # fmt: skip
    enter_threshold: Annotated[float, Meta(ge=0)] = 0.4
    """Confidence a signal needs, 0 to 1."""
    min_expected_value_bps: float = 0.0
    horizon_s: Seconds = 300.0
    """A position older than this is closed."""
    cooldown_s: Annotated[float, Meta(ge=0)] = 5.0
    max_spread_quantile: Annotated[float, Meta(ge=0.5, le=1)] = 1.0
    """Nothing is entered while the spread is wider than so large a share of its instrument's last
    thousand predictions or so had it; 1 = whatever it is."""
    regimes: tuple[Annotated[int, Meta(ge=0, le=62)], ...] = ()
    """Regimes in which positions are entered; empty = in all, also where no model tells any."""
    volatility_trend: VolatilityTrendSettings = VolatilityTrendSettings()


class PaperSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The paper broker: fills from our own tape."""

    latency_ms: Annotated[float, Meta(ge=0)] = 20.0
    fee_bps: BasisPoints = 10.0


class ExecutionSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Whether and how orders are sent."""

    enabled: bool = True
    """false: everything is decided and recorded, nothing is sent."""
    live: bool = False
    """Whether orders may go where money is. Beside it `dcctl arm --live` is needed."""
    accounts: dict[AccountName, Account] = field(default_factory=lambda: {"paper": PaperAccount()})
    order_notional: Decimals = "100"
    """Size of an entry, in quote currency."""
    timer_s: Seconds = 1.0
    send_within_ms: Positive = 2000
    """An order that has waited longer for its broker is not sent any more."""
    paper: PaperSettings = PaperSettings()


class FeeSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a venue takes of a fill."""

    maker_bps: BasisPoints = 0.0
    taker_bps: BasisPoints = 0.0


class VenueFees(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One section a venue; a venue without one takes `execution.paper.fee_bps` both ways."""

    bitfinex: FeeSettings | None = None
    kraken: FeeSettings | None = None
    gmo: FeeSettings | None = None


class BacktestSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a backtest's broker fills from the tape; docs/backtest.md says what each model is."""

    latency_ms: Annotated[float, Meta(ge=0)] = 20.0
    """From a decision to the order's arrival at the venue."""
    report_latency_ms: Annotated[float, Meta(ge=0)] = 20.0
    """From what happened at the venue to execution's knowing of it."""
    jitter_ms: Annotated[float, Meta(ge=0)] = 0.0
    """Up to so much more each way, drawn from `seed` and the order's id."""
    seed: NotNegative = 1
    cancels_ahead: Share = 0.5
    """Of cancels at a resting order's price, the part ahead of it in proportion to the queue, times
    this: 0 = all cancels are behind it, 1 = cancels are spread evenly."""
    fees: VenueFees = VenueFees()


class ScopeLimits(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Limits of a venue, an account or an instrument; absent = that of what is around it.

    Those of one order or position take the place of a wider one; those of sums hold beside it.
    """

    max_order_notional: Decimals | None = None
    max_position_notional: Decimals | None = None
    max_total_notional: Decimals | None = None
    max_daily_loss: Decimals | None = None
    max_spread_bps: BasisPoints | None = None
    max_orders_per_minute: Positive | None = None
    price_band_bps: BasisPoints | None = None


class AmountTrigger(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A trigger on an amount of money."""

    at: Decimals
    """Fires at this reading; 0 = never."""
    again_below: Decimals
    """Can fire again once the reading was below this, and a person has armed."""
    pull: PullLevel = "pause"
    """The level of the kill switch; none = it is only told."""

    def __post_init__(self) -> None:
        """Refuse a trigger that would fire again at once."""
        if float(self.again_below) > float(self.at):
            raise ValueError("again_below must not be above at")


class CountTrigger(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A trigger on a number of times, or of seconds."""

    at: NotNegative
    again_below: NotNegative = 1
    pull: PullLevel = "pause"

    def __post_init__(self) -> None:
        """Refuse a trigger that would fire again at once."""
        if self.at and self.again_below > self.at:
            raise ValueError("again_below must not be above at")


class TriggerSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What pulls the kill switch by itself; docs/risk.md says what each reading is."""

    daily_loss: AmountTrigger = AmountTrigger(at="300", again_below="100")
    drawdown: AmountTrigger = AmountTrigger(at="600", again_below="300")
    losing_streak: CountTrigger = CountTrigger(at=0)
    order_rejects: CountTrigger = CountTrigger(at=5)
    unknown_orders: CountTrigger = CountTrigger(at=60)
    accounts_away: CountTrigger = CountTrigger(at=120, pull="none")
    positions_differ: CountTrigger = CountTrigger(at=1)


class RiskSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Limits; amounts in one currency. Codes, scopes and triggers: docs/risk.md."""

    max_order_notional: Decimals = "1000"
    max_position_notional: Decimals = "2000"
    max_total_notional: Decimals = "10000"
    max_daily_loss: Decimals = "200"
    max_drawdown: Decimals = "500"
    """Since the highest equity, which arming sets anew; 0 = no limit."""
    max_losing_streak: NotNegative = 0
    """Trades in a row that may end with a loss, until one wins or a person arms; 0 = no limit."""
    max_spread_bps: BasisPoints = 20.0
    max_orders_per_minute: Positive = 30
    price_band_bps: BasisPoints = 100.0
    stale_after_ms: Positive = 2000
    min_quantity: Decimals = "0.00001"
    """Where the venue lists a larger one, that holds."""
    allow_short: bool = False
    rates: dict[Annotated[str, Meta(pattern=r"^[A-Z0-9]{2,10}$")], Decimals] = {}
    """What a unit of a quote currency is worth in the currency of the limits: `JPY: "0.0066"`.
    One that is not named counts as 1."""
    per_venue: dict[Literal["bitfinex", "kraken", "gmo"], ScopeLimits] = {}
    per_account: dict[AccountName, ScopeLimits] = {}
    per_instrument: dict[Annotated[str, Meta(pattern=r"^[a-z]+:\S+$")], ScopeLimits] = {}
    """By venue and its own symbol: `kraken:BTC/USD`."""
    triggers: TriggerSettings = TriggerSettings()
    positions_only_s: Annotated[float, Meta(ge=0)] = 300.0
    """After so long without a prediction that the strategy can use, positions are closed; 0 =
    never."""


class LedgerSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where the trading ledger is kept."""

    url: str = ""
    """Empty = a SQLite file in the data folder; or `postgresql://USER:${NAME}@HOST/DATABASE`. A
    password is named, never written: `${NAME}` is taken from the environment."""
    timeout_s: Annotated[float, Meta(ge=0.05, le=5)] = 0.5
    """An order whose intent is not safe within this time is not sent."""


class HistorySettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """History tables: bars, signals, profit and loss, audit log."""

    enabled: bool = True
    url: str = ""
    """Empty = where the ledger is: a SQLite file beside it, or the schema `history` of its
    database; else as `ledger.url`."""
    interval_s: Seconds = 1.0
    """How often what has come is written."""
    timeout_s: Annotated[float, Meta(ge=0.05, le=60)] = 5.0


class PressureSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What storage does when it falls behind: books in samples, then their best levels only.

    The load is the greatest of the lags behind the rings, as shares of their capacities, and the
    journals' size as a share of `journals_full_bytes`. It must be
    `back_below` < `sample_at` < `tops_at`.
    """

    enabled: bool = True
    sample_at: Share = 0.5
    """Books are sampled from this load on."""
    tops_at: Share = 0.75
    """Of a book only the best levels are kept from this load on."""
    back_below: Share = 0.25
    """A load below this for `back_after_s` takes one step back."""
    back_after_s: Seconds = 10.0
    sample_ms: Annotated[int, Meta(ge=10, le=60_000)] = 250
    """Between two samples of a book."""
    top_levels: Annotated[int, Meta(ge=1, le=10)] = 1
    """Levels a side that are kept of the primary book in the last step."""
    journals_full_bytes: Annotated[int, Meta(ge=1_000_000)] = 8_000_000_000
    """Journals of this size are a load of 1. They are `storage.journal_max_bytes` and some at the
    most while the disk keeps up, so this should be several times as much."""

    def __post_init__(self) -> None:
        """Refuse thresholds that would go up and down at once."""
        if not self.back_below < self.sample_at < self.tops_at:
            raise ValueError("it must be back_below < sample_at < tops_at")


class StorageSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Journals and the lake."""

    poll_ms: Annotated[int, Meta(ge=1, le=1000)] = 50
    flush_s: Seconds = 1.0
    """How often open lake files get what has come, and journals are synced."""
    seal_bytes: Annotated[int, Meta(ge=4096)] = 256_000_000
    seal_s: Seconds = 3600.0
    journal_max_bytes: Annotated[int, Meta(ge=1_000_000)] = 2_000_000_000
    """Files are sealed early when the journals grow past this, so that segments can go."""
    journal_segment_bytes: Annotated[int, Meta(ge=65_536)] = 128_000_000
    pressure: PressureSettings = PressureSettings()


class LakeSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A store that the lake is kept in as well, by a process of its own; docs/lake.md."""

    store: str = ""
    """s3://bucket/folder?region=..., gs://bucket/folder or file:///mnt/nas/lake; empty = none.
    Credentials are in the environment of dcctl, never here: AWS_ACCESS_KEY_ID and
    AWS_SECRET_ACCESS_KEY or AWS_PROFILE, or GOOGLE_APPLICATION_CREDENTIALS."""
    keep_local_days: Annotated[int, Meta(ge=0, le=36_500)] = 0
    """Days before today that stay on this machine's disk once the store has them, proved; 0 = all
    stay."""
    push_s: Seconds = 300.0
    """How often it looks for files that the store does not have."""
    backoff_first_s: Seconds = 1.0
    backoff_longest_s: Seconds = 300.0
    """Between two tries at a store that does not answer or refuses."""


class BucketSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One bucket of InfluxDB."""

    name: Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    days: Annotated[int, Meta(ge=1, le=3650)]
    """How long the server keeps its points; `dcctl influx init` says so to the server, and what
    waits on disk for longer than this is not sent any more."""


class InfluxBuckets(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What goes where."""

    fast: BucketSettings = BucketSettings(name="rt-fast", days=7)
    """Features, predictions and decisions, each of them."""
    aggregates: BucketSettings = BucketSettings(name="agg-30s", days=30)
    """Mean, last, least, greatest and count of features and predictions over 30 s."""
    logs: BucketSettings = BucketSettings(name="logs", days=90)
    """Orders and denials, the kill switch, gaps, restarts, falls of the model chain."""


class InfluxSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Features, summaries and the audit log to an InfluxDB 2 server, by a process of its own."""

    enabled: bool = False
    url: Url = "http://127.0.0.1:8086"
    org: str = "dc"
    token: Annotated[str, Meta(pattern=r"^(\$\{[A-Za-z_][A-Za-z0-9_]*\})?$")] = ""
    """`${NAME}`: the environment variable that holds the token. The token itself may not stand
    in a file of settings."""
    token_file: str = ""
    """Or the file that holds it, which only its owner may read; relative paths are below the
    project's folder."""
    buckets: InfluxBuckets = InfluxBuckets()
    poll_ms: Annotated[int, Meta(ge=1, le=1000)] = 50
    flush_lines: Annotated[int, Meta(ge=1, le=100_000)] = 5000
    flush_bytes: Annotated[int, Meta(ge=1024, le=50_000_000)] = 2_000_000
    """Of one bucket; whichever comes first, lines, bytes or `flush_ms`, makes a batch."""
    flush_ms: Annotated[int, Meta(ge=10, le=60_000)] = 1000
    pending_bytes: Annotated[int, Meta(ge=1_000_000)] = 32_000_000
    """In memory while the spool cannot be written; beyond it the oldest go, counted."""
    spool: str = ""
    """Folder of what is not sent yet; empty = `influx` in the data folder."""
    spool_bytes: Annotated[int, Meta(ge=100_000)] = 1_000_000_000
    """On disk, compressed, all together; beyond it the oldest segment goes, counted."""
    segment_bytes: Annotated[int, Meta(ge=4096)] = 16_000_000
    connect_timeout_s: Annotated[float, Meta(gt=0, le=30)] = 2.0
    timeout_s: Annotated[float, Meta(gt=0, le=60)] = 5.0
    """Longest wait for an answer to a batch."""
    backoff_first_s: Seconds = 0.5
    backoff_longest_s: Seconds = 30.0
    hold_s: Seconds = 30.0
    """How often a server that refuses the token or does not know a bucket is asked again."""
    replay_lines_per_s: Annotated[int, Meta(ge=100)] = 20_000
    """What waited on disk is sent no faster than this beside what is new."""
    extra_requests: Annotated[int, Meta(ge=2, le=100_000)] = 256
    """Most requests that a refused batch is taken apart with; what is left then is put aside."""
    dead_letters_bytes: Annotated[int, Meta(ge=10_000)] = 20_000_000
    """Refused lines are kept in a file beside the spool; a full one replaces the one before."""


class StreamLengths(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Entries that each stream in Redis keeps, about: what Redis trims to."""

    trade: Positive = 100_000
    orderbook: Positive = 50_000
    ticker: Positive = 20_000
    signal: Positive = 10_000
    order: Positive = 50_000
    refused: Positive = 10_000


class BridgeSignals(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Signals that strategies elsewhere write to `signal:in`."""

    enabled: bool = False
    max_age_ms: Positive = 2000
    """A signal older than this by its own `ts` is refused."""
    max_ahead_ms: NotNegative = 500
    """How far a signal's `ts` may lie ahead of this machine's clock."""
    poll_ms: Annotated[int, Meta(ge=1, le=1000)] = 20
    batch: Annotated[int, Meta(ge=1, le=256)] = 64


class BridgeSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Redis Streams for programs on other machines; docs/bridge.md."""

    enabled: bool = False
    url: str = "redis://127.0.0.1:6379/0"
    """redis://, rediss:// or unix://; a password stands in the environment:
    redis://:${NAME}@host."""
    prefix: Annotated[str, Meta(pattern=r"^[\w.:-]{0,64}$")] = ""
    """Stands before every key: `demo:` makes `demo:md:trade`. Instances that share a Redis differ
    in it."""
    venues: tuple[str, ...] = ()
    """Empty = all that are enabled."""
    symbols: tuple[str, ...] = ()
    """The venues' own names; empty = all."""
    channels: tuple[Literal["trade", "orderbook", "ticker"], ...] = (
        "trade",
        "orderbook",
        "ticker",
    )
    lengths: StreamLengths = StreamLengths()
    batch: Annotated[int, Meta(ge=1, le=8192)] = 1024
    """Slots of a ring that are taken, and held until Redis has them."""
    poll_ms: Annotated[int, Meta(ge=1, le=1000)] = 5
    timeout_s: Annotated[float, Meta(gt=0, le=3)] = 1.0
    """How long Redis may take to connect or to answer."""
    backoff_first_s: Seconds = 0.1
    backoff_longest_s: Annotated[float, Meta(gt=0, le=60)] = 5.0
    conflate_lag: Positive = 20_000
    """Slots behind from which order books are conflated."""
    conflate_ms: Positive = 100
    """Then the newest book of an instrument in each such interval is sent."""
    signals: BridgeSignals = BridgeSignals()


class ConsoleSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Web page and API for people, a process of its own; docs/console.md."""

    enabled: bool = True
    outside: bool = False
    """Somebody else starts it, as a container of its own (docs/server.md); it has its place."""
    host: Annotated[str, Meta(pattern=r"^[A-Za-z0-9.:-]{1,253}$")] = "127.0.0.1"
    """Another address than this machine's own shows the page, and the kill switch, to a network:
    better a tunnel by ssh."""
    port: Port = 9600
    """0 = any free port; `dcctl console` shows which."""
    hosts: tuple[Annotated[str, Meta(pattern=r"^[a-z0-9.-]{1,253}$")], ...] = ()
    """Names beside the host's own under which a browser may come, as behind a proxy."""
    token_file: str = ""
    """Holds the API's token, which only its owner may read; made if it is not there. Empty =
    in the data folder's `state`; relative paths are below the project's folder."""
    updates_per_s: Annotated[float, Meta(ge=1, le=20)] = 5.0
    """How often pages are brought up to date."""
    requests_per_s: Annotated[float, Meta(ge=1, le=1000)] = 20.0
    """Of the API, on average, by one token or browser; the kill switch is never counted."""
    burst: Positive = 60
    body_bytes: Annotated[int, Meta(ge=1024, le=10_000_000)] = 65_536
    """Longest body of a request."""
    header_s: Annotated[float, Meta(gt=0, le=60)] = 5.0
    """A request that is not whole within this time is cut off."""
    connections: Annotated[int, Meta(ge=4, le=10_000)] = 200
    """Open at a time."""
    session_days: Annotated[float, Meta(gt=0, le=365)] = 30.0
    """How long a browser stays logged in."""


class SupervisorSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How children are watched and started again."""

    ready_timeout_s: Seconds = 180.0
    hung_after_s: Seconds = 8.0
    stop_timeout_s: Seconds = 10.0
    backoff_first_s: Seconds = 0.2
    backoff_longest_s: Seconds = 10.0
    budget: Positive = 10
    """Restarts within `budget_s` before a child is given up as failed."""
    budget_s: Seconds = 120.0


class SimulatorFaults(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Faults that the simulator commits by itself, mean seconds between two; 0 = never."""

    cut_s: Annotated[float, Meta(ge=0)] = 0.0
    gap_s: Annotated[float, Meta(ge=0)] = 0.0
    bad_checksum_s: Annotated[float, Meta(ge=0)] = 0.0
    silence_s: Annotated[float, Meta(ge=0)] = 0.0


class PlaybackSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Recordings that the simulator serves in place of its markets, one stream a venue."""

    bitfinex: tuple[str, ...] = ()
    """Files of recorded frames, in order; empty = the venue shows its markets."""
    kraken: tuple[str, ...] = ()
    gmo: tuple[str, ...] = ()
    speed: Annotated[float, Meta(ge=0)] = 1.0
    """Times as fast as it was recorded; 0 = as fast as the client reads."""


class SimulatorAccount(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An account at a venue of the local exchange; its key and secret open nothing else."""

    venue: Literal["bitfinex", "kraken", "gmo"]
    key: Annotated[str, Meta(pattern=r"^[A-Za-z0-9+/=_-]{8,128}$")]
    secret: Annotated[
        str, Meta(pattern=r"^([A-Za-z0-9+/=_-]{8,128}|\$\{[A-Za-z_][A-Za-z0-9_]*\})$")
    ]
    """Invented, or `${NAME}` of the environment; at Kraken base64, as its secrets are."""
    balances: dict[str, Decimals] = {}
    """What it begins with, by asset: USD, BTC ..."""


class SimulatorSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The local exchange."""

    enabled: bool = False
    seed: int = 7
    port: Port = 0
    """0 = any free port, told to the collector."""
    symbols: tuple[BitfinexSymbol, ...] = ("tBTCUSD", "tETHUSD")
    """Markets at Bitfinex. A venue without symbols, and without a playback, is not served."""
    kraken_symbols: tuple[KrakenSymbol, ...] = ()
    gmo_symbols: tuple[GmoSymbol, ...] = ()
    events_per_s: Annotated[float, Meta(gt=0)] = 60.0
    """Orders arriving a second and symbol, on average."""
    resting_orders: Annotated[int, Meta(ge=20, le=100_000)] = 260
    """Orders in each book, about; the price levels are some four times fewer a side."""
    past_s: Seconds = 120.0
    """Each market has so much of a past when it is first seen: trades and candles are there."""
    kraken_tier: Literal["starter", "intermediate", "pro", "unlimited"] = "intermediate"
    """How fast Kraken lets an account place, change and cancel orders of a pair."""
    gmo_ping_s: Seconds = 60.0
    """Between two protocol-level pings of GMO Coin."""
    gmo_too_fast: Literal["error", "ignored"] = "error"
    """What GMO Coin does with more than one command a second."""
    accounts: tuple[SimulatorAccount, ...] = ()
    """Who can trade there: venue, key, secret and balances of each."""
    playback: PlaybackSettings = PlaybackSettings()
    faults: SimulatorFaults = SimulatorFaults()
    log_sent: bool = False
    """Keep a log of all that was sent, for tests that compare it with the lake."""


class Settings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The whole configuration."""

    profile: str = "demo"
    paths: PathSettings = PathSettings()
    http: HttpSettings = HttpSettings()
    log: LogSettings = LogSettings()
    rings: RingSettings = RingSettings()
    signal: SignalSettings = SignalSettings()
    venues: VenueSettings = VenueSettings()
    rest: RestSections = RestSections()
    features: FeatureSettings = FeatureSettings()
    inference: InferenceSettings = InferenceSettings()
    strategy: StrategySettings = StrategySettings()
    execution: ExecutionSettings = ExecutionSettings()
    risk: RiskSettings = RiskSettings()
    ledger: LedgerSettings = LedgerSettings()
    history: HistorySettings = HistorySettings()
    backtest: BacktestSettings = BacktestSettings()
    training: TrainingSettings = TrainingSettings()
    retraining: RetrainingSettings = RetrainingSettings()
    storage: StorageSettings = StorageSettings()
    lake: LakeSettings = LakeSettings()
    influx: InfluxSettings = InfluxSettings()
    bridge: BridgeSettings = BridgeSettings()
    alerts: AlertSettings = AlertSettings()
    console: ConsoleSettings = ConsoleSettings()
    supervisor: SupervisorSettings = SupervisorSettings()
    simulator: SimulatorSettings = SimulatorSettings()


REFUSED: tuple[str, ...] = (
    "profile", "paths", "http", "rings", "simulator.port", "signal", "ledger", "influx.enabled",
    "bridge.enabled", "lake.store", "retraining", "console.enabled", "console.outside",
)  # fmt: skip
"""Keys (and all below them) that only a stop and start can change."""

SWITCHES: tuple[str, ...] = ("alerts.channels",)
"""Tables that only a stop and start can fill or empty, since a process is for what is in them; what
is in them may change."""

RESTARTS: dict[str, tuple[str, ...]] = {
    "venues.bitfinex": ("collector.bitfinex",),
    "venues.kraken": ("collector.kraken",),
    "venues.gmo": ("collector.gmo",),
    "features": ("features",),
    "inference": ("inference",),
    "storage": ("storage",),
    "lake": ("archive",),
    "history": ("storage",),
    "influx": ("influx",),
    "bridge": ("bridge",),
    "alerts": ("alerts",),
    "console": ("console",),
    "simulator": ("simulator",),
    "execution.live": ("execution",),
    "execution.accounts": ("execution",),
    "execution.paper": ("execution",),
}
"""Keys (and all below them) for which a reload restarts processes."""
