"""The way to a server as the environment has it: proxies, certificates, redirects."""

from __future__ import annotations

import shutil
import ssl
import subprocess
from pathlib import Path

import httpx
import pytest

from executor.openai.connecting import Connector
from executor.openai.environment import certificates, is_exempt, proxy_for
from executor.openai.server import Network
from executor.openai.server_faults import transport_fault
from executor.openai.server_profile import ServerProfile
from staircase.errors import EngineError, ScenarioError
from staircase.spec.engine_spec import OpenAISpec
from tests.support.fake_server import FakeServer, Fault

VARIABLES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR")
NOWHERE = "https://127.0.0.1:9/v1"


@pytest.fixture(autouse=True)
def _empty(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


def connect(url: str, ca_file: str | None = None) -> ServerProfile:
    spec = OpenAISpec(kind="openai", base_url=url, model="m", tries=1, ca_file=ca_file)
    with Network() as network:
        return Connector(network).connect("north", spec).profile


class TestWrongVariables:
    @pytest.mark.parametrize(
        ("name", "value", "words"),
        [
            ("ALL_PROXY", "socks5://127.0.0.1:1080", "ALL_PROXY names a SOCKS proxy: pip install"),
            ("HTTPS_PROXY", "htp://x", "HTTPS_PROXY names no proxy; it must be a URL such as"),
            ("HTTPS_PROXY", "http://", "HTTPS_PROXY names no proxy"),
            ("HTTPS_PROXY", "http://x:99999", "HTTPS_PROXY names no proxy"),
            ("HTTPS_PROXY", "http://[::1", "HTTPS_PROXY names no proxy"),
            ("SSL_CERT_FILE", "/nowhere", "SSL_CERT_FILE: /nowhere: cannot be read (No such file"),
            ("SSL_CERT_FILE", "/", "SSL_CERT_FILE: /: cannot be read (Is a directory)"),
            ("SSL_CERT_FILE", __file__, "holds no certificate; it must be a file of certificates"),
            ("SSL_CERT_DIR", "/nowhere", "SSL_CERT_DIR: /nowhere: no such folder"),
        ],
    )
    def test_are_told_in_one_line(
        self, monkeypatch: pytest.MonkeyPatch, name: str, value: str, words: str
    ) -> None:
        monkeypatch.setenv(name, value)
        with pytest.raises(ScenarioError) as told:
            connect(NOWHERE)
        assert str(told.value).startswith("engine 'north': ")
        assert words in str(told.value)
        assert "\n" not in str(told.value)

    def test_are_not_looked_at_where_they_are_not_used(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("HTTPS_PROXY", "htp://x")
        monkeypatch.setenv("ALL_PROXY", "socks5://x")
        monkeypatch.setenv("NO_PROXY", "[::1],127.0.0.1")
        monkeypatch.setenv("SSL_CERT_FILE", "/nowhere")
        with FakeServer() as fake:
            assert connect(fake.url).api == "chat"

    def test_a_password_in_them_is_not_told(self) -> None:
        wrong = {"HTTP_PROXY": "http://user:secret@x:99999"}
        with pytest.raises(ScenarioError) as told:
            proxy_for("http://h/v1", wrong)
        assert "secret" not in str(told.value)
        assert "secret" not in repr(proxy_for("http://h/v1", {"HTTP_PROXY": "http://u:secret@x"}))


class TestProxies:
    def test_are_used(self, monkeypatch: pytest.MonkeyPatch) -> None:
        with FakeServer() as fake:
            monkeypatch.setenv("HTTP_PROXY", fake.url.removesuffix("/v1"))
            assert connect("http://there.invalid/v1").api == "chat"
            assert {headers["host"] for headers in fake.headers} == {"there.invalid"}

    def test_that_are_not_there_are_named(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HTTP_PROXY", "127.0.0.1:9")
        with pytest.raises(EngineError, match="cannot connect by HTTP_PROXY"):
            connect("http://there.invalid/v1")

    @pytest.mark.parametrize(
        ("environ", "variable"),
        [
            ({}, None),
            ({"HTTP_PROXY": "http://x"}, None),
            ({"HTTPS_PROXY": "http://x", "ALL_PROXY": "http://y"}, "HTTPS_PROXY"),
            ({"https_proxy": "http://x", "HTTPS_PROXY": "http://y"}, "https_proxy"),
            ({"HTTPS_PROXY": "", "ALL_PROXY": "y:3128"}, "ALL_PROXY"),
            ({"ALL_PROXY": "http://x", "NO_PROXY": "example.org"}, None),
            ({"ALL_PROXY": "http://x", "no_proxy": "example.com"}, "ALL_PROXY"),
        ],
    )
    def test_which(self, environ: dict[str, str], variable: str | None) -> None:
        found = proxy_for("https://api.example.org/v1", environ)
        assert (found.variable if found else None) == variable

    @pytest.mark.parametrize(
        ("host", "no_proxy"),
        [
            ("::1", "[::1]"),
            ("::1", "::1"),
            ("::1", "a,[::1]:8000"),
            ("::1", "0:0:0:0:0:0:0:1"),
            ("10.1.2.3", "10.0.0.0/8"),
            ("a.b.c", "b.c"),
            ("a.b.c", " x , .b.c "),
            ("a.b.c", "*.b.c"),
            ("a.b.c", "A.B.C:8000"),
            ("a.b.c", "http://a.b.c"),
            ("anybody", "x *"),
        ],
    )
    def test_not_for(self, host: str, no_proxy: str) -> None:
        assert is_exempt(host, 8000, no_proxy)

    @pytest.mark.parametrize(
        "no_proxy", ["", ",", "b.c:80", "xa.b.c", ".", "10.0.0.0/99", "[", "]:"]
    )
    def test_but_for_others(self, no_proxy: str) -> None:
        assert not is_exempt("a.b.c", 8000, no_proxy)
        assert not is_exempt("::1", 8000, no_proxy)


class TestRedirects:
    @pytest.mark.parametrize("status", [301, 302, 307, 308])
    @pytest.mark.parametrize(
        ("location", "target"),
        [
            ("https://there.example/v1/completions", "https://there.example/v1/completions"),
            ("/login", "/login"),
        ],
    )
    def test_say_where_they_point(self, status: int, location: str, target: str) -> None:
        with FakeServer() as fake:
            fault = Fault("status", status=status, headers={"Location": location}, body="")
            fake.begin({("m", 0): fault})
            with pytest.raises(EngineError) as told:
                connect(fake.url)
            words = f"HTTP {status}: it redirects to "
            whole = target if ":" in target else fake.url.removesuffix("/v1") + target
            assert f"{words}{whole}; base_url must be" in str(told.value)
            assert len(fake.bodies) == 1


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ssl.SSLContext]:
    """A certificate that signs itself, and a server's context with it."""
    if not shutil.which("openssl"):
        pytest.skip("openssl is not installed")
    folder = tmp_path_factory.mktemp("tls")
    key, certificate = folder / "key.pem", folder / "certificate.pem"
    words = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=test"
    words += " -addext subjectAltName=IP:127.0.0.1"
    files = ["-keyout", str(key), "-out", str(certificate)]
    subprocess.run(["openssl", *words.split(), *files], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return certificate, context


class TestCertificates:
    def test_of_a_file(self, tls: tuple[Path, ssl.SSLContext]) -> None:
        certificate, context = tls
        with FakeServer(tls=context) as fake:
            assert connect(fake.url, str(certificate)).api == "chat"

    def test_of_the_environment(
        self, tls: tuple[Path, ssl.SSLContext], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        certificate, context = tls
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        with FakeServer(tls=context) as fake:
            assert connect(fake.url).api == "chat"

    def test_that_are_not_trusted(self, tls: tuple[Path, ssl.SSLContext]) -> None:
        with FakeServer(tls=tls[1]) as fake, pytest.raises(EngineError, match="; ca_file names a"):
            connect(fake.url)

    def test_where_there_is_no_tls(self) -> None:
        fault = transport_fault(httpx.ConnectError("[SSL: WRONG_VERSION_NUMBER] wrong"), 5.0)
        assert str(fault).endswith("base_url says https, the server speaks http")
        assert not fault.may_pass

    @pytest.mark.parametrize("path", ["/nowhere", __file__])
    def test_a_file_that_is_none(self, path: str) -> None:
        with pytest.raises(ScenarioError, match=f"engine 'north': ca_file: {path}: "):
            connect(NOWHERE, path)

    def test_by_default_are_certifis(self) -> None:
        assert certificates(None, {}).get_ca_certs()

    def test_need_https(self) -> None:
        with pytest.raises(ValueError, match="ca_file needs a base_url of https"):
            OpenAISpec(kind="openai", base_url="http://h/v1", model="m", ca_file="x")


@pytest.mark.parametrize(
    "url", ["http://x:99999/v1", "http://[::1/v1", "http://x:0/v1", "http:///v1"]
)
def test_what_is_no_url_at_all(url: str) -> None:
    with pytest.raises(ValueError, match="must be a URL such as"):
        OpenAISpec(kind="openai", base_url=url, model="m")


def test_a_host_that_cannot_be() -> None:
    with pytest.raises(ScenarioError, match=r"engine 'north': base_url: http://ü\.\.x/v1: "):
        connect("http://ü..x/v1")


def test_a_name_that_cannot_be_looked_up() -> None:
    fault = transport_fault(UnicodeError("label too long"), 5.0)
    assert str(fault) == "no place to connect to (label too long); look at base_url"
    assert not fault.may_pass
