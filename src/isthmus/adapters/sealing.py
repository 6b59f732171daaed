"""Secrets that lie in items, sealed by a key that NATS does not hold (AES-256-GCM).

The key is a file of 64 hex digits, the same one in every region, as items are. What is sealed opens
only for the purpose that it was sealed for.
"""

from __future__ import annotations

import base64
import binascii
import re
import secrets
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from isthmus.adapters import private_files
from isthmus.errors import ConfigError, InputError

KEY_BYTES = 32
#: Random, as NIST SP 800-38D has it for fewer than 2**32 messages.
NONCE_BYTES = 12
_KEY = re.compile(rb"[0-9a-f]{64}\n?")


def make_key(file: Path) -> None:
    """Write a new key, unless there is one."""
    if not file.exists():
        private_files.write(file, f"{secrets.token_hex(KEY_BYTES)}\n".encode(), is_synced=True)


class Sealing:
    """Seals and opens with one key."""

    def __init__(self, key: bytes) -> None:
        self._cipher = AESGCM(key)
        self._key = key

    @classmethod
    def load(cls, file: Path) -> Sealing:
        """Read the key; raises ConfigError where there is none, or others can read it."""
        try:
            text = private_files.read(file)
        except FileNotFoundError:
            raise ConfigError(
                f"{file}: no such file", hint=f"openssl rand -hex 32 > {file}"
            ) from None
        if not _KEY.fullmatch(text):
            # Not what it says: it may be a part of a key.
            raise ConfigError(f"{file} is not 64 hex digits in lower case")
        return cls(bytes.fromhex(text.decode()))

    def derive(self, purpose: str) -> str:
        """64 hex digits that follow from the key, and tell nothing of it: others for each purpose.

        The same in every region, and nothing has to be stored for it.
        """
        kdf = HKDF(hashes.SHA256(), length=KEY_BYTES, salt=None, info=purpose.encode())
        return kdf.derive(self._key).hex()

    def seal(self, secret: str, purpose: str) -> str:
        nonce = secrets.token_bytes(NONCE_BYTES)
        sealed = self._cipher.encrypt(nonce, secret.encode(), purpose.encode())
        return base64.b64encode(nonce + sealed).decode()

    def open(self, sealed: str, purpose: str) -> str:
        """The secret; raises InputError if it was not sealed with this key for this purpose."""
        try:
            raw = base64.b64decode(sealed, validate=True)
            secret = self._cipher.decrypt(raw[:NONCE_BYTES], raw[NONCE_BYTES:], purpose.encode())
            return secret.decode()
        except (binascii.Error, InvalidTag, ValueError):
            raise InputError("sealed with another key, or for another purpose") from None
