"""Write the cards of a dataset, beside its files; a card that somebody edited is kept."""

import io
from itertools import count

import xxhash

from operators.datasets.card import CardFacts, card
from operators.datasets.export import folder_of
from pipelines.runtime.storage.folder import Folder
from pipelines.runtime.storage.records import Record, record_of

CARD = "README.md"
EDITED_CARD = "README.edited{}.md"


def write_card(folder: Folder, layout: str, facts: CardFacts) -> Record:
    """Write the card of a format. A card that somebody edited is kept beside it."""
    name, text = f"{folder_of(layout)}/{CARD}", _signed(card(facts).encode())
    there = folder.read_bytes(name) if folder.exists(name) else b""
    if there == text:
        return record_of(name, io.BytesIO(text))
    if not (text.startswith(there) or _is_signed(there)):
        _keep(folder, layout, there)
    return folder.write_bytes(name, text)


def _signed(text: bytes) -> bytes:
    """Return a card with its checksum at the end, by which it is known as ours whatever configuration wrote it."""
    return text + f"\n<!-- xxh3 of this card: {xxhash.xxh3_64_hexdigest(text)} -->\n".encode()


def _is_signed(there: bytes) -> bool:
    return _signed(there.rpartition(b"\n<!-- ")[0]) == there


def _keep(folder: Folder, layout: str, edited: bytes) -> None:
    """Write an edited card to the first free name; one that was kept before stays."""
    kept = (f"{folder_of(layout)}/{EDITED_CARD.format(f'.{number}' if number > 1 else '')}" for number in count(1))
    for name in kept:
        if not folder.exists(name):
            folder.write_bytes(name, edited)
            return
        if folder.read_bytes(name) == edited:
            return
