"""The error tree.

    DataControllerError
    ├── ConfigError            a setting is wrong: says which key, and what it may be (exit 78)
    ├── OperatorError          a command cannot be done now: one sentence and what to type (exit 1)
    │   ├── UsageError         a word on the command line means nothing here (exit 2)
    │   └── NotRunningError    it needs a running instance and there is none (exit 3)
    ├── FeedError              market data could not be used
    │   ├── DecodeError        a frame is not what the venue's protocol says
    │   └── SubscriptionError  the venue refused a subscription
    └── VenueError             the venue refused or failed a request

`shm` stands apart (it knows no market word) and has a tree of its own in `shm/errors.py`.
What a risk check denies is not an error but a coded `Reason` (`schemas/trading.py`), and a broken
assertion is a bug: the process ends and the supervisor starts it again.
"""


class DataControllerError(Exception):
    """Anything this project raises on purpose."""


class ConfigError(DataControllerError):
    """A setting is wrong; the text names the key, the value and what is allowed."""


class OperatorError(DataControllerError):
    """A command cannot be done as typed; the text says what to type instead."""


class UsageError(OperatorError):
    """A word on the command line is not one of those allowed; the text lists them."""


class NotRunningError(OperatorError):
    """A command needs a running instance, and there is none."""


class FeedError(DataControllerError):
    """Market data could not be used."""


class DecodeError(FeedError):
    """A frame does not have the form that the venue's protocol gives it."""


class SubscriptionError(FeedError):
    """The venue refused a subscription."""


class VenueError(DataControllerError):
    """The venue refused a request or failed to answer it."""
