"""The settings of the HTTP API; see `keys`."""

from __future__ import annotations

import ipaddress
import re
from pathlib import Path

from gatepost.settings import kinds
from gatepost.settings.model import Address
from gatepost.settings.problems import Place, Rejected, Report, quoted
from gatepost.settings.schema import Scalar, section, setting

_UNIX = "unix:"
_SOCKET = re.compile(r"/[^\0\n]{1,90}")


def _listen(text: str) -> Address | Path | None:
    if text.startswith(_UNIX):
        path = text.removeprefix(_UNIX)
        if _SOCKET.fullmatch(path) and not path.endswith("/"):
            return Path(path)
        raise Rejected(
            f"{quoted(text)} is no socket", "write one such as unix:/run/gatepost/api.sock"
        )
    try:
        return kinds.LISTEN.parse(text)
    except Rejected as error:
        raise Rejected(
            error.problem, "write one such as 127.0.0.1:9465, unix:/run/gatepost/api.sock, or off"
        ) from error


LISTEN = Scalar(
    "an IP address with port, unix: with the path of a socket, or off", _listen, "127.0.0.1:9465"
)


@section
class ApiSection:
    """The HTTP API, see docs/api.md. It asks for tokens, which gatepost api token create makes."""

    listen: Address | Path | None = setting(
        LISTEN,
        "off",
        doc="""Where it answers. It has no TLS of its own: keep it on a loopback address or a
        socket, and put a web server before it for others. A socket may be used by service.user and
        its group. off serves none; tenants that were made through it stay. A change takes effect
        after a restart.""",
        example="127.0.0.1:9465",
    )


def check_api(api: ApiSection, file: str, report: Report) -> None:
    """Warn of an address at which tokens would pass in the clear.

    Args:
        api: The settings.
        file: Where they stand.
        report: Takes problems.
    """
    address = api.listen
    if isinstance(address, Address) and not ipaddress.ip_address(address.host).is_loopback:
        report.warn(
            Place(file, ("api", "listen")),
            f"{address} can be reached from outside, where tokens would pass without TLS",
            "use a loopback address, and put a web server with TLS before it",
        )
