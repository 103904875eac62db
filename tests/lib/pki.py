"""Certificates for tests: one CA, a server, clients, and the ones that must be refused."""

import datetime
import functools
import ipaddress
import ssl
import tempfile
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from penstock.rpc.tls import client_ssl_context, server_ssl_context

HOUR = datetime.timedelta(hours=1)


@dataclass(frozen=True)
class Pair:
    """PEM files of a certificate and its key."""

    certificate: Path
    key: Path


@dataclass(frozen=True)
class Authority:
    """A CA that can issue more."""

    directory: Path
    certificate: Path
    key: ec.EllipticCurvePrivateKey
    name: x509.Name

    def issue(
        self,
        file_name: str,
        common_name: str,
        *,
        usage: x509.ObjectIdentifier | None = ExtendedKeyUsageOID.CLIENT_AUTH,
        names: tuple[x509.GeneralName, ...] = (),
        not_before: datetime.timedelta = -HOUR,
        not_after: datetime.timedelta = 24 * HOUR,
        password: bytes | None = None,
    ) -> Pair:
        """Times are relative to now; ``usage`` None leaves the extension out."""
        key = ec.generate_private_key(ec.SECP256R1())
        now = datetime.datetime.now(datetime.UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(_name(common_name))
            .issuer_name(self.name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now + not_before)
            .not_valid_after(now + not_after)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()),
                critical=False,
            )
        )
        if usage is not None:
            builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        certificate = builder.sign(self.key, hashes.SHA256())
        pair = Pair(self.directory / f"{file_name}.crt", self.directory / f"{file_name}.key")
        pair.certificate.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        _write_key(pair.key, key, password)
        return pair


@dataclass(frozen=True)
class Pki:
    """``clients`` by id: alice, bob, carol. The rest must be refused by a server (or client)."""

    directory: Path
    authority: Authority
    server: Pair
    clients: dict[str, Pair]
    other_authority: Authority
    other_client: Pair
    other_server: Pair
    expired_client: Pair
    not_yet_client: Pair

    @property
    def ca(self) -> Path:
        return self.authority.certificate

    def server_context(self) -> ssl.SSLContext:
        return server_ssl_context(self.server.certificate, self.server.key, self.ca)

    def write_crl(self, *revoked: str, days: int = 1) -> Path:
        """``crl.pem`` with these clients on it, valid for so many days from now."""
        now = datetime.datetime.now(datetime.UTC)
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(self.authority.name)
            .last_update(now - datetime.timedelta(days=2))
            .next_update(now + datetime.timedelta(days=days))
        )
        for name in revoked:
            pem = self.clients[name].certificate.read_bytes()
            serial = x509.load_pem_x509_certificate(pem).serial_number
            entry = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(now)
            builder = builder.add_revoked_certificate(entry.build())
        path = self.directory / "crl.pem"
        crl = builder.sign(self.authority.key, hashes.SHA256())
        path.write_bytes(crl.public_bytes(serialization.Encoding.PEM))
        return path

    def client_context(self, who: str | Pair = "alice") -> ssl.SSLContext:
        pair = self.clients[who] if isinstance(who, str) else who
        return client_ssl_context(pair.certificate, pair.key, self.ca)


def make_authority(directory: Path, name: str) -> Authority:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = _name(name)
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - HOUR)
        .not_valid_after(now + 24 * HOUR)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    path = directory / f"{name}.crt"
    path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    return Authority(directory, path, key, subject)


def make_pki(directory: Path) -> Pki:
    """Writes everything into ``directory``; about 20 ms."""
    authority = make_authority(directory, "ca")
    other = make_authority(directory, "other-ca")
    local = (x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1")))
    server_usage = ExtendedKeyUsageOID.SERVER_AUTH
    return Pki(
        directory=directory,
        authority=authority,
        server=authority.issue("server", "penstock", usage=server_usage, names=local),
        clients={name: authority.issue(name, name) for name in ("alice", "bob", "carol")},
        other_authority=other,
        other_client=other.issue("other-alice", "alice"),
        other_server=other.issue("other-server", "penstock", usage=server_usage, names=local),
        expired_client=authority.issue("expired", "alice", not_before=-2 * HOUR, not_after=-HOUR),
        not_yet_client=authority.issue("not-yet", "alice", not_before=HOUR),
    )


@functools.cache
def shared_pki() -> Pki:
    """One for the whole run, in a directory that goes away with the process."""
    directory = tempfile.TemporaryDirectory(prefix="pki-")
    _KEPT.append(directory)
    return make_pki(Path(directory.name))


_KEPT: list[tempfile.TemporaryDirectory[str]] = []


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _write_key(path: Path, key: ec.EllipticCurvePrivateKey, password: bytes | None) -> None:
    encryption: serialization.KeySerializationEncryption = serialization.NoEncryption()
    if password is not None:
        encryption = serialization.BestAvailableEncryption(password)
    path.touch(mode=0o600)
    path.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)
    )
