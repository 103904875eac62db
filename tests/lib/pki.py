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

from penstock.rpc.tls.contexts import client_ssl_context, server_ssl_context

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
        curve: type[ec.EllipticCurve] = ec.SECP256R1,
    ) -> Pair:
        """Times are relative to now; ``usage`` None leaves the extension out."""
        key = ec.generate_private_key(curve())
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

    def crl(self, *revoked: Pair, days: int = 1, since: datetime.timedelta = -48 * HOUR) -> bytes:
        """A list in PEM; ``since`` is its beginning, relative to now."""
        now = datetime.datetime.now(datetime.UTC)
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(self.name)
            .last_update(now + since)
            .next_update(now + max(since, datetime.timedelta(0)) + datetime.timedelta(days=days))
        )
        for pair in revoked:
            serial = x509.load_pem_x509_certificate(pair.certificate.read_bytes()).serial_number
            entry = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(now)
            builder = builder.add_revoked_certificate(entry.build())
        crl = builder.sign(self.key, hashes.SHA256())
        return crl.public_bytes(serialization.Encoding.PEM)

    def disguise(self, pair: Pair) -> None:
        """Says of a certificate's last extension that it is not critical, and signs it again.

        DER leaves out what is the default; OpenSSL does not mind, and cryptography does.
        """
        found = x509.load_pem_x509_certificate(pair.certificate.read_bytes())
        parts = _der_parts(_der_parts(found.tbs_certificate_bytes)[0][1])
        kind, extensions = parts[-1]
        inner = _der_parts(_der_parts(extensions)[0][1])
        name, value = _der_parts(inner[-1][1])
        inner[-1] = (0x30, _der(*name) + b"\x01\x01\x00" + _der(*value))
        parts[-1] = (kind, _der(0x30, b"".join(_der(*part) for part in inner)))
        tbs = _der(0x30, b"".join(_der(*part) for part in parts))
        signature = self.key.sign(tbs, ec.ECDSA(hashes.SHA256()))
        algorithm = _der(0x30, bytes.fromhex("06082a8648ce3d040302"))  # ecdsa-with-SHA256
        der = _der(0x30, tbs + algorithm + _der(3, b"\0" + signature))
        pair.certificate.write_text(ssl.DER_cert_to_PEM_cert(der))


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

    def write_crl(
        self, *revoked: str, days: int = 1, since: datetime.timedelta = -48 * HOUR
    ) -> Path:
        """``crl.pem`` with these clients on it, valid for so many days from now."""
        pairs = [self.clients[name] for name in revoked]
        path = self.directory / "crl.pem"
        path.write_bytes(self.authority.crl(*pairs, days=days, since=since))
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


def _der(tag: int, content: bytes) -> bytes:
    """Tag, length, content (X.690)."""
    size = len(content)
    if size < 128:
        return bytes([tag, size]) + content
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 | len(length)]) + length + content


def _der_parts(data: bytes) -> list[tuple[int, bytes]]:
    """Tags and contents of what stands in a row."""
    found = []
    while data:
        tag, size, at = data[0], data[1], 2
        if size & 0x80:
            at += size & 0x7F
            size = int.from_bytes(data[2:at], "big")
        found.append((tag, data[at : at + size]))
        data = data[at + size :]
    return found


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
