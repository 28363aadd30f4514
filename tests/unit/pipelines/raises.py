"""A module of a user that needs one that is not there."""

import no_such_module_of_a_user  # type: ignore[import-not-found]  # noqa: F401
