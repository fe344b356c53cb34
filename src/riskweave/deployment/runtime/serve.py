"""A small HTTP server around a bundle: for programs on the same machine, and for nobody else unless it is asked to.

It keeps nothing: no input is stored or logged. One request a connection, each with a time, a size and a share of the
memory that it may take; pages of other sites can neither reach it by a name of theirs nor send it forms.
"""

import contextlib
import http
import io
import ipaddress
import signal
import socket
import socketserver
import sys
import threading
import time
import urllib.parse
from collections.abc import Callable, Collection
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

from riskweave import __version__
from riskweave.deployment.runtime.api import LIMITS, QUEUE_SECONDS, ROUTES, Api, RefusalError, Reply, Request
from riskweave.deployment.runtime.bundle import Bundle
from riskweave.deployment.runtime.pool import Budget, BusyError

__all__ = ["ServeError", "Server", "serve"]

CONNECTIONS = 32
MOST_WORKERS = 32
MEMORY = 2 * LIMITS["form"]
"""Bytes of all bodies that are held at one time."""
HEADER_SECONDS, BODY_SECONDS, SEND_SECONDS, LINGER_SECONDS = 10.0, 60.0, 30.0, 2.0

SCHEMES = ("http", "https")
HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}


class ServeError(RuntimeError):
    """The server cannot start as it was asked to."""


def serve(
    bundle: Bundle, *, host: str, port: int, names: Collection[str] = (), workers: int = 2, allow_remote: bool = False
) -> None:
    """Serve a bundle until SIGINT or SIGTERM.

    Parameters
    ----------
    bundle : Bundle
    host : str
        Address to listen at.
    port : int
        0 for a free one.
    names : collection of str
        Which clients may call this machine, besides localhost and its addresses.
    workers : int
        Predictions at the same time.
    allow_remote : bool
        Whether `host` may be an address that other machines reach.

    Raises
    ------
    ServeError
    """
    if not _is_local(host):
        if not allow_remote:
            message = f"At {host} other machines could reach the server, and data of patients would travel unencrypted."
            raise ServeError(f"{message} Add --allow-remote if that is meant, or leave out --host.")
        _say("Warning: other machines can reach this server, without encryption or password.")
    if not 1 <= workers <= MOST_WORKERS:
        raise ServeError(f"Between 1 and {MOST_WORKERS} workers are allowed.")
    try:
        server = Server((host, port), Api(bundle, workers), names)
    except (OSError, OverflowError) as error:
        raise ServeError(f"The server cannot listen at {host}, port {port}: {error}. Try another --port.") from error
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        _say(f"Serving {server.url} (fingerprint {bundle.fingerprint[:12]}). Research use only.")
        server.serve_forever()
    except KeyboardInterrupt:
        _say("Stopped.")
    finally:
        signal.signal(signal.SIGTERM, before)
        server.server_close()


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _is_local(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class Server(socketserver.ThreadingMixIn, HTTPServer):
    """A thread for each connection, and so many connections.

    Parameters
    ----------
    address : (str, int)
    api : Api
    names : collection of str
        As of `serve`.
    log : callable, optional
        Takes a line for each request; standard error by default.
    """

    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def __init__(
        self, address: tuple[str, int], api: Api, names: Collection[str] = (), log: Callable[[str], None] | None = None
    ):
        self.log = log or _say
        self.api, self.names = api, {"localhost", *(name.lower().rstrip(".") for name in names)}
        self.budget = Budget(MEMORY)
        self._slots = threading.Semaphore(CONNECTIONS)
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        super().__init__(address, _Handler)

    def server_bind(self) -> None:
        """Bind, without asking the network for a name of this machine."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = self.server_address[:2]

    @property
    def url(self) -> str:
        """Where a browser finds the server."""
        host = str(self.server_name)
        return f"http://{f'[{host}]' if ':' in host else host}:{self.server_port}/"

    def process_request(self, request: Any, client_address: Any) -> None:
        """Start a thread for a connection, or turn it away."""
        if not self._slots.acquire(blocking=False):
            _send_plainly(request, "503 Service Unavailable")
            self.shutdown_request(request)
            return
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Serve a connection in its thread."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._slots.release()

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002 - the base class's
        """Tell that a connection failed and where, and nothing of what was sent: that may be a patient's."""
        kind, _, trace = sys.exc_info()
        if kind is None or issubclass(kind, OSError):
            return
        while trace is not None and trace.tb_next is not None:
            trace = trace.tb_next
        place = f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}" if trace is not None else "an unknown place"
        self.log(f"A request failed unexpectedly: {kind.__name__} at {place}")
        _send_plainly(request, "500 Internal Server Error")


def _send_plainly(connection: socket.socket, status: str) -> None:
    """Send an answer of a line to a connection that has no handler, if it takes it at once."""
    connection.settimeout(0.1)
    with contextlib.suppress(OSError):
        connection.sendall(f"HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n".encode())


class _Deadline(io.RawIOBase):
    """Reads a socket until a moment, however slowly the other side sends."""

    def __init__(self, connection: socket.socket, seconds: float):
        self._connection = connection
        self.allow(seconds)

    def allow(self, seconds: float) -> None:
        """Set the moment."""
        self._end = time.monotonic() + seconds

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        left = self._end - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self._connection.settimeout(left)
        return self._connection.recv_into(buffer)


