"""API keys: made by a person, shown once, kept in the town as argon2id hashes.

A key is ``ttk_ID_SECRET``. Its record, without the secret, is among the plugin's data in the town, so that all townhalls of a
town know it, and a revoked one is gone from all of them at once.
"""

from __future__ import annotations

import hashlib
import re
import secrets
import time
from collections.abc import Mapping
from typing import Any

import msgspec
import trio
from argon2 import PasswordHasher
from argon2.exceptions import Argon2Error, InvalidHashError
from tinytown.model.events import Event, PluginDataChanged
from tinytown.model.hash_codec import pairs
from tinytown.model.ids import check_word
from tinytown.model.time import now_rfc3339
from tinytown.protocol import Keys, Operation, TownOperations
from tinytown.town import Town

from tinytown_townhall.auth import Principal, Scope

PLUGIN = "townhall"
_FIELD = "key-"
_KEY = re.compile(r"ttk_([0-9a-f]{8})_([A-Za-z0-9_-]{43})")
#: How long a key that was right is not hashed again.
_VERIFIED_S = 300.0
_VERIFIED_KEPT = 1_024
_USED_EVERY_S = 60.0
#: Hashing takes 64 MB and a core for a moment.
_HASHING = 2


class KeyRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What the town keeps of a key. Times are RFC 3339 in UTC; without `expires_at` it is valid until it is revoked."""

    id: str
    name: str
    scopes: tuple[Scope, ...]
    created_at: str
    expires_at: str | None
    hash: str

    @property
    def is_expired(self) -> bool:
        return self.expires_at is not None and self.expires_at <= now_rfc3339()

    @property
    def principal(self) -> Principal:
        """Who has this key."""
        return Principal(name=f"key {self.name}", scopes=frozenset(self.scopes))


def new_key(name: str, scopes: tuple[Scope, ...], expires_at: str | None) -> tuple[KeyRecord, str]:
    """A new key: its record and its text, which is known to nobody else. Blocks for the time of a hash. Raises: UsageError."""
    check_word("key's name", name)
    key_id, secret = secrets.token_hex(4), secrets.token_urlsafe(32)
    record = KeyRecord(
        id=key_id,
        name=name,
        scopes=scopes,
        created_at=now_rfc3339(),
        expires_at=expires_at,
        hash=PasswordHasher().hash(secret),
    )
    return record, f"ttk_{key_id}_{secret}"


def store_key(operations: TownOperations, record: KeyRecord) -> Operation[bool]:
    """Keep a key's record in the town."""
    event = ("townhall_key_created", {"key": record.id, "name": record.name, "scopes": " ".join(record.scopes)})
    return operations.set_plugin_field(PLUGIN, _FIELD + record.id, msgspec.to_builtins(record), event=event)


def forget_key(operations: TownOperations, record: KeyRecord) -> Operation[bool]:
    """Revoke a key."""
    event = ("townhall_key_revoked", {"key": record.id, "name": record.name})
    return operations.set_plugin_field(PLUGIN, _FIELD + record.id, None, event=event)


def read_keys(data: Mapping[str, Any]) -> dict[str, KeyRecord]:
    """The records among the plugin's data, by id; other data is left out."""
    records: dict[str, KeyRecord] = {}
    for field, value in data.items():
        if field.startswith(_FIELD):
            try:
                record = msgspec.convert(value, KeyRecord)
            except msgspec.ValidationError:
                continue
            records[record.id] = record
    return records


def last_used_key(keys: Keys) -> str:
    """The Redis key of the hash with the time at which each key was last used."""
    return keys.plugin_key(PLUGIN, "last-used")


def last_used(keys: Keys) -> Operation[dict[str, str]]:
    """Key id -> when it was last used."""
    return Operation(("HGETALL", last_used_key(keys)), pairs)


class KeyStore:
    """Knows the town's keys. `take` is called with each event: keys are read again when they change."""

    def __init__(self, town: Town) -> None:
        self._town = town
        self._records: dict[str, KeyRecord] | None = None
        self._verified: dict[bytes, float] = {}
        self._used: dict[str, float] = {}
        self._hashing = trio.CapacityLimiter(_HASHING)

    def take(self, event: Event) -> None:
        """Forget what was known if the plugin's data changes."""
        if isinstance(event, PluginDataChanged) and event.plugin == PLUGIN:
            self._records = None
            self._verified.clear()

    async def by_id(self, key_id: str) -> KeyRecord | None:
        """The record of a key that is valid. Raises: ServerUnreachable."""
        if self._records is None:
            self._records = read_keys(await self._town.run(self._town.operations.plugin_data(PLUGIN)))
        record = self._records.get(key_id)
        return None if record is None or record.is_expired else record

    def is_verified(self, text: str) -> bool:
        """Whether a key with this text was right a moment ago, so that it need not be hashed again."""
        return self._verified.get(_digest(text), 0.0) >= time.monotonic()

    async def verify(self, text: str) -> KeyRecord | None:
        """The record of the key with this text; None if there is none. Raises: ServerUnreachable."""
        match = _KEY.fullmatch(text)
        record = await self.by_id(match[1]) if match else None
        if match is None or record is None:
            return None
        if not self.is_verified(text):
            if not await trio.to_thread.run_sync(_is_right, record.hash, match[2], limiter=self._hashing):
                return None
            if len(self._verified) >= _VERIFIED_KEPT:
                self._verified.clear()
            self._verified[_digest(text)] = time.monotonic() + _VERIFIED_S
        await self._note_use(record)
        return record

    async def _note_use(self, record: KeyRecord) -> None:
        now = time.monotonic()
        if now - self._used.get(record.id, -_USED_EVERY_S) >= _USED_EVERY_S:
            self._used[record.id] = now
            command = ("HSET", last_used_key(self._town.operations.keys), record.id, now_rfc3339())
            await self._town.run(Operation(command, int))


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).digest()


def _is_right(hash_: str, secret: str) -> bool:
    try:
        return PasswordHasher().verify(hash_, secret)
    except (Argon2Error, InvalidHashError):
        return False
