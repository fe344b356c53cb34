"""Downloads: from a real server, resumed, verified; lists and contents that are wrong are refused."""

import hashlib
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from riskweave.cohort import download as module
from riskweave.cohort.download import Fetched, download, main, read_checksums
from riskweave.errors import DataError

FILES = {"person.csv": b"person_id\n1\n", "hosp/big file.csv.gz": bytes(range(256)) * 4096}


def listed(files):
    return "".join(f"{hashlib.sha256(content).hexdigest()}  {name}\n" for name, content in files.items())


class Handler(BaseHTTPRequestHandler):
    """A server of files that resumes, counts what it is asked, and breaks off when told to."""

    def do_GET(self):
        server = self.server
        name = self.path.lstrip("/").replace("%20", " ")
        server.asked.append((name, self.headers.get("Range")))
        content = server.files.get(name)
        if server.failures.get(name):
            self.send_error(server.failures[name].pop(0))
            return
        if content is None:
            self.send_error(404)
            return
        start = int(self.headers["Range"][6:-1]) if server.resumes and "Range" in self.headers else 0
        if start >= len(content) > 0:
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        cut = server.cuts.pop(name, None)
        self.wfile.write(content[start:cut])

    def log_message(self, *_):
        """Say nothing."""


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(module.time, "sleep", lambda _: None)
    made = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    made.files = {**FILES, "SHA256SUMS.txt": listed(FILES).encode()}
    made.asked, made.failures, made.cuts, made.resumes = [], {}, {}, True
    made.address = f"http://127.0.0.1:{made.server_port}/"
    thread = threading.Thread(target=made.serve_forever)
    thread.start()
    yield made
    made.shutdown()
    thread.join()
    made.server_close()


def holds(folder):
    return {name: (folder / name).read_bytes() for name in FILES} == FILES


def test_files_are_fetched_once_and_verified(server, tmp_path):
    assert download(server.address, tmp_path) == Fetched(2, 0)
    assert holds(tmp_path)
    server.asked.clear()
    assert download(server.address, tmp_path) == Fetched(0, 2)
    assert [name for name, _ in server.asked] == ["SHA256SUMS.txt"]
    assert not list(tmp_path.rglob("*.partial"))


def test_a_connection_that_breaks_off_goes_on_where_it_stopped(server, tmp_path):
    server.cuts["hosp/big file.csv.gz"] = 5000
    download(server.address, tmp_path)
    assert holds(tmp_path)
    assert ("hosp/big file.csv.gz", "bytes=5000-") in server.asked


def test_a_server_that_cannot_resume_sends_all_again(server, tmp_path):
    server.resumes = False
    server.cuts["hosp/big file.csv.gz"] = 5000
    download(server.address, tmp_path)
    assert holds(tmp_path)


def test_what_is_left_of_another_version_is_fetched_anew(server, tmp_path):
    partial = tmp_path / "hosp" / ".big file.csv.gz.partial"
    partial.parent.mkdir()
    for left in (b"another version", FILES["hosp/big file.csv.gz"], FILES["hosp/big file.csv.gz"] + b"more"):
        (tmp_path / "hosp" / "big file.csv.gz").unlink(missing_ok=True)
        partial.write_bytes(left)
        download(server.address, tmp_path)
        assert holds(tmp_path)


def test_a_busy_server_is_asked_again_and_a_refusal_is_told(server, tmp_path):
    server.failures["person.csv"] = [503, 503]
    download(server.address, tmp_path, only=["person.csv"])
    assert (tmp_path / "person.csv").is_file()
    server.failures["hosp/big file.csv.gz"] = [403]
    with pytest.raises(DataError, match=r"hosp/big file.csv.gz: the server answers 403 Forbidden.*your own login"):
        download(server.address, tmp_path)
    server.failures["hosp/big file.csv.gz"] = [500] * 9
    with pytest.raises(DataError, match="the server answers 500"):
        download(server.address, tmp_path)


def test_a_wrong_content_is_removed_and_refused(server, tmp_path):
    server.files["person.csv"] = b"person_id\n2\n"
    with pytest.raises(DataError, match=r"person.csv: its content does not have the checksum"):
        download(server.address, tmp_path)
    assert not (tmp_path / "person.csv").exists()
    assert not list(tmp_path.rglob("*.partial"))


def test_a_server_that_is_not_there_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(module.time, "sleep", lambda _: None)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(DataError, match="the connection failed 4 times"):
        download(f"http://127.0.0.1:{port}/", tmp_path)


def test_a_folder_is_copied_or_verified_where_it_lies(tmp_path, capsys):
    origin = tmp_path / "origin"
    for name, content in FILES.items():
        (origin / name).parent.mkdir(parents=True, exist_ok=True)
        (origin / name).write_bytes(content)
    (origin / "SHA256SUMS.txt").write_text(listed(FILES))
    assert main([str(origin), str(tmp_path / "copy"), "--only", "hosp/*"]) == 0
    assert not (tmp_path / "copy" / "person.csv").exists()
    assert main([str(origin), str(origin)]) == 0
    assert "0 files fetched, 2 were there; all have their checksums" in capsys.readouterr().out
    (origin / "person.csv").write_bytes(b"changed")
    assert main([str(origin), str(origin)]) == 1
    assert "person.csv: its content does not have the checksum" in capsys.readouterr().err
    assert (origin / "person.csv").read_bytes() == b"changed"
    (origin / "person.csv").unlink()
    assert main([str(origin), str(origin)]) == 1
    assert "it is missing" in capsys.readouterr().err
    assert main([str(origin), str(tmp_path / "copy")]) == 1
    assert "the folder lacks it" in capsys.readouterr().err
    assert main([str(tmp_path / "nowhere"), str(tmp_path / "copy")]) == 1
    assert main([str(origin), str(tmp_path / "copy"), "--only", "icu/*"]) == 1
    assert "1 of 1 patterns match none of its 2 files: icu/*" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "0 of 0 lines are no checksum"),
        ("abc  person.csv\n", "1 of 1 lines are no checksum"),
        (f"{'0' * 64}  ../person.csv\n", "1 of 1 paths leave the folder"),
        (f"{'0' * 64}  /etc/person.csv\n", "1 of 1 paths leave the folder"),
        (f"{'0' * 64}  a\n{'1' * 64}  a\n", "1 paths have two checksums"),
    ],
    ids=["empty", "form", "above", "absolute", "two"],
)
def test_a_list_that_cannot_be_trusted_is_refused(text, words, tmp_path):
    (tmp_path / "sums.txt").write_text(text)
    with pytest.raises(DataError, match=words):
        read_checksums(tmp_path / "sums.txt")


def test_lists_of_other_tools_are_read(tmp_path):
    (tmp_path / "sums.txt").write_text(f"{'A' * 64} *hosp/a.csv\n\n{'b' * 64}\tb c.csv\n")
    assert read_checksums(tmp_path / "sums.txt") == {"b c.csv": "b" * 64, "hosp/a.csv": "a" * 64}
    with pytest.raises(DataError, match="there is no such file"):
        read_checksums(tmp_path / "none.txt")
