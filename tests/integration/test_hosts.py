"""Who reaches the app: no page elsewhere whose name points here, others in read-only mode alone."""

import base64
import os
import socket
import subprocess
import sys
import time
from http.client import HTTPConnection

import pytest

from cwac.cli import _status, lab
from cwac.cli.lab import allowed_hosts
from cwac.errors import ConfigError
from cwac.hosts import is_loopback

UPGRADE = (
    "GET /_stcore/stream HTTP/1.1\r\nHost: {host}\r\nOrigin: http://{host}\r\n"
    "Upgrade: websocket\r\n"
    "Connection: Upgrade\r\nSec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


@pytest.fixture(scope="module")
def port(tmp_path_factory):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        number = free.getsockname()[1]
    words = ["app", "--port", str(number), "--allowed-host", "lab.example.org"]
    words += ["--root", str(tmp_path_factory.mktemp("root")), "--host", "0.0.0.0", "--read-only"]
    server = subprocess.Popen([sys.executable, "-m", "cwac", *words], stdout=-3, stderr=-3)
    for _ in range(300):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", number)) == 0:
                break
        time.sleep(0.2)
    yield number
    # One signal to the command ends the server, and whatever a page was asking.
    server.terminate()
    server.wait(timeout=30)
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", number)) != 0


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:{port}", 101),
        ("localhost:{port}", 101),
        ("lab.example.org", 101),
        (f"{socket.gethostname()}:{{port}}", 101),
        ("evil.example.com:{port}", 400),
        ("127.0.0.1.evil.example.com", 400),
    ],
)
def test_only_names_of_this_machine_and_stated_ones_connect(port, host, status):
    key = base64.b64encode(os.urandom(16)).decode()
    with socket.create_connection(("127.0.0.1", port), timeout=20) as wire:
        wire.sendall(UPGRADE.format(host=host.format(port=port), key=key).encode())
        assert int(wire.recv(1024).split()[1]) == status


@pytest.mark.parametrize(
    "path",
    ["/", "/index.html", "/static/x.js", "/_stcore/health", "/_stcore/host-config", "/media/x",
     "/_stcore/upload_file/a/b", "/component/x/y", "/runs", "/app/static/x"],
)  # fmt: skip
def test_every_route_is_behind_the_check(port, path):
    statuses = []
    for host in ("evil.example.com", f"evil.example.com:{port}", "", "localhost"):
        connection = HTTPConnection("127.0.0.1", port, timeout=20)
        connection.putrequest("GET", path, skip_host=True)
        connection.putheader("Host", host)
        connection.endheaders()
        statuses.append(connection.getresponse().status)
        connection.close()
    assert statuses[:3] == [400, 400, 400]
    assert statuses[3] in {200, 404, 405}


@pytest.mark.parametrize("name", ["*", "*.org", "a:80", "http://a", "", "a b", "a/b", "x" * 300])
def test_what_is_no_host_name_is_refused(name):
    with pytest.raises(ConfigError, match="host name"):
        allowed_hosts([name])


@pytest.fixture
def started(monkeypatch):
    """The command and the environment that the app would be started with."""
    calls = []

    def taken(_program, command, environment):
        calls.append((command, environment))
        raise KeyboardInterrupt

    monkeypatch.delenv("CWAC_READ_ONLY", raising=False)
    monkeypatch.setattr(lab.os, "execve", taken)
    return calls


def test_without_flags_this_machine_alone_reaches_it(started):
    _status(["app"])
    ((command, environment),) = started
    assert [word for word in command if word.startswith("--")] == [
        "--host=127.0.0.1",
        "--host=localhost",
        "--address=127.0.0.1",
    ]
    assert "CWAC_READ_ONLY" not in environment


def test_other_addresses_need_read_only(started, capsys):
    assert _status(["app", "--host", "0.0.0.0"]) == 2
    assert "needs --read-only" in capsys.readouterr().err
    assert not started
    _status(["app", "--host", "0.0.0.0", "--read-only", "--allowed-host", "lab.example.org"])
    ((command, environment),) = started
    assert "--address=0.0.0.0" in command
    assert {f"--host={socket.gethostname()}", "--host=lab.example.org"} < set(command)
    assert environment["CWAC_READ_ONLY"] == "1"


@pytest.mark.parametrize(
    ("address", "words"),
    [("192.0.2.77", "no address of this machine"), ("a:80", "not allowed"), ("*", "not allowed"),
     ("::", "not allowed"), ("0", "not allowed"), ("", "not allowed")],
)  # fmt: skip
def test_an_address_that_cannot_be_served_is_one_sentence(address, words, started, capsys):
    assert _status(["app", "--read-only", "--host", address]) == 2
    assert words in capsys.readouterr().err
    assert not started


def test_read_only_makes_no_folder_of_a_wrong_name(tmp_path, started, capsys):
    assert _status(["app", "--read-only", "--root", str(tmp_path / "typo")]) == 2
    assert "typo, and --read-only makes none" in capsys.readouterr().err
    assert not started


def test_what_is_loopback():
    assert all(map(is_loopback, ("127.0.0.1", "127.8.9.10", "localhost")))
    assert not any(map(is_loopback, ("0.0.0.0", "10.0.0.1", "example.org", "127.0.0.1.org", "")))
