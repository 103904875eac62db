"""Files of ``[tls]`` that look well and refuse everybody, and some that do not."""

import datetime
from collections.abc import Callable

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from pki import HOUR, Authority, Pair, Pki

_UNKNOWN: x509.ExtensionType = x509.UnrecognizedExtension(
    x509.ObjectIdentifier("1.3.6.1.4.1.55555.1"), b"\x05\x00"
)
_CA_ONLY: x509.ExtensionType = x509.IssuingDistributionPoint(
    full_name=None,
    relative_name=None,
    only_contains_user_certs=False,
    only_contains_ca_certs=True,
    only_some_reasons=None,
    indirect_crl=False,
    only_contains_attribute_certs=False,
)


def list_with(
    authority: Authority,
    *extensions: x509.ExtensionType,
    revoked: tuple[Pair, ...] = (),
    days: int = 1,
) -> bytes:
    """A list of this CA in PEM, with critical extensions."""
    now = datetime.datetime.now(datetime.UTC)
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(authority.name)
        .last_update(now - 48 * HOUR)
        .next_update(now + datetime.timedelta(days=days))
    )
    for extension in extensions:
        builder = builder.add_extension(extension, critical=True)
    for pair in revoked:
        serial = x509.load_pem_x509_certificate(pair.certificate.read_bytes()).serial_number
        entry = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(now)
        builder = builder.add_revoked_certificate(entry.build())
    crl = builder.sign(authority.key, hashes.SHA256())
    return crl.public_bytes(serialization.Encoding.PEM)


LISTS: dict[str, Callable[[Pki], bytes]] = {
    "unknown critical extension": lambda pki: list_with(pki.authority, _UNKNOWN),
    "for CA certificates only": lambda pki: list_with(pki.authority, _CA_ONLY),
    "out of date": lambda pki: list_with(pki.authority, days=-1),
    "of another CA": lambda pki: list_with(pki.other_authority),
}
"""Each is one that OpenSSL refuses everybody by."""

AUTHORITIES: dict[str, Callable[[Pki], bytes]] = {
    "a leaf": lambda pki: pki.clients["bob"].certificate.read_bytes(),
    "the server's certificate": lambda pki: pki.server.certificate.read_bytes(),
    "another CA": lambda pki: pki.other_authority.certificate.read_bytes(),
    "the same name, another key": lambda pki: _twin(pki.authority),
}
"""The same for the CA's file."""


def _twin(authority: Authority) -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(authority.name)
        .issuer_name(authority.name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - HOUR)
        .not_valid_after(now + 24 * HOUR)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    return certificate.public_bytes(serialization.Encoding.PEM)
