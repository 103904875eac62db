"""The certificates that the plain openssl recipe makes, typed at a terminal as a person would."""

import os
from dataclasses import dataclass
from pathlib import Path

from answering import answered

CA_PASSPHRASE, SERVER_PASSPHRASE, CLIENT_PASSPHRASE = "of the CA", "of the server", "of alice"
_CA = [
    "openssl genpkey -algorithm RSA -out ca.key -aes256",
    "openssl req -new -x509 -key ca.key -sha256 -days 365 -out ca.crt",
]
_LEAF = [
    "openssl genpkey -algorithm RSA -out {stem}.key -aes256",
    "openssl req -new -key {stem}.key -out {stem}.csr",
    "openssl x509 -req -in {stem}.csr -CA ca.crt -CAkey ca.key -CAcreateserial -out {stem}.crt "
    "-days 365 -sha256",
]
_FIRST_QUESTIONS = ("Country Name", "State or Province", "Locality", "Organization Name", "Unit")
_OF_REQUESTS = ("challenge password", "optional company name")


@dataclass(frozen=True)
class PlainCertificates:
    """Files in ``directory``: ca, server, client, each .key and .crt, and .csr of the last two."""

    directory: Path

    def run(self, command: str, *answers: tuple[str, str]) -> str:
        """One command line of a shell, on a terminal; what is shown there. It must succeed."""
        done = answered(
            ["sh", "-c", command],
            answers,
            directory=self.directory,
            environment={"PATH": os.environ["PATH"], "LANG": "C.UTF-8"},
        )
        assert done.status == 0, f"{command}: {done.shown}"
        return done.shown

    def sign_again(self, command: str) -> None:
        """A command that penstock has printed, which asks for the CA's passphrase."""
        self.run(command, ("pass phrase for ca.key:", CA_PASSPHRASE))


def make_plain(directory: Path, host: str, client: str, *, ca: str = "my CA") -> PlainCertificates:
    """The eight commands, with these Common Names; all other questions get no answer."""
    made = PlainCertificates(directory)

    def key(command: str, secret: str) -> None:
        made.run(command, ("Enter PEM pass phrase:", secret), ("Verifying", secret))

    def request(command: str, stem: str, secret: str, name: str, *, signed: bool) -> None:
        more = () if signed else _OF_REQUESTS
        made.run(
            command,
            (f"pass phrase for {stem}.key:", secret),
            *((question, "") for question in _FIRST_QUESTIONS),
            ("Common Name", name),
            *((question, "") for question in ("Email Address", *more)),
        )

    key(_CA[0], CA_PASSPHRASE)
    request(_CA[1], "ca", CA_PASSPHRASE, ca, signed=True)
    leaves = (("server", SERVER_PASSPHRASE, host), ("client", CLIENT_PASSPHRASE, client))
    for stem, secret, name in leaves:
        commands = [command.format(stem=stem) for command in _LEAF]
        key(commands[0], secret)
        request(commands[1], stem, secret, name, signed=False)
        made.sign_again(commands[2])
    return made
