"""Turn texts into terms: the keys of their words.

Languages that set no blanks between words (Chinese, Japanese, Korean) need a segmenter; without one, two characters
that follow one another are a term, as in Lucene's CJKAnalyzer (Nie, Gao, Zhang and Zhou, "On the use of words and
n-grams for Chinese information retrieval", IRAL 2000).
"""

import importlib.util
import unicodedata
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Literal, cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import AfterValidator, Field

from operators.errors import InputError, shown
from operators.keys import keys_of, splitmix64
from operators.plugins import imported
from operators.settings import Settings

Ints = npt.NDArray[np.int64]
Segmenter = Callable[[str], Iterable[str]]

# Words are letters, numbers and the underscore, of any script, with the marks that follow them: vowel signs of Hindi,
# accents that no letter includes. A mark that follows something else, such as the selector of an emoji, is of no word.
_BETWEEN_WORDS = r"[^\pL\pN\pM_][^\pL\pN_]*"
# What is written without blanks: Han, Hiragana, Katakana, Hangul, and their marks, of full and half width. Punctuation
# among them, such as the middle dot, is no part of it.
_CJK_RANGES = (
    (0x1100, 0x11FF),
    (0x2E80, 0x2FDF),
    (0x3005, 0x3007),
    (0x3021, 0x3029),
    (0x302E, 0x302F),
    (0x3038, 0x303B),
    (0x3041, 0x3096),
    (0x3099, 0x309A),
    (0x309D, 0x309F),
    (0x30A1, 0x30FA),
    (0x30FC, 0x30FF),
    (0x3131, 0x318E),
    (0x31F0, 0x31FF),
    (0x3400, 0x4DBF),
    (0x4E00, 0x9FFF),
    (0xA960, 0xA97C),
    (0xAC00, 0xD7FB),
    (0xF900, 0xFAD9),
    (0xFF66, 0xFFDC),
    (0x16FE3, 0x16FE3),
    (0x16FF0, 0x16FF1),
    (0x1AFF0, 0x1AFFE),
    (0x1B000, 0x1B16F),
    (0x20000, 0x3FFFF),
)
_CJK = "[" + "".join(rf"\x{{{first:X}}}-\x{{{last:X}}}" for first, last in _CJK_RANGES) + "]"
# Lucene's.
ENGLISH_STOPWORDS = tuple(
    [
        "a",
        "an",
        "and",
        "are",
        "as",
        "at",
        "be",
        "but",
        "by",
        "for",
        "if",
        "in",
        "into",
        "is",
        "it",
        "no",
        "not",
        "of",
        "on",
        "or",
        "such",
        "that",
        "the",
        "their",
        "then",
        "there",
        "these",
        "they",
        "this",
        "to",
        "was",
        "will",
        "with",
    ]
)


def _check_segmenter(name: str) -> str:
    if name != "jieba":
        if ":" not in name:
            raise ValueError(f"there is no segmenter {name!r}: jieba, or a function of yours as module:name")
        if not callable(imported(name)):
            raise ValueError(f"{name!r} cannot be called; a function from a text to its words is wanted")
    elif importlib.util.find_spec("jieba") is None:
        raise ValueError("jieba is not installed: pip install 'hardneg[chinese]'")
    return name


def _check_stemmer(name: str) -> str:
    if importlib.util.find_spec("Stemmer") is None:
        raise ValueError("PyStemmer is not installed: pip install 'hardneg[stemmer]'")
    import Stemmer

    if name not in Stemmer.algorithms():
        raise ValueError(f"there is no stemmer {name!r}; there are {', '.join(Stemmer.algorithms())}")
    return name


class TokenizerConfig(Settings):
    """How texts become terms.

    Attributes:
        min_length: shorter words are left out, in characters. Words with characters of languages without blanks stay.
        stopwords: words that are left out; `english` stands for the 33 of Lucene.
        stemmer: of a language, by Snowball: `english`, `german`, ... Needs the extra `stemmer`.
        segmenter: of a language without blanks: `jieba` for Chinese (needs the extra `chinese`), or a function of yours
            from a text to its words, as `module:name`. Without one, two characters that follow one another are a term.
    """

    min_length: int = Field(default=2, ge=1, le=100)
    stopwords: Literal["english"] | tuple[str, ...] = ()
    stemmer: Annotated[str, AfterValidator(_check_stemmer)] | None = None
    segmenter: Annotated[str, AfterValidator(_check_segmenter)] | None = None


@dataclass(frozen=True)
class Terms:
    """The terms of texts, flat.

    Attributes:
        text: the number of the text that each term is in, ascending, int64 of shape (terms,).
        key: of the term, int64 of shape (terms,).
    """

    text: Ints
    key: Ints


