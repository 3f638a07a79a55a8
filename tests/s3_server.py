"""A server with S3's API (moto's), whose requests can be held: run by the Python of build/moto (scripts/environment.sh), not by ours.

    python s3_server.py [BUCKET ...]     prints its port

GET /-/hold?key=END&nth=N&when=before|after holds the N-th PUT from now on of a key that ends with END, before it is handled or before it
is answered, and answers with a number; /-/held?hold=NUMBER says whether it is held, /-/release?hold=NUMBER releases it.
/-/heed?conditions=no makes it a server that ignores conditions, until /-/heed?conditions=yes; /-/delete?allowed=no one whose policy
refuses every DELETE, until /-/delete?allowed=yes.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs

from moto.s3.models import s3_backends
from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server

DENIED = b"<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"


@dataclass
class Hold:
    key: str
    nth: int
    when: str
    held: threading.Event = field(default_factory=threading.Event)
    released: threading.Event = field(default_factory=threading.Event)

    def wait(self) -> None:
        self.held.set()
        self.released.wait()


class Holding:
    """The WSGI application around moto's."""

    def __init__(self, application: Callable[..., Iterable[bytes]]) -> None:
        self._application = application
        self._holds: list[Hold] = []
        self._lock = threading.Lock()
        self._heeds = self._deletes = True

    def __call__(self, environment: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        path = environment["PATH_INFO"]
        if path.startswith("/-/"):
            said = self._command(path[3:], {name: values[0] for name, values in parse_qs(environment["QUERY_STRING"]).items()})
            start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(said)))])
            return [said]
        if environment["REQUEST_METHOD"] == "DELETE" and not self._deletes:
            start_response("403 Forbidden", [("Content-Type", "application/xml"), ("Content-Length", str(len(DENIED)))])
            return [DENIED]
        mine = self._counted(path) if environment["REQUEST_METHOD"] == "PUT" else []
        for hold in mine:
            if hold.when == "before":
                hold.wait()
        if not self._heeds:
            environment.pop("HTTP_IF_NONE_MATCH", None)
        answer = list(self._application(environment, start_response))
        for hold in mine:
            if hold.when == "after":
                hold.wait()
        return answer

    def _command(self, name: str, given: dict[str, str]) -> bytes:
        if name == "hold":
            with self._lock:
                self._holds.append(Hold(given["key"], int(given["nth"]), given["when"]))
                return str(len(self._holds) - 1).encode()
        if name == "heed":
            self._heeds = given["conditions"] == "yes"
            return b"yes"
        if name == "delete":
            self._deletes = given["allowed"] == "yes"
            return b"yes"
        hold = self._holds[int(given["hold"])]
        if name == "release":
            hold.released.set()
        return b"yes" if hold.held.is_set() else b"no"

    def _counted(self, path: str) -> list[Hold]:
        """Those whose turn it is with a PUT of this key."""
        with self._lock:
            of_key = [hold for hold in self._holds if hold.nth > 0 and path.endswith(hold.key)]
            for hold in of_key:
                hold.nth -= 1
        return [hold for hold in of_key if hold.nth == 0]


if __name__ == "__main__":
    for bucket in sys.argv[1:]:
        s3_backends["123456789012"]["aws"].create_bucket(bucket, "us-east-1")
    application = Holding(DomainDispatcherApplication(create_backend_app))
    server = make_server("127.0.0.1", 0, application, threaded=True)
    print(server.port, flush=True)
    server.serve_forever()
