"""The doctor lists the gateways that answer and names one that does not."""

import http.server
import json
import threading
from collections.abc import Generator
from contextlib import contextmanager

from populace.cluster.doctor.nodes import check_gateways
from scripts.bench.ports import free_port


@contextmanager
def answering(body: bytes) -> Generator[str]:
    """The address of a server that answers this to ``/readyz``."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            assert self.path == "/readyz"
            self.send_response(200)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base names it
            del format, args

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def test_it_lists_the_gateways_and_names_one_that_is_missing() -> None:
    ready = {"gateways": {"0": "10.0.0.1:8000"}, "degraded": {}}
    with answering(json.dumps(ready).encode()) as url:
        assert check_gateways(url)[1:3] == ("ok", "0 at 10.0.0.1:8000")
    ready["degraded"] = {"gateway 1 at 10.0.0.2": "does not answer", "engine replica 0": "does not answer"}
    with answering(json.dumps(ready).encode()) as url:
        check = check_gateways(url)
    assert check.status == "fail"
    assert check.detail == "gateway 1 at 10.0.0.2 does not answer; 0 at 10.0.0.1:8000"
    assert check.remedy


def test_it_says_that_none_answers_or_that_another_program_does() -> None:
    assert check_gateways(f"http://127.0.0.1:{free_port()}").status == "fail"
    with answering(b"<html>") as url:
        assert check_gateways(url).status == "fail"
