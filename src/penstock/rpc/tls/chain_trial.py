"""Would this server admit that client? Asked of OpenSSL itself, of certificates without their keys.

In TLS 1.3 OpenSSL judges a client's certificates as soon as it has them (RFC 8446 4.4.2), before
the client has proved that it has the key (4.4.3). So a handshake in memory is run up to that point.
The server's side is the same context that connections would get, with its CAs, lists and flags. The
client's side is written out here, because no library sends a certificate without its key.
"""

import os
import ssl
import struct
from collections.abc import Callable, Sequence
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256, SHA384, Hash
from cryptography.hazmat.primitives.hmac import HMAC
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

# RFC 8446 B.4, each with its hash, cipher and length of key.
_SUITES: Final[dict[int, Any]] = {
    0x1301: (SHA256, AESGCM, 16),
    0x1302: (SHA384, AESGCM, 32),
    0x1303: (SHA256, ChaCha20Poly1305, 32),
}
_P256: Final = 0x0017
# RFC 8446 4.2.3: all kinds of signature, because the server's own certificate may have any.
_SIGNATURES: Final = (
    *(0x0403, 0x0503, 0x0603, 0x0807, 0x0808, 0x0804, 0x0805, 0x0806, 0x0809, 0x080A, 0x080B),
    *(0x0401, 0x0501, 0x0601),
)
_RECORD_BYTES: Final = 16_384
_CLIENT_HELLO, _SERVER_HELLO, _CERTIFICATE = 1, 2, 11
_HANDSHAKE, _DATA = 22, 23


# Reasons of ssl.SSLError: TLS 1.3 has no signature for this kind of key (RFC 8446 4.2.3), such as
# secp256k1's. OpenSSL 3.0 gives the first, because it ends before it asks for a signature; other
# versions give the second.
_NO_SIGNATURE: Final = frozenset({"UNSUPPORTED_PROTOCOL", "NO_SUITABLE_SIGNATURE_ALGORITHM"})


class TrialFailed(Exception):
    """The handshake ended too early to judge the client; the text has the reason."""


def refusal(context: ssl.SSLContext, chain: Sequence[bytes]) -> ssl.SSLCertVerificationError | None:
    """Why a server with ``context`` refuses a client that sends these certificates.

    ``chain`` is DER, the client's own certificate first. None: the server accepts them. Takes a
    millisecond or two of CPU. Raises TrialFailed.
    """
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = context.wrap_bio(incoming, outgoing, server_side=True)
    key = ec.generate_private_key(ec.SECP256R1())
    hello = _client_hello(key)
    incoming.write(_plain_record(hello))
    try:
        if _step(server) is None:
            raise TrialFailed("it ended too early")
        answer = outgoing.read()
        seal = _keys(key, hello, answer)
        incoming.write(seal(_certificates(chain)))
        _step(server)
    except ssl.SSLCertVerificationError as error:
        return error
    except (ssl.SSLError, ValueError, IndexError, struct.error) as error:
        raise TrialFailed(str(error)) from error
    return None


def can_sign(context: ssl.SSLContext) -> bool:
    """Whether the private key in ``context`` can sign a TLS 1.3 handshake with any client.

    The question is needed because OpenSSL also loads keys that cannot. Takes a millisecond of CPU.
    """
    incoming = ssl.MemoryBIO()
    server = context.wrap_bio(incoming, ssl.MemoryBIO(), server_side=True)
    incoming.write(_plain_record(_client_hello(ec.generate_private_key(ec.SECP256R1()))))
    try:
        _step(server)
    except ssl.SSLError as error:
        return error.reason not in _NO_SIGNATURE
    return True


def _step(server: ssl.SSLObject) -> ssl.SSLWantReadError | None:
    try:
        server.do_handshake()
    except ssl.SSLWantReadError as error:
        return error
    return None


def _message(kind: int, body: bytes) -> bytes:
    return bytes((kind,)) + len(body).to_bytes(3, "big") + body


def _plain_record(message: bytes) -> bytes:
    return struct.pack(">BHH", _HANDSHAKE, 0x0301, len(message)) + message


def _extension(number: int, body: bytes) -> bytes:
    return struct.pack(">HH", number, len(body)) + body


