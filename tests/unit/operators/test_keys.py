"""Keys: stable, non-negative, and equal for texts that read the same."""

import sys
import unicodedata
from random import Random

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.keys import digest_of, keys_of, splitmix64, text_keys_of

SPACES = [chr(code) for code in range(sys.maxunicode + 1) if chr(code).isspace()]
TEXTS = st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=20), max_size=20)
INTS = st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=30)


def _text_key(text: str) -> int:
    return int(text_keys_of(pa.array([text]))[0])


@given(TEXTS)
def test_keys_fit_63_bits_and_are_equal_only_for_equal_strings(texts: list[str]) -> None:
    keys = keys_of(pa.array(texts, pa.string()))
    assert keys.dtype == np.int64
    assert (keys >= 0).all()
    assert len(set(keys.tolist())) == len(set(texts))


def test_keys_do_not_change_between_versions() -> None:
    # xxh3 of nothing is published: 2D06800538D394C2. The second has its highest bit set, which is cut off.
    keys = keys_of(pa.array(["", "a"]))
    assert keys.tolist() == [0x2D06800538D394C2, 0xE6C632B61E964E1F & (2**63 - 1)]


def test_keys_of_chunks_and_of_slices_are_those_of_the_whole() -> None:
    whole = pa.array([f"document {i}" for i in range(20)])
    chunks = pa.chunked_array([whole[:7], whole[7:7], whole[7:]])
    assert keys_of(chunks).tolist() == keys_of(whole).tolist()
    assert keys_of(whole[5:9]).tolist() == keys_of(whole).tolist()[5:9]
    assert text_keys_of(chunks).tolist() == text_keys_of(whole).tolist()
    assert keys_of(pa.chunked_array([], pa.string())).shape == (0,)
    assert text_keys_of(pa.array([], pa.string())).shape == (0,)


@given(TEXTS, TEXTS)
def test_text_keys_are_equal_exactly_where_composed_words_are_equal(left: list[str], right: list[str]) -> None:
    texts = [*left, *right, *(f"\t{text}\n" for text in left), *(unicodedata.normalize("NFD", text) for text in right)]
    keys = text_keys_of(pa.array(texts, pa.string())).tolist()
    words = [" ".join(unicodedata.normalize("NFC", text).split()) for text in texts]
    assert len(set(keys)) == len(set(words)) == len(set(zip(keys, words, strict=True)))


@pytest.mark.parametrize("space", [*SPACES, "  ", " \t\r\n "], ids=ascii)
def test_every_white_space_separates_words_as_a_blank_does(space: str) -> None:
    assert _text_key(f"{space}hard{space}negative{space}") == _text_key("hard negative")


@pytest.mark.parametrize(
    "other",
    [
        "hardnegative",
        "Hard negative",
        "hard negative.",
        "negative hard",
        "hard\N{ZERO WIDTH SPACE}negative",
        "h\N{LATIN SMALL LETTER A WITH DIAERESIS}rd negative",
    ],
)
def test_what_reads_differently_has_another_text_key(other: str) -> None:
    assert _text_key(other) != _text_key("hard negative")


def test_compatibility_characters_stay_different() -> None:
    assert _text_key("x\N{SUPERSCRIPT TWO}") != _text_key("x2")
    assert _text_key("\N{LATIN SMALL LIGATURE FI}t") != _text_key("fit")


def test_text_keys_are_the_keys_of_decomposed_texts_whatever_the_version_of_arrow() -> None:
    texts = ["hard negative", "caf\N{LATIN SMALL LETTER E WITH ACUTE}", "\N{HANGUL SYLLABLE GA}", ""]
    decomposed = pa.array([unicodedata.normalize("NFD", text) for text in texts])
    assert text_keys_of(pa.array(texts)).tolist() == keys_of(decomposed).tolist()


def test_mix_is_splitmix64() -> None:
    # The first output of SplitMix64 seeded with 0, and with 1234567, as other implementations publish them.
    assert splitmix64(0).tolist() == [0xE220A8397B1DCDAF]
    assert splitmix64(1234567).tolist() == [6457827717110365317]


@given(st.integers(0, 2**63 - 1), INTS, st.randoms(use_true_random=False))
def test_mix_does_not_depend_on_the_order_of_rows(seed: int, values: list[int], random: Random) -> None:
    keys = np.array(values, dtype=np.int64)
    order = np.array(random.sample(range(len(keys)), len(keys)))
    assert (splitmix64(seed, keys[order]) == splitmix64(seed, keys)[order]).all()
    alone = np.concatenate([splitmix64(seed, keys[i : i + 1]) for i in range(len(keys))])
    assert (alone == splitmix64(seed, keys)).all()


def test_mix_depends_on_every_part_and_on_their_order() -> None:
    keys = np.arange(10, 1010, dtype=np.int64)
    seen: list[npt.NDArray[np.uint64]] = [
        splitmix64(0, keys, 1),
        splitmix64(1, keys, 0),
        splitmix64(0, keys, 2),
        splitmix64(2, keys, 1),
        splitmix64(keys, 0, 1),
        splitmix64(0, keys),
    ]
    assert len(np.unique(np.concatenate(seen))) == len(seen) * len(keys)


def test_mix_of_neighbouring_keys_is_uniform_in_every_bit() -> None:
    drawn = splitmix64(7, np.arange(20_000, dtype=np.int64), 3)
    bits = (drawn[:, None] >> np.arange(64, dtype=np.uint64)) & np.uint64(1)
    # Six standard deviations of the mean of 20,000 fair bits.
    assert np.abs(bits.mean(axis=0) - 0.5).max() < 6 * 0.5 / np.sqrt(len(drawn))


WITH_NULLS = st.lists(
    st.tuples(st.text(st.characters(exclude_categories=["Cs"]), max_size=9), st.none() | st.just("x"))
)


def _rows(rows: list[tuple[str, str | None]]) -> pa.Table:
    vectors = pa.array([[len(text), 1.0] for text, _ in rows], pa.list_(pa.float32(), 2))
    texts, others = (pa.array([row[column] for row in rows], pa.string()) for column in range(2))
    return pa.table({"text": texts, "maybe": others, "vector": vectors})


@given(WITH_NULLS, st.data())
def test_a_digest_is_of_the_rows_however_they_lie_in_memory(
    rows: list[tuple[str, str | None]], data: st.DataObject
) -> None:
    first = data.draw(st.integers(0, len(rows)))
    stop = data.draw(st.integers(first, len(rows)))
    alone, within = _rows(rows[first:stop]), _rows(rows).slice(first, stop - first)
    middle = data.draw(st.integers(0, stop - first))
    in_two = pa.concat_tables([alone.slice(0, middle), alone.slice(middle)])
    assert digest_of(alone) == digest_of(within) == digest_of(in_two)
    assert digest_of(alone) != digest_of(_rows([*rows[first:stop], ("another", None)]))
