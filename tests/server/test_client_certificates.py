"""Which certificates of the right CA are no client's, by what they may be used for."""

from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from penstock.server.authn import AuthenticationError, identify

CLIENT, SERVER = ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH
ANY = ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE
KEY = ec.generate_private_key(ec.SECP256R1())


def key_usage(*names: str) -> x509.KeyUsage:
    known = (
        *("digital_signature", "content_commitment", "key_encipherment", "data_encipherment"),
        *("key_agreement", "key_cert_sign", "crl_sign", "encipher_only", "decipher_only"),
    )
    return x509.KeyUsage(**{name: name in names for name in known})


def certificate(*extensions: x509.ExtensionType) -> bytes:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "alice")])
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(KEY.public_key())
        .serial_number(7)
        .not_valid_before(now)
        .not_valid_after(now + timedelta(hours=1))
    )
    for extension in extensions:
        builder = builder.add_extension(extension, critical=False)
    return builder.sign(KEY, hashes.SHA256()).public_bytes(serialization.Encoding.DER)


LEAF = x509.BasicConstraints(ca=False, path_length=None)
CA = x509.BasicConstraints(ca=True, path_length=None)
FOR_CLIENTS = x509.ExtendedKeyUsage([CLIENT])


@pytest.mark.parametrize(
    ("extensions", "refused"),
    [
        ((LEAF, FOR_CLIENTS), None),
        ((FOR_CLIENTS,), None),
        ((LEAF, FOR_CLIENTS, key_usage("digital_signature")), None),
        ((LEAF, FOR_CLIENTS, key_usage("digital_signature", "key_agreement")), None),
        # Who issues one for both means it.
        ((LEAF, x509.ExtendedKeyUsage([SERVER, CLIENT])), None),
        ((CA, FOR_CLIENTS), "is a CA's"),
        ((x509.BasicConstraints(ca=True, path_length=0), FOR_CLIENTS), "is a CA's"),
        ((CA, FOR_CLIENTS, key_usage("digital_signature")), "is a CA's"),
        ((LEAF, FOR_CLIENTS, key_usage("digital_signature", "key_cert_sign")), "is a CA's"),
        ((FOR_CLIENTS, key_usage("digital_signature", "crl_sign")), "is a CA's"),
        ((LEAF, FOR_CLIENTS, key_usage("key_encipherment")), "lacks digital signature"),
        ((LEAF, FOR_CLIENTS, key_usage("key_agreement")), "lacks digital signature"),
        ((LEAF, x509.ExtendedKeyUsage([SERVER])), "not for client authentication"),
        ((LEAF, x509.ExtendedKeyUsage([ANY])), "not for client authentication"),
        (
            (LEAF, x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CODE_SIGNING])),
            "not for client authentication",
        ),
    ],
)
def test_what_a_certificate_may_be_used_for(
    extensions: tuple[x509.ExtensionType, ...], refused: str | None
) -> None:
    """legacy_certificates changes nothing of what is there."""
    for legacy in (False, True):
        der = certificate(*extensions)
        if refused is None:
            assert identify(der, legacy_certificates=legacy).client_id == "alice"
        else:
            with pytest.raises(AuthenticationError, match=refused):
                identify(der, legacy_certificates=legacy)


def test_a_ca_without_extended_key_usage_is_no_client() -> None:
    """legacy_certificates admits those that have no such extension, and no CA's."""
    assert identify(certificate(LEAF), legacy_certificates=True).client_id == "alice"
    with pytest.raises(AuthenticationError, match="is a CA's"):
        identify(certificate(CA), legacy_certificates=True)
