"""The settings of a server, as its operator chooses them."""

from dataclasses import dataclass, field

from limits import parse as parse_rate

from scorefield.errors import RequestError
from scorefield.queue.jobs import Limits

_LOOPBACK = ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Where to listen, who may ask, and for how much. RequestError for an open address without a key."""

    host: str = "127.0.0.1"
    port: int = 7860
    api_key: str | None = None
    hosts: tuple[str, ...] = ()  # further names by which this server is called
    webhook_hosts: tuple[str, ...] = ()
    limits: Limits = field(default_factory=Limits)
    most_body: int = 64 << 20  # bytes of a request
    most_input_pixels: int = 16 << 20  # of a picture that is given
    rate: str = "600/minute"  # of requests that ask for work, a client
    body_seconds: float = 30.0  # without a byte of a body

    def __post_init__(self) -> None:
        try:
            parse_rate(self.rate)
        except ValueError:
            raise RequestError(f"--rate must be such as 600/minute, not {self.rate!r}", option="rate") from None
        if not self.is_local and not self.api_key:
            raise RequestError(
                f"--host {self.host} lets other machines in; give an --api-key that they must send", option="host"
            )

    @property
    def is_local(self) -> bool:
        """Whether only this machine can connect."""
        return self.host in _LOOPBACK

    @property
    def names(self) -> frozenset[str] | None:
        """The host names that requests may be for; None for any."""
        if self.is_local:
            return frozenset({*_LOOPBACK, *self.hosts})
        return frozenset({self.host, *self.hosts}) if self.hosts else None
