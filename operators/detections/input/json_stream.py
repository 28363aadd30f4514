"""Read the objects of large JSON files one after the other: what is in memory is one object and a block of text."""

import codecs
import json
import re
from collections.abc import Iterator
from typing import IO, Any

BLOCK = 1 << 20
_BEHIND = {*",]} \t\r\n"}  # what follows a value in an array or an object
_SPACE = re.compile(r"[ \t\r\n]*")


class NotJsonError(ValueError):
    """The text is no JSON, or ends in the middle."""


class _Text:
    """The text of a file from a place on."""

    def __init__(self, stream: IO[bytes]) -> None:
        self.stream, self.decode = stream, codecs.getincrementaldecoder("utf-8-sig")().decode
        self.text, self.at, self.ended = "", 0, False
        self.decoder = json.JSONDecoder()

    def _more(self) -> None:
        block = self.stream.read(max(BLOCK, len(self.text) - self.at))
        self.ended = not block
        self.text, self.at = self.text[self.at :] + self.decode(block, final=self.ended), 0

    def peek(self) -> str:
        """Return the next character that is no space; nothing at the end."""
        while True:
            found = _SPACE.match(self.text, self.at)
            self.at = found.end() if found else self.at
            if self.at < len(self.text) or self.ended:
                return self.text[self.at : self.at + 1]
            self._more()

    def take(self, expected: str) -> str:
        """Go over the next character, which is to be one of some."""
        found = self.peek()
        if not found or found not in expected:
            raise NotJsonError(f"{found or 'the end'} where one of {' '.join(expected)} belongs")
        self.at += 1
        return found

    def value(self) -> Any:  # noqa: ANN401 - JSON
        """Read one value, however long it is."""
        self.peek()
        while True:
            try:
                value, end = self.decoder.raw_decode(self.text, self.at)
            except (json.JSONDecodeError, RecursionError) as error:
                if self.ended or isinstance(error, RecursionError):
                    raise NotJsonError(str(error)) from None
            else:
                if self.ended or self.text[end : end + 1] in _BEHIND:  # else a number may go on
                    self.at = end
                    return value
            self._more()


def members(stream: IO[bytes]) -> Iterator[tuple[str, Any]]:
    """Yield the members of the arrays of a JSON object with its key, or those of an array with an empty key.

    Values of an object that are no arrays are passed over.

    Raises:
        NotJsonError: the text is no JSON, or neither an object nor an array.
        UnicodeDecodeError: it is not UTF-8.
    """
    text = _Text(stream)
    if text.peek() == "[":
        yield from (("", one) for one in _array(text))
    else:
        text.take("{[")
        while text.peek() != "}":
            key = text.value()
            text.take(":")
            if text.peek() == "[":
                yield from ((str(key), one) for one in _array(text))
            else:
                text.value()
            if text.peek() != "}":
                text.take(",}")
        text.take("}")
    if text.peek():
        raise NotJsonError("there is more behind the end")


def _array(text: _Text) -> Iterator[Any]:
    text.take("[")
    while text.peek() != "]":
        yield text.value()
        if text.peek() != "]":
            text.take(",")
    text.take("]")