def _numbers(values: Sequence[int]) -> bytes:
    return struct.pack(f">H{len(values)}H", 2 * len(values), *values)


def _client_hello(key: ec.EllipticCurvePrivateKey) -> bytes:
    """The client's first message (RFC 8446 4.1.2), with a share of ``key``."""
    point = key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    share = struct.pack(">HH", _P256, len(point)) + point
    extensions = b"".join(
        (
            _extension(43, b"\x02\x03\x04"),  # supported_versions: 1.3
            _extension(10, _numbers([_P256])),  # supported_groups
            _extension(13, _numbers(_SIGNATURES)),  # signature_algorithms
            _extension(51, struct.pack(">H", len(share)) + share),  # key_share
        )
    )
    body = b"\x03\x03" + os.urandom(32) + b"\0" + _numbers(list(_SUITES)) + b"\x01\0"
    return _message(_CLIENT_HELLO, body + struct.pack(">H", len(extensions)) + extensions)


def _server_hello(answer: bytes) -> tuple[bytes, int, bytes]:
    """The message, its suite and key share (4.1.3). Raises ValueError."""
    kind, _, size = struct.unpack_from(">BHH", answer)
    message = answer[5 : 5 + size]
    if kind != _HANDSHAKE or message[0] != _SERVER_HELLO:
        raise ValueError("the server does not answer with a ServerHello")
    message = message[: 4 + int.from_bytes(message[1:4], "big")]
    at = 4 + 2 + 32
    at += 1 + message[at]
    (suite,) = struct.unpack_from(">H", message, at)
    at += 2 + 1 + 2
    while at < len(message):
        number, length = struct.unpack_from(">HH", message, at)
        if number == 51:
            group, share_bytes = struct.unpack_from(">HH", message, at + 4)
            if group != _P256:
                break
            return message, suite, message[at + 8 : at + 8 + share_bytes]
        at += 4 + length
    raise ValueError("the server wants another group than P-256")


def _keys(key: ec.EllipticCurvePrivateKey, hello: bytes, answer: bytes) -> Callable[[bytes], bytes]:
    """What encrypts the client's handshake messages (7.1, 7.3). Raises ValueError."""
    message, suite, point = _server_hello(answer)
    if suite not in _SUITES:
        raise ValueError(f"the server wants the cipher suite {suite:#06x}")
    kind, aead, key_bytes = _SUITES[suite]
    algorithm = kind()
    peer = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), point)
    shared = key.exchange(ec.ECDH(), peer)

    def digest(data: bytes) -> bytes:
        hashing = Hash(algorithm)
        hashing.update(data)
        return hashing.finalize()

    def extract(salt: bytes, data: bytes) -> bytes:
        mac = HMAC(salt, algorithm)
        mac.update(data)
        return mac.finalize()

    def expand(secret: bytes, label: bytes, context: bytes, size: int) -> bytes:
        info = struct.pack(">HB", size, 6 + len(label)) + b"tls13 " + label
        info += bytes((len(context),)) + context
        return HKDFExpand(algorithm, size, info).derive(secret)

    size = algorithm.digest_size
    early = extract(bytes(size), bytes(size))
    handshake = extract(expand(early, b"derived", digest(b""), size), shared)
    secret = expand(handshake, b"c hs traffic", digest(hello + message), size)
    cipher = aead(expand(secret, b"key", b"", key_bytes))
    start = int.from_bytes(expand(secret, b"iv", b"", 12), "big")

    def seal(data: bytes) -> bytes:
        records = b""
        for number, begin in enumerate(range(0, len(data), _RECORD_BYTES)):
            piece = data[begin : begin + _RECORD_BYTES] + bytes((_HANDSHAKE,))
            head = struct.pack(">BHH", _DATA, 0x0303, len(piece) + 16)
            nonce = (start ^ number).to_bytes(12, "big")
            records += head + cipher.encrypt(nonce, piece, head)
        return records

    return seal


def _certificates(chain: Sequence[bytes]) -> bytes:
    """RFC 8446 4.4.2: an empty context, and entries without extensions."""
    entries = b"".join(len(each).to_bytes(3, "big") + each + b"\0\0" for each in chain)
    return _message(_CERTIFICATE, b"\0" + len(entries).to_bytes(3, "big") + entries)
