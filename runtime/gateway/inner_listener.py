"""A second listener of the gateways that have the store's files, for gateways on other machines.

It is encrypted by TLS under a certificate of this process, and takes requests that have this process's secret
only. Both go to the other gateways through Ray, so that no file has them and none has to be made or copied.
"""

import hmac
import secrets
import socket
import ssl
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from populace.gateway.http.request_counter import FORWARDED
from populace.gateway.server import Server
from populace.hosting.presence import listening_socket
from populace.settings.ports import stream_ports

SECRET_HEADER = "populace-forwarded"  # noqa: S105 - the header's name

BEGIN, END = datetime(2000, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)
"""The certificate lives as long as its process; the clocks of machines may differ."""


class InnerAddress(NamedTuple):
    """Where a gateway takes requests of others: its certificate (PEM), and the secret that they send."""

    host: str
    port: int
    certificate: str
    secret: str

    def __repr__(self) -> str:
        return f"InnerAddress({self.host!r}, {self.port})"


class InnerListener:
    """Listens on this machine's address in the cluster; ``server`` serves ``listening``."""

    def __init__(self, app: ASGIApp, host: str) -> None:
        """Raises ``OSError`` if no port is free."""
        self.listening: socket.socket = listening_socket(host, stream_ports())
        secret = secrets.token_urlsafe(32)
        certificate, context = _identity()
        self.server = Server(_Insiders(app, secret), tls=context)
        self.address = InnerAddress(host, self.listening.getsockname()[1], certificate, secret)


class _Insiders:
    """ASGI middleware: lets no one in without the secret, and marks requests as another gateway's."""

    def __init__(self, app: ASGIApp, secret: str) -> None:
        self._app = app
        self._secret = secret.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            presented = Headers(scope=scope).get(SECRET_HEADER, "")
            if not hmac.compare_digest(presented.encode(), self._secret):
                await PlainTextResponse("not a gateway\n", status_code=403)(scope, receive, send)
                return
            scope[FORWARDED] = True
        await self._app(scope, receive, send)


def _identity() -> tuple[str, ssl.SSLContext]:
    """Make a key and its certificate; return the latter, and what a server shows both with."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "populace gateway")])
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), BEGIN, END)
        .sign(key, hashes.SHA256())
        .public_bytes(Encoding.PEM)
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.TemporaryDirectory() as folder:  # Python's ssl takes them from files only
        chain = Path(folder) / "chain.pem"
        chain.touch(mode=0o600)
        private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        chain.write_bytes(private + certificate)
        context.load_cert_chain(chain)
    return certificate.decode(), context
