"""The error tree.

    DataControllerError
    ├── ConfigError            a setting is wrong: says which key, and what it may be (exit 78)
    ├── OperatorError          a command cannot be done now: one sentence and what to type (exit 1)
    │   ├── UsageError         a word on the command line means nothing here (exit 2)
    │   ├── NotRunningError    it needs a running instance and there is none (exit 3)
    │   ├── ShutDownError      the kill switch has shut the instance down; only arm lets it start
    │   └── StoreError         a store of a lake does not answer, or will not have us
    ├── DatabaseError          a database cannot be used; the text says what to do
    │   └── DatabaseUnavailableError  it does not answer, not in time, or is full: it may later
    ├── LakeError              a file of the lake cannot be read, or is not what it says
    ├── FeedError              market data could not be used
    │   ├── DecodeError        a frame is not what the venue's protocol says
    │   └── SubscriptionError  the venue refused a subscription
    └── VenueError             the venue refused or failed a request
        ├── RateLimitedError   more requests than the venue allows; says how long to wait
        ├── UnavailableError   no answer, a broken one, or the venue says that it cannot now
        │   └── MaintenanceError  it is being maintained
        ├── RefusedError       the venue answered: this request is wrong
        └── AnswerError        an answer that is not what the venue's pages say

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


class ShutDownError(OperatorError):
    """The kill switch has shut the instance down, and nobody has armed it since."""


class StoreError(OperatorError):
    """A store that a lake is kept in does not answer, or refuses; the text says what to do."""

    def __init__(self, text: str, *, refused: bool) -> None:
        super().__init__(text)
        self.refused = refused
        """It answered that the credentials or the bucket are wrong: a person must look."""


class DatabaseError(DataControllerError):
    """A database cannot be opened, read or written; the text says which and what to do."""


class DatabaseUnavailableError(DatabaseError):
    """The database does not answer in time, or is full; the same may succeed later.

    Whether what was being written is there is not known.
    """


class LakeError(DataControllerError):
    """A file of the lake cannot be read, or is not what it says; the text names it."""


class FeedError(DataControllerError):
    """Market data could not be used."""


class DecodeError(FeedError):
    """A frame does not have the form that the venue's protocol gives it."""


class SubscriptionError(FeedError):
    """The venue refused a subscription."""


class VenueError(DataControllerError):
    """The venue refused a request or failed to answer it."""

    transient = False
    """Whether the same request may succeed later, so that a harmless one is repeated."""

    def __init__(self, text: str, *, code: str = "", wait_s: float = 0.0) -> None:
        super().__init__(text)
        self.code = code
        """The venue's own code (`10020`, `EGeneral:Invalid arguments`, `ERR-5207`), or nothing."""
        self.wait_s = wait_s
        """How long the venue asks to be left alone; 0 where it does not say."""


class RateLimitedError(VenueError):
    """More requests than the venue allows."""

    transient = True


class UnavailableError(VenueError):
    """The venue could not be reached, did not answer in time, broke off, or says it cannot now."""

    transient = True


class MaintenanceError(UnavailableError):
    """The venue is being maintained."""


class RefusedError(VenueError):
    """The venue answered that the request is wrong; to repeat it is of no use."""


class AnswerError(VenueError):
    """An answer that is too large, or not of the form that the venue's pages give it."""
