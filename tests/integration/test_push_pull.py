"""Pushing and pulling runs, against a stand-in that speaks the hub's HTTP on this machine."""

import base64
import hashlib
import io
import json
import re
import shutil
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pandas as pd
import pytest
from huggingface_hub import constants

from cwac.artifacts import HIDDEN, IMPORTED, ArtifactStore, read_notes
from cwac.cli import _status

REPO = "somebody/runs"
COMMIT = "c" * 40


class _Hub(BaseHTTPRequestHandler):
    """As much of the hub as the library's client asks for; its state hangs on the server."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_arguments):
        pass

    def _answer(self, status, body=b"", **headers):
        if not isinstance(body, bytes):
            body = json.dumps(body).encode()
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        if "Content_Length" not in headers:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _page(self):
        return f"http://{self.headers['Host']}/datasets/{REPO}"

    def do_POST(self):
        state = self.server.state
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        state["asked"].append(self.path)
        if self.headers.get("Authorization") != "Bearer hf_of_a_test":
            return self._answer(401, {"error": "no"})
        if self.path == "/api/repos/create":
            state["made"] = json.loads(body)
            return self._answer(200, {"url": self._page(), "id": REPO})
        if self.path == "/api/validate-yaml":
            return self._answer(200, {"errors": [], "warnings": []})
        if "/preupload/" in self.path:
            files = [{"path": one["path"], "uploadMode": "regular", "shouldIgnore": False}
                     for one in json.loads(body)["files"]]  # fmt: skip
            return self._answer(200, {"files": files})
        assert "/commit/" in self.path
        for line in map(json.loads, body.splitlines()):
            if line["key"] == "file":
                value = line["value"]
                state["files"][value["path"]] = base64.b64decode(value["content"])
        url = f"{self._page()}/commit/{COMMIT}"
        return self._answer(200, {"commitUrl": url, "commitOid": COMMIT, "success": True})

    def do_GET(self):
        files = self.server.state["files"]
        self.server.state["asked"].append(self.path)
        if REPO not in self.path:
            return self._answer(404, {"error": "no"}, X_Error_Code="RepoNotFound")
        if self.path.startswith("/api/datasets/"):
            listed = [{"rfilename": name} for name in files]
            return self._answer(200, {"id": REPO, "sha": COMMIT, "siblings": listed})
        name = re.sub(r"^/datasets/[^/]+/[^/]+/resolve/[^/]+/", "", self.path)
        if name not in files:
            return self._answer(404, {"error": "no"}, X_Error_Code="EntryNotFound")
        content = files[name]
        tag = hashlib.sha256(content).hexdigest()
        return self._answer(
            200, content, ETag=f'"{tag}"', X_Repo_Commit=COMMIT, Content_Length=str(len(content))
        )

    do_HEAD = do_GET  # noqa: N815


def _point_at(monkeypatch, place):
    """Do what HF_ENDPOINT does where it is set before the library is imported."""
    path = constants.HUGGINGFACE_CO_URL_TEMPLATE.removeprefix(constants.ENDPOINT)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", f"{place}{path}")
    monkeypatch.setattr(constants, "ENDPOINT", place)


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """The stand-in's state: files, what was asked, what was made."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Hub)
    server.state = {"files": {}, "asked": [], "made": None}
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    _point_at(monkeypatch, f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("HF_TOKEN", "hf_of_a_test")
    yield server.state
    server.shutdown()
    server.server_close()


@pytest.fixture
def stored(tiny_root):
    return ArtifactStore(tiny_root)


def _ids(store):
    return [run.run_id for run in store.list_runs()]


def _push(store, *rest):
    return _status(["push", *rest, "--repo", REPO, "--root", str(store.write_root)])


def _pull(root, *rest):
    return _status(["pull", REPO, "--root", str(root), *rest])


def test_what_is_pushed_can_be_pulled(hub, stored, tmp_path, capsys):
    first, second = _ids(stored)[:2]
    assert _push(stored, first) == 0
    assert capsys.readouterr().out.endswith(f"/datasets/{REPO}/commit/{COMMIT}\n")
    # Versions of the library say it in either way.
    made = hub["made"]
    assert made.get("private") is True or made.get("visibility") == "private"
    assert hub["made"]["type"] == "dataset"
    assert set(hub["files"]) == {f"runs/{first}.zip", "rates.csv", "README.md"}
    assert _push(stored, second) == 0

    root = tmp_path / "mine"
    assert _pull(root) == 0
    imports = ArtifactStore(root / IMPORTED)
    assert set(_ids(imports)) == {first, second}
    for run_id in (first, second):
        assert imports.load(run_id).metrics == stored.load(run_id).metrics
    assert _status(["check", "--root", str(root)]) == 0
    note = read_notes(root)[first]
    assert note.text == f"from the hub: {REPO}@{COMMIT}"
    # The second time there is nothing to do.
    capsys.readouterr()
    assert _pull(root) == 0
    error = capsys.readouterr().err
    assert f"{first} is stored already" in error
    assert "0 runs imported" in error


def test_the_table_and_the_card_say_what_is_there(hub, stored):
    first, second = _ids(stored)[:2]
    assert _push(stored, first, second) == 0
    assert _push(stored, first, "--reveal") == 0
    table = pd.read_csv(io.BytesIO(hub["files"]["rates.csv"])).set_index("run_id")
    assert set(table.index) == {first, second}
    record = stored.load(first)
    rate = record.metrics["refusal_rate"]
    row = table.loc[first]
    assert row["refusal_rate"] == pytest.approx(rate.value)
    assert (row["refusal_rate_n"], row["seed"]) == (rate.count, record.config.seed)
    answers = table["answers_to_harmful_requests"]
    assert (answers[first], answers[second]) == ("kept", "left out")
    card = hub["files"]["README.md"].decode()
    head = card.split("---")[1]
    assert "data_files: rates.csv" in head
    assert f"cwac pull {REPO}" in card
    assert "1 of them holds what models answered" in " ".join(card.split())
    assert f"| {record.variant} | {record.config.seed} | {rate.value:.3f} [" in card


def test_answers_to_harmful_requests_go_along_only_when_asked(hub, stored):
    first = _ids(stored)[0]
    table = stored.table(first, "responses")
    harmful = set(table.loc[table["kind"] == "harmful", "response"])
    for words, hidden in (((), True), (("--reveal",), False)):
        assert _push(stored, first, *words) == 0
        with zipfile.ZipFile(io.BytesIO(hub["files"][f"runs/{first}.zip"])) as archive:
            names = [name for name in archive.namelist() if name.endswith("responses.parquet")]
            assert len(names) == 2, "the run's and the aligned model's"
            for name in names:
                sent = pd.read_parquet(io.BytesIO(archive.read(name)))
                said = set(sent.loc[sent["kind"] == "harmful", "response"])
                assert (said == {HIDDEN}) == hidden
        assert hidden == said.isdisjoint(harmful)


def test_a_run_that_rests_on_shipped_fits_takes_them_along(hub, stored, tmp_path, monkeypatch):
    first = _ids(stored)[0]
    shutil.copytree(stored.write_root / first, tmp_path / "own" / first)
    own = ArtifactStore(tmp_path / "own")
    assert _push(own, first) == 2
    assert hub["made"] is None, "what cannot be packed leaves no empty repository"
    monkeypatch.setattr("cwac.artifacts.shipped.shipped_runs", lambda: stored.write_root)
    assert _push(own, first) == 0
    with zipfile.ZipFile(io.BytesIO(hub["files"][f"runs/{first}.zip"])) as archive:
        assert any(name.startswith("fits/") for name in archive.namelist())


def test_a_bad_archive_is_refused_and_leaves_nothing(hub, stored, tmp_path, capsys):
    first, second = _ids(stored)[:2]
    assert _push(stored, first, second) == 0
    whole = hub["files"][f"runs/{second}.zip"]
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr(f"{second}/../../escaped.json", "{}")
    for bad, sentence in ((whole[: len(whole) // 2], "ZIP"), (content.getvalue(), "unsafe path")):
        hub["files"][f"runs/{second}.zip"] = bad
        root = tmp_path / sentence[:3]
        assert _pull(root, "--run", second) == 2
        error = capsys.readouterr().err
        assert sentence in error
        assert _ids(ArtifactStore(root / IMPORTED)) == []
    assert not (tmp_path / "escaped.json").exists()
    assert _pull(tmp_path / "good", "--run", first) == 0


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["pull", "somebody/else"], "does not show or give the repository 'somebody/else'"),
        (["pull", "no repository"], "is no name of a repository"),
        (["pull", "somebody"], "is no name of a repository"),
        (["pull", REPO], "holds no runs of CWAC Lab"),
        (["push", "no-such-run", "--repo", REPO], "no run 'no-such-run'"),
    ],
)
def test_what_cannot_be_is_one_sentence(hub, stored, tmp_path, capsys, arguments, sentence):
    root = stored.write_root if arguments[0] == "push" else tmp_path
    assert _status([*arguments, "--root", str(root)]) == 2
    error = capsys.readouterr().err
    assert sentence in error
    assert error.count("\n") == 1
    assert hub["made"] is None


def test_without_a_token_or_a_network_too(hub, stored, tmp_path, capsys, monkeypatch):
    first = _ids(stored)[0]
    monkeypatch.setenv("HF_TOKEN", "hf_of_another")
    assert _push(stored, first) == 2
    assert "'hf auth login' with a token that may write" in capsys.readouterr().err
    _point_at(monkeypatch, "http://127.0.0.1:9")
    assert _pull(tmp_path) == 2
    assert "the hub did not do it" in capsys.readouterr().err
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert _pull(tmp_path) == 2
    assert "HF_HUB_OFFLINE is set" in capsys.readouterr().err
