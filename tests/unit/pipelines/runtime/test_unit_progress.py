"""The rows of a unit in work are seen from outside, and nothing of them stays."""

from pathlib import Path

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from operators.vectors.encode import Encode
from operators.vectors.encoder import EncoderConfig
from operators.vectors.model_load import load_model
from pipelines.runtime.storage.folder import Folder
from pipelines.runtime.unit_progress import RowsSoFar, forget_notes, note_of, rows_noted
from pipelines.text.stages.encode import SIDES


def test_what_goes_through_a_model_is_noted_while_it_does_and_not_after(static_model: Path, tmp_path: Path) -> None:
    folder = Folder(str(tmp_path / "stage"))
    config = EncoderConfig(model=str(static_model), batch_tokens=64)
    model = load_model(config, "cpu")
    encode = Encode(config, SIDES[0], model)
    texts = [f"text number {number}" for number in range(50)]
    batch = pa.table({"key": range(50), "text_key": range(50), "text": texts})
    seen: list[int] = []
    so_far = RowsSoFar(folder, note_of("_units/encode", "first"), seconds=0)
    with so_far.through(model):
        watched = model.register_forward_hook(lambda *_: seen.append(rows_noted(folder, "_units/encode", {"first"})))
        encode(batch)
        watched.remove()
    assert seen == sorted(seen)
    assert len(seen) > 5
    assert seen[-1] == so_far.rows == 50
    assert rows_noted(folder, "_units/encode") == 0
    encode(batch)
    assert so_far.rows == 50  # nothing is counted once it is over


def test_a_short_unit_writes_nothing(tmp_path: Path) -> None:
    so_far = RowsSoFar(Folder(str(tmp_path)), note_of("_units/encode", "first"))
    for _ in range(100):
        so_far.add(10)
    assert not list(tmp_path.iterdir())


names = st.text("abcdef0123456789", min_size=1, max_size=6)


@given(notes=st.dictionaries(names, st.integers(0, 10**9)), asked=st.sets(names), damaged=st.binary(max_size=4))
def test_notes_are_added_up_for_the_units_that_are_asked_for(
    notes: dict[str, int], asked: set[str], damaged: bytes
) -> None:
    folder = Folder(f"memory://rows/{id(notes)}")
    forget_notes(folder, "_units/step")
    for name, rows in notes.items():
        folder.write_bytes(note_of("_units/step", name), str(rows).encode())
    folder.write_bytes("_units/step/other.json", b"{}")
    assert rows_noted(folder, "_units/step", asked) == sum(rows for name, rows in notes.items() if name in asked)
    assert rows_noted(folder, "_units/step") == sum(notes.values())
    if not damaged.isdigit():
        folder.write_bytes(note_of("_units/step", "zz"), damaged)
        assert rows_noted(folder, "_units/step", {"zz"}) == 0
    forget_notes(folder, "_units/step")
    assert folder.names("_units/step") == ["other.json"]
