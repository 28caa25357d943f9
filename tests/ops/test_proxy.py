"""The proxies' configurations are ones that these take, and wait for as long as a turn may take."""

import re
import shutil
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from populace.settings.settings import Settings
from scripts.bench.ports import free_port
from tests.house.source_tree import ROOT

NGINX = (ROOT / "ops/proxy/nginx.conf").read_text(encoding="utf-8")
CADDY = (ROOT / "ops/proxy/Caddyfile").read_text(encoding="utf-8")


def test_they_pass_on_to_where_it_listens_and_wait_longer_than_a_turn_takes() -> None:
    port = Settings.model_fields["port"].default
    for text in (NGINX, CADDY):
        assert f"127.0.0.1:{port}" in text
        (seconds,) = re.findall(r"(?:read|header)_timeout (\d{3})s", text)
        assert int(seconds) > Settings.model_fields["turn_seconds_max"].default


def certificate(folder: Path) -> None:
    """Write a key and a certificate for nobody."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "populace.example.org")])
    now = datetime.now(UTC)
    made = x509.CertificateBuilder(
        name, name, key.public_key(), x509.random_serial_number(), now, now + timedelta(days=1)
    ).sign(key, hashes.SHA256())
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (folder / "populace.crt").write_bytes(made.public_bytes(Encoding.PEM))
    (folder / "populace.key").write_bytes(private)


@pytest.mark.skipif(shutil.which("nginx") is None, reason="nginx is not installed")
def test_nginx_takes_its_own(tmp_path: Path) -> None:
    certificate(tmp_path)
    site = NGINX.replace("/etc/nginx/", f"{tmp_path}/").replace("listen 443", f"listen {free_port()}")
    whole = f"pid {tmp_path}/pid; error_log stderr; events {{}} http {{ access_log off; {site} }}"
    (tmp_path / "nginx.conf").write_text(whole, encoding="utf-8")

    found = subprocess.run(
        ["nginx", "-t", "-p", tmp_path, "-c", tmp_path / "nginx.conf"], capture_output=True, text=True
    )

    assert found.returncode == 0, found.stderr
    assert "[warn]" not in found.stderr


@pytest.mark.skipif(shutil.which("caddy") is None, reason="Caddy is not installed")
def test_caddy_takes_its_own() -> None:
    command = ["caddy", "adapt", "--adapter", "caddyfile", "--config", ROOT / "ops/proxy/Caddyfile"]
    found = subprocess.run(command, capture_output=True, text=True)

    assert found.returncode == 0, found.stderr
