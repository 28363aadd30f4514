"""Write the cards of a dataset, beside its files; a card that somebody edited is kept."""

import io

import xxhash

from operators.datasets.card import CardFacts, card
from operators.datasets.export import folder_of
from pipelines.runtime.storage.folder import Folder
from pipelines.runtime.storage.records import Record, record_of
from pipelines.text.edited import keep_edited

CARD = "README.md"


def write_card(folder: Folder, layout: str, facts: CardFacts) -> Record:
    """Write the card of a format. A card that somebody edited is kept beside it."""
    name, text = f"{folder_of(layout)}/{CARD}", _signed(card(facts).encode())
    there = folder.read_bytes(name) if folder.exists(name) else b""
    if there == text:
        return record_of(name, io.BytesIO(text))
    if not (text.startswith(there) or _is_signed(there)):
        keep_edited(folder, name, there)
    return folder.write_bytes(name, text)


def _signed(text: bytes) -> bytes:
    """Return a card with its checksum at the end, by which it is known as ours whatever configuration wrote it."""
    return text + f"\n<!-- xxh3 of this card: {xxhash.xxh3_64_hexdigest(text)} -->\n".encode()


def _is_signed(there: bytes) -> bool:
    return _signed(there.rpartition(b"\n<!-- ")[0]) == there
