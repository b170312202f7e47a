"""What the environment says of the way to a server: a proxy, and whose certificates are trusted.

httpx would read it too, but ends in a traceback where a variable is wrong, also one that is not
about the server.
"""

from __future__ import annotations

import importlib.util
import ipaddress
import os
import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import httpx

from staircase.errors import ScenarioError
from staircase.files import named_path

SOCKS = ("socks5", "socks5h")
_ENTRY = re.compile(r"(?:\w+://)?(?:\[(?P<v6>[^]]*)\]|(?P<name>[^:]*))(?::(?P<port>\d+))?")


@dataclass(frozen=True)
class Proxy:
    """``url`` may hold a password; ``variable`` is where it is from."""

    url: str = field(repr=False)
    variable: str


def proxy_for(base_url: str, environ: Mapping[str, str] = os.environ) -> Proxy | None:
    """The proxy by which ``base_url`` is reached, as curl would choose it.

    Raises:
        ScenarioError: the variable that names it names none; one line.
    """
    parts = urlsplit(base_url)
    assert parts.hostname
    names = [f"{parts.scheme}_proxy", f"{parts.scheme}_proxy".upper(), "all_proxy", "ALL_PROXY"]
    variable = next((name for name in names if environ.get(name)), None)
    exempt = environ.get("no_proxy") or environ.get("NO_PROXY") or ""
    port = parts.port or {"http": 80, "https": 443}[parts.scheme]
    if variable is None or is_exempt(parts.hostname, port, exempt):
        return None
    url = environ[variable].strip()
    url = url if "://" in url else f"http://{url}"
    problem = _problem(url)
    if problem:
        raise ScenarioError(f"{variable} {problem}, or name {parts.hostname} in NO_PROXY")
    return Proxy(url, variable)


def _problem(url: str) -> str | None:
    """Why a proxy cannot be used; without its URL, which may hold a password."""
    no_proxy = "names no proxy; it must be a URL such as http://127.0.0.1:3128"
    try:
        parts = urlsplit(url)
        is_url = bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        return no_proxy
    if not is_url or parts.scheme not in ("http", "https", *SOCKS):
        return no_proxy
    if parts.scheme in SOCKS and importlib.util.find_spec("socksio") is None:
        return "names a SOCKS proxy: pip install 'httpx[socks]', give an HTTP proxy"
    return None


def is_exempt(host: str, port: int, no_proxy: str) -> bool:
    """Whether ``no_proxy`` names a host: its name, domain, address or network."""
    return any(_names(entry, host.lower(), port) for entry in re.split(r"[\s,]+", no_proxy.lower()))


def _names(entry: str, host: str, port: int) -> bool:
    if entry == "*":
        return True
    found = _ENTRY.fullmatch(entry)
    # What holds several colons and no brackets is an address of IPv6.
    name = (found["v6"] or found["name"] or "") if found else entry
    name = name.removeprefix("*").removeprefix(".")
    if not name or (found and found["port"] and int(found["port"]) != port):
        return False
    return host == name or host.endswith(f".{name}") or _is_in(host, name)


def _is_in(host: str, network: str) -> bool:
    try:
        return ipaddress.ip_address(host) in ipaddress.ip_network(network, strict=False)
    except ValueError:
        return False


def certificates(ca_file: str | None, environ: Mapping[str, str] = os.environ) -> ssl.SSLContext:
    """Trusts ``ca_file``, else what SSL_CERT_FILE or SSL_CERT_DIR name, else certifi's.

    Raises:
        ScenarioError: there are no certificates; one line.
    """
    file, folder = environ.get("SSL_CERT_FILE"), environ.get("SSL_CERT_DIR")
    if ca_file is not None:
        return _trusting("ca_file", str(named_path(ca_file)))
    if file:
        return _trusting("SSL_CERT_FILE", file)
    if not folder:
        return httpx.create_ssl_context(trust_env=False)
    if not Path(folder).is_dir():
        raise ScenarioError(f"SSL_CERT_DIR: {folder}: no such folder; it must hold certificates")
    return ssl.create_default_context(capath=folder)


def _trusting(what: str, path: str) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=path)
    except OSError as error:
        # OpenSSL says nothing understandable about a file without certificates.
        is_read = isinstance(error, ssl.SSLError)
        reason = "holds no certificate" if is_read else f"cannot be read ({error.strerror})"
        raise ScenarioError(
            f"{what}: {path}: {reason}; it must be a file of certificates (PEM)"
        ) from None