class Tokenize:
    """Texts -> their terms."""

    def __init__(self, config: TokenizerConfig) -> None:
        self.config = config
        words = ENGLISH_STOPWORDS if config.stopwords == "english" else config.stopwords
        self.stopwords = keys_of(_lowered(pa.array(words, pa.string()))) if words else np.zeros(0, np.int64)

    def __call__(self, texts: pa.Array | pa.ChunkedArray) -> Terms:
        """Return the terms of texts; those of one text are in no certain order."""
        column = texts.combine_chunks() if isinstance(texts, pa.ChunkedArray) else texts
        lowered = _lowered(pc.fill_null(column, ""))
        if self.config.segmenter is not None:
            return self._words(_segmented(lowered, self.config.segmenter))
        text, key = _pairs_of_characters(lowered)
        words = self._words(pc.replace_substring_regex(lowered, _CJK, " "))
        together = np.append(words.text, text)
        order = np.argsort(together, kind="stable")
        return Terms(together[order], np.append(words.key, key)[order])

    def _words(self, texts: pa.Array) -> Terms:
        lists = pc.split_pattern_regex(texts, _BETWEEN_WORDS)
        text = np.repeat(np.arange(len(texts)), np.diff(lists.offsets.to_numpy()))
        coded = lists.flatten().dictionary_encode()
        words = coded.dictionary
        keys = keys_of(_stemmed(words, self.config.stemmer))
        few = pc.less(pc.utf8_length(words), self.config.min_length)
        short = pc.and_not(few, pc.match_substring_regex(words, _CJK)).to_numpy(zero_copy_only=False)
        kept = ~short & ~np.isin(keys_of(words), self.stopwords)
        code = coded.indices.to_numpy()
        at = np.flatnonzero(kept[code]) if len(code) else np.zeros(0, np.int64)
        return Terms(text[at], keys[code[at]] if len(at) else np.zeros(0, np.int64))


def _lowered(texts: pa.Array) -> pa.Array:
    """Return texts in lower case and in Unicode NFC: equal for what reads the same."""
    # Before and after: İ is one letter to lower, and j with a caron is a letter where J with a caron is none.
    return _composed(pc.utf8_lower(_composed(texts)))


def _composed(texts: pa.Array) -> pa.Array:
    # Not by Arrow: up to Arrow 25 its NFC is decomposed (apache/arrow#51225).
    return pa.array([unicodedata.normalize("NFC", text) for text in texts.to_pylist()], pa.string())


def _stemmed(words: pa.Array, language: str | None) -> pa.Array:
    if language is None:
        return words
    import Stemmer

    return pa.array(Stemmer.Stemmer(language).stemWords(words.to_pylist()), pa.string())


def _segmented(texts: pa.Array, name: str) -> pa.Array:
    """Return texts with blanks between their words.

    Raises:
        InputError: the segmenter gives something else than words.
    """
    segment, segmented = _segmenter(name), []
    for text in texts.to_pylist():
        words = segment(text)
        joined = _with_blanks(words)
        if joined is None:
            raise InputError(
                f"tokenizer.segmenter: {name} gives {shown(words)} for the text {shown(text)}. Return its words, a "
                f"list of texts."
            )
        segmented.append(joined)
    return pa.array(segmented, pa.string())


def _with_blanks(words: Iterable[str]) -> str | None:
    """Return words with blanks between them; None for what are no words. A text is none: its parts are characters."""
    try:
        return None if isinstance(words, str) else " ".join(words)
    except TypeError:
        return None


@cache
def _segmenter(name: str) -> Segmenter:
    if name == "jieba":
        import jieba

        jieba.setLogLevel("WARNING")
        return cast("Segmenter", jieba.lcut)
    return cast("Segmenter", imported(name))


def _pairs_of_characters(texts: pa.Array) -> tuple[Ints, Ints]:
    """Return the terms of the runs of characters of languages without blanks: pairs, or one character alone."""
    lengths = pc.utf8_length(texts).to_numpy(zero_copy_only=False).astype(np.int64)
    codes = np.frombuffer("".join(texts.to_pylist()).encode("utf-32-le"), dtype="<u4").astype(np.int64)
    text = np.repeat(np.arange(len(lengths)), lengths)
    cjk = np.zeros(len(codes), dtype=np.bool_)
    for first, last in _CJK_RANGES:
        cjk |= (codes >= first) & (codes <= last)
    joined = np.append(cjk[:-1] & cjk[1:] & (text[:-1] == text[1:]), False) if len(codes) else cjk
    follows = np.append(False, joined[:-1]) if len(codes) else cjk
    pair, alone = np.flatnonzero(joined), np.flatnonzero(cjk & ~joined & ~follows)
    keys = [splitmix64(codes[pair], codes[np.minimum(pair + 1, len(codes) - 1)]), splitmix64(codes[alone], -1)]
    together = np.append(pair, alone)
    return text[together], (np.concatenate(keys) >> np.uint64(1)).astype(np.int64)
