"""Files that are fetched for a run."""

import http.server
import threading

import pytest

from trainer import assets
from trainer.archives import ArchiveError


@pytest.fixture
def site():
    """An address whose files break off after half of what was announced, except for those in /whole/."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            content = self.path.encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(content) * (1 if self.path.startswith("/whole/") else 2)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *arguments):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_download_that_breaks_off_is_told_and_not_kept(site, tmp_path):
    with pytest.raises(ArchiveError, match=r"data\.path: .*torn\.npz cannot be fetched \(9 bytes are missing\)"):
        assets._downloaded("data.path", f"{site}/torn.npz", tmp_path)
    assert not list(tmp_path.glob("*.npz"))


def test_two_addresses_that_end_alike_are_two_files(site, tmp_path):
    first, second = (assets._downloaded("data.path", f"{site}/whole/{name}/a.npz", tmp_path) for name in "ab")
    assert (first.read_text(), second.read_text()) == ("/whole/a/a.npz", "/whole/b/a.npz")
