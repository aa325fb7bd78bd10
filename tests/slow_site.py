"""A server of files that sends them slowly, what a download over a thin line is like, and what is said meanwhile."""

from __future__ import annotations

import hashlib
import http.server
import itertools
import re
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePath

_PIECE_S = 0.05


@dataclass
class Site:
    """Where the server is, and the paths that it was asked for."""

    url: str
    asked: list[str] = field(default_factory=list)


@contextmanager
def slow_site(
    files: dict[str, bytes],
    rate: float,
    address: str = "127.0.0.1",
    stated: bool = True,
    stalls_after: float = 1.0,
    certificate: Path | None = None,
) -> Iterator[Site]:
    """Serves these files, by name, at `rate` bytes a second; yields the site.

    As a package index (PEP 503) at /simple/. Without `stated` no answer says how long it is; after `stalls_after` of a
    file nothing more comes, while the connection stays. With a certificate and its key, in one file, over TLS.
    """
    over = threading.Event()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            site.asked.append(self.path)
            path = PurePath(self.path)
            if path.parent == PurePath("/simple"):
                named = [name for name in files if name.startswith(f"{path.name}-")]
                links = (f'<a href="/{n}#sha256={hashlib.sha256(files[n]).hexdigest()}">{n}</a>' for n in named)
                self._send(" ".join(links).encode(), "text/html")
            elif path.name in files:
                self._send(files[path.name], "application/octet-stream")
            else:
                self.send_error(404)

        def _send(self, content: bytes, kind: str) -> None:
            self.send_response(200)
            self.send_header("Content-Type", kind)
            if stated:
                self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            piece = max(1, int(rate * _PIECE_S))
            for begin in range(0, len(content), piece):
                if begin > stalls_after * len(content):
                    over.wait()
                    return
                self.wfile.write(content[begin : begin + piece])
                time.sleep(_PIECE_S if len(content) > piece else 0)

        def log_message(self, *arguments: object) -> None:
            pass

    class Server(http.server.ThreadingHTTPServer):
        def handle_error(self, *arguments: object) -> None:
            pass  # a client that was ended in the middle

    server = Server((address, 0), Handler)
    site = Site(f"{'https' if certificate else 'http'}://{address}:{server.server_port}")
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, args=(_PIECE_S,))
    thread.start()
    try:
        yield site
    finally:
        over.set()
        server.shutdown()
        server.server_close()
        thread.join()


def told_in_time(output: str, task: str, host: str, file: str) -> bool:
    """Whether a playbook had a line at least every 15 s of a task, and told how much of a file of 4 MB was there."""
    said = re.findall(rf"^  {re.escape(task)}: (\d+) s so far \((.*)\)$", output, re.MULTILINE)
    seconds = [0, *(int(seconds) for seconds, _ in said)]
    notes = [re.fullmatch(rf"{host}: ([0-4]) of 4 MB of {re.escape(file)}", where) for _, where in said]
    shares = [int(note[1]) for note in notes if note]
    in_time = all(later - sooner <= 15 for sooner, later in itertools.pairwise(seconds))
    return in_time and bool(shares) and shares == sorted(shares)
