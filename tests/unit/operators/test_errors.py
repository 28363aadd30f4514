"""Messages: one line that is not too long, whose first and last words are whole."""

from operators.errors import LONGEST_MESSAGE, one_line


def test_a_long_message_loses_its_middle_and_no_part_of_a_word() -> None:
    words = [f"word{number}" for number in range(200)]
    line = one_line("\n".join(words))
    before, behind = (part.split() for part in line.split(" ... "))
    assert before == words[: len(before)]
    assert behind == words[-len(behind) :]
    assert LONGEST_MESSAGE - 20 < len(line) <= LONGEST_MESSAGE
    assert one_line(line) == line


def test_what_has_no_spaces_is_cut_anywhere() -> None:
    assert len(one_line("x" * 900)) == LONGEST_MESSAGE
    assert len(one_line("some/path " + "x" * 900)) == LONGEST_MESSAGE
