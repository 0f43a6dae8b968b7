"""What can go wrong with the provider, as types: each one asks for a reaction of its own."""

from __future__ import annotations

from datetime import date


class MarketError(Exception):
    """The market data provider could not be asked."""

    def __init__(
        self,
        message: str = "",
        *,
        status: int | None = None,
        answered: bool | None = None,
        sent: bool = True,
        retry_after_s: float | None = None,
    ) -> None:
        """Attributes, all readable by callers:

        message        the provider's own text where it sent one, without the API key.
        status         HTTP status of the answer, None when none came.
        answered       an HTTP answer began to arrive, so the request reached the provider before
                       now: its place in the quota may be released one window from now.
        sent           the first byte may have left this machine. False means that the provider
                       saw nothing at all.
        retry_after_s  how long the provider asked us to stay away, None when it did not say.
        """
        self.message = message or default_message(type(self))
        super().__init__(self.message)
        self.status = status
        self.answered = (status is not None) if answered is None else answered
        self.sent = sent
        self.retry_after_s = retry_after_s

    def __str__(self) -> str:
        return self.message if self.status is None else f"{self.message} (HTTP {self.status})"


def default_message(error: type[BaseException]) -> str:
    """The first line of a class's docstring, which is its message where there is none better."""
    return (error.__doc__ or error.__name__).strip().splitlines()[0]


class Unauthorized(MarketError):
    """The provider does not know this API key: stop and alert."""


class NotEntitled(MarketError):
    """The plan of this API key does not include this endpoint: remember it, ask another feed."""


class NotYetPublished(MarketError):
    """The provider publishes this day later: ask again then, nothing is wrong."""


class NoTrading(MarketError):
    """The market did not trade on this day: the day before it is the newest."""

    def __init__(self, message: str = "", *, day: date, status: int = 200) -> None:
        super().__init__(message, status=status)
        self.day = day


class OutsidePlan(MarketError):
    """The plan of this API key does not include these dates: clamp the range."""


class NotFound(MarketError):
    """The provider has no such ticker or data."""

    @property
    def unknown_ticker(self) -> bool:
        """The provider says that it is the ticker, not the data, which it does not have."""
        return "ticker" in self.message.lower()


class BadRequest(MarketError):
    """The provider did not understand the request: a defect of ours, never retried."""


class RateLimited(MarketError):
    """The provider counted too many calls with this API key: no call may be made for a while."""


class ProviderDown(MarketError):
    """The provider is out of order or out of reach: try again later."""


class BadAnswer(MarketError):
    """The provider's answer makes no sense: try again later."""


class SendDeadlinePassed(MarketError):
    """The send deadline passed before the first byte, so nothing was sent."""

    def __init__(self, message: str = "") -> None:
        super().__init__(message, status=None, answered=False, sent=False)


class InvalidTicker(MarketError, ValueError):
    """This is not a ticker or symbol that the provider could know."""

    def __init__(self, message: str = "") -> None:
        super().__init__(message, status=None, answered=False, sent=False)
