"""Which addresses only this machine reaches.

Stands alone because the command line decides by it where it may listen, and a page whether its
address is of use to somebody else; neither imports the other.
"""

import ipaddress


def ipv4(host: str) -> ipaddress.IPv4Address | None:
    """Return the address that a text is, None where it is none."""
    try:
        return ipaddress.IPv4Address(host)
    except ValueError:
        return None


def is_loopback(host: str) -> bool:
    """Whether an address can be reached from this machine alone.

    Examples
    --------
    >>> is_loopback("127.0.0.1"), is_loopback("localhost"), is_loopback("0.0.0.0")
    (True, True, False)
    """
    address = ipv4(host)
    return host == "localhost" if address is None else address.is_loopback
