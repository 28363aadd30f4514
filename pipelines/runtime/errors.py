"""What ends a run besides refused input, each with one clear line."""


class BusyError(RuntimeError):
    """Another run is at work on the run directory."""


class LostLeaseError(RuntimeError):
    """Another run took the run directory over, as this one gave no heartbeat for too long."""


class StorageError(RuntimeError):
    """A storage failed in the middle of the work. What was done is kept; the same command goes on from there."""
