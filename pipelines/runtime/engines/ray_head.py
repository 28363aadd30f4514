"""Says when the first node of a Ray cluster is gone: Ray itself ends the program a minute later, without a message."""

import socket
import threading

from pipelines.runtime.progress import Progress

SECONDS_BETWEEN_LOOKS = 5.0
LOOKS_BEFORE_A_WORD = 2


class HeadWatch:
    """Looks from time to time, in a thread, whether the first node answers; says so once each time that it does not."""

    def __init__(self, address: str) -> None:
        """Begin to look at `host:port`."""
        self.address = address
        self._ended = threading.Event()
        threading.Thread(target=self._look, daemon=True).start()

    def end(self) -> None:
        """Look no more."""
        self._ended.set()

    def _look(self) -> None:
        missed = 0
        while not self._ended.wait(SECONDS_BETWEEN_LOOKS):
            missed = 0 if self._answers() else missed + 1
            if missed == LOOKS_BEFORE_A_WORD:
                Progress().say(
                    f"hardneg: the first node of the Ray cluster ({self.address}) does not answer. Ray ends this run "
                    "if that lasts for a minute. The same command, on a cluster that works, goes on where it was."
                )

    def _answers(self) -> bool:
        host, _, port = self.address.rpartition(":")
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=SECONDS_BETWEEN_LOOKS).close()
        except OSError:
            return False
        return True
