"""TLS 1.3 records that no library would send: the handshake is ``ssl``'s, what follows is ours."""

import ssl
import struct
import tempfile
from pathlib import Path
from typing import Any, Final

import trio
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256, SHA384
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

HANDSHAKE, DATA = 22, 23
_CIPHERS: Final[dict[str, Any]] = {
    "TLS_AES_256_GCM_SHA384": (SHA384, AESGCM, 32),
    "TLS_AES_128_GCM_SHA256": (SHA256, AESGCM, 16),
    "TLS_CHACHA20_POLY1305_SHA256": (SHA256, ChaCha20Poly1305, 32),
}


def hello_in_pieces(size: int) -> bytes:
    """A ClientHello that declares and has ``size`` bytes, one in each record."""
    body = b"\x01" + size.to_bytes(3, "big") + b"\x03\x03" + bytes(size - 2)
    return b"".join(b"\x16\x03\x01\0\1" + bytes((byte,)) for byte in body)


class Writer:
    """One direction after the handshake (RFC 8446 5.2, 7.2, 7.3)."""

    def __init__(self, secret: bytes, cipher: str) -> None:
        self._secret = secret
        self._hash, self._aead, self._key_bytes = _CIPHERS[cipher]
        self._begin()

    def _expanded(self, label: bytes, size: int) -> bytes:
        info = struct.pack(">HB", size, 6 + len(label)) + b"tls13 " + label + b"\0"
        return HKDFExpand(self._hash(), size, info).derive(self._secret)

    def _begin(self) -> None:
        self._key = self._aead(self._expanded(b"key", self._key_bytes))
        self._iv = int.from_bytes(self._expanded(b"iv", 12), "big")
        self._number = 0

    def record(self, data: bytes, kind: int = DATA) -> bytes:
        nonce = (self._iv ^ self._number).to_bytes(12, "big")
        self._number += 1
        head = struct.pack(">BHH", 23, 0x0303, len(data) + 17)
        return head + bytes(self._key.encrypt(nonce, data + bytes((kind,)), head))

    def key_update(self, *, ask: bool = False) -> bytes:
        """With ``ask`` the peer must answer with one of its own."""
        made = self.record(bytes((24, 0, 0, 1, ask)), HANDSHAKE)
        self._secret = self._expanded(b"traffic upd", self._hash.digest_size)
        self._begin()
        return made


def _lines(path: Path) -> list[str]:
    return path.read_text().splitlines()


async def agreed(
    stream: trio.abc.Stream, context: ssl.SSLContext, *, server_side: bool = False
) -> Writer:
    """After a handshake; ``context`` is for this one alone."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "keys")
        context.keylog_filename = str(path)
        name = None if server_side else "localhost"
        tls = context.wrap_bio(incoming, outgoing, server_side=server_side, server_hostname=name)
        done = False
        while not done:
            try:
                tls.do_handshake()
                done = True
            except ssl.SSLWantReadError:
                pass
            await stream.send_all(outgoing.read())
            if not done:
                data = await stream.receive_some()
                if not data:
                    raise EOFError
                incoming.write(data)
        label = "SERVER_TRAFFIC_SECRET_0" if server_side else "CLIENT_TRAFFIC_SECRET_0"
        (line,) = [each for each in _lines(path) if each.startswith(label)]
    cipher = tls.cipher()
    assert cipher is not None
    return Writer(bytes.fromhex(line.split()[2]), cipher[0])