class _Handler(BaseHTTPRequestHandler):
    """One request of one connection."""

    protocol_version = "HTTP/1.1"
    # Headers and body leave together, and do not wait for each other's receipt.
    wbufsize, disable_nagle_algorithm = 65536, True
    server_version, sys_version = f"riskweave/{__version__}", ""
    server: Server

    def setup(self) -> None:
        """Read with a deadline."""
        super().setup()
        self.rfile.close()
        self._raw = _Deadline(self.connection, HEADER_SECONDS)
        self.rfile = io.BufferedReader(self._raw)
        self._started, self._left = time.perf_counter(), 0

    def handle(self) -> None:
        """Serve one request; whoever has another opens another connection."""
        self.handle_one_request()

    def answer(self) -> None:
        """Answer the request whose headers were read."""
        try:
            reply = self._reply()
        except RefusalError as refusal:
            reply = refusal.reply()
        except TimeoutError:
            reply = RefusalError.of(408, "the body did not arrive in time").reply()
        self._send(reply)

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = answer  # noqa: N815 - the base class's

    def _reply(self) -> Reply:
        self._left = self._length()
        self._check_origin()
        path, _, query = self.path.partition("?")
        self.server.api.check(self.command, path)
        if self.command != "POST":
            return self.server.api.answer(Request(path, query))
        content_type = self.headers.get("Content-Type", "")
        size, most = self._left, self.server.api.most(content_type)
        if self.headers.get("Content-Length") is None:
            raise RefusalError.of(411, "the request does not tell its length (Content-Length)")
        if size > most:
            message = f"the request has {size / 1e6:.0f} MB; {most / 1e6:.0f} MB are allowed for this kind"
            raise RefusalError.of(413, message)
        try:
            with self.server.budget.held(size, QUEUE_SECONDS):
                return self.server.api.answer(Request(path, query, content_type, self._body(size)))
        except BusyError as error:
            raise RefusalError.of(503, "the server is busy: try again", Retry_After="5") from error

    def _length(self) -> int:
        """Return the length of the body, 0 where none is told."""
        told = self.headers.get_all("Content-Length", [])
        if "Transfer-Encoding" in self.headers:
            raise RefusalError.of(411, "send the body in one piece, with its length (Content-Length)")
        if len(told) > 1 or not all(each.isascii() and each.isdigit() and len(each) < 16 for each in told):
            raise RefusalError.of(400, "the header Content-Length is no length")
        return int(told[0]) if told else 0

    def _check_origin(self) -> None:
        """Refuse requests to other names (a page whose name leads here) and forms of other sites' pages."""
        hosts = self.headers.get_all("Host", [])
        host = _host_name(hosts[0]) if len(hosts) == 1 else None
        if host is None or not (host in self.server.names or _is_address(host)):
            message = "the server is not known by this name; tell it with --server-name"
            raise RefusalError.of(421, message)
        origin, site = self.headers.get("Origin"), self.headers.get("Sec-Fetch-Site", "none")
        own = origin is None or origin.lower() in {f"{scheme}://{hosts[0].strip().lower()}" for scheme in SCHEMES}
        if self.command == "POST" and not (own and site in {"none", "same-origin"}):
            raise RefusalError.of(403, "the request comes from a page of another site")

    def _body(self, size: int) -> bytes:
        if self._continue:
            self.wfile.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            self.wfile.flush()
        self._raw.allow(BODY_SECONDS)
        body = self.rfile.read(size)
        self._left -= len(body)
        if self._left:
            raise RefusalError.of(400, "the body is shorter than its Content-Length")
        return body

    _continue = False

    def handle_expect_100(self) -> bool:
        """Ask for the body only once its size and kind are known to be good."""
        self._continue = True
        return True

    def _send(self, reply: Reply) -> None:
        self.connection.settimeout(SEND_SECONDS)
        self.send_response(reply.status)
        content = {"Content-Type": reply.content_type, "Content-Length": str(len(reply.body)), "Connection": "close"}
        for name, value in {**HEADERS, **reply.headers, **content}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(reply.body)
        self.wfile.flush()
        self._tell(reply.status)
        self._linger()

    def _linger(self) -> None:
        """Take what the other side still sends and forget it: closed on too early, it would not see the answer."""
        if not self._left or self._continue:
            return
        self.connection.shutdown(socket.SHUT_WR)
        self._raw.allow(LINGER_SECONDS)
        left = min(self._left, MEMORY)
        while left > 0 and (found := self.rfile.read1(min(left, 65536))):
            left -= len(found)

    def _tell(self, status: int) -> None:
        """Log method, path, status and milliseconds; no path that does not exist, as anything may stand there."""
        path = getattr(self, "path", "").partition("?")[0]
        known = path if path in ROUTES else "-"
        method = self.command if self.command and hasattr(self, f"do_{self.command}") else "-"
        milliseconds = 1000 * (time.perf_counter() - self._started)
        self.server.log(f"{method} {known} {status} {milliseconds:.0f} ms")

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:  # noqa: ARG002
        """Answer what the base class refuses, without repeating any of it."""
        self._send(RefusalError.of(code, http.HTTPStatus(code).phrase.lower()).reply())

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's
        """Say nothing: what the base class logs holds what was sent."""


def _host_name(header: str) -> str | None:
    """Return the name or address in a header Host, without the port."""
    try:
        parts = urllib.parse.urlsplit(f"//{header.strip()}")
        return parts.hostname.rstrip(".") if parts.hostname and parts.netloc == header.strip() else None
    except ValueError:
        return None


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
