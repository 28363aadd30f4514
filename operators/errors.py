"""The one error that bad input raises: it names the place and the way out."""


class InputError(ValueError):
    """Input or configuration that cannot be worked on.

    The message is for the person who gave the input: it names the file, the row or the key, and what to do. Programs
    that meet it stop before they have written any output.
    """
