"""Mine once with one of the two functions, for benchmarks/api.py: `api_alone SIDE FOLDER MARGIN`."""

import json
import sys
from pathlib import Path

import numpy as np
import xxhash


def main() -> None:
    """Mine, print how many rows are full, and write a digest of each."""
    side, folder, margin = sys.argv[1], Path(sys.argv[2]), json.loads(sys.argv[3])
    from datasets import Dataset
    from sentence_transformers import SentenceTransformer

    pairs = Dataset.from_parquet(str(folder / "pairs.parquet"), cache_dir=str(folder / "cache"))
    model = SentenceTransformer(str(folder / "model"), device="cpu")
    if side == "hardneg":
        from hardneg import mine_hard_negatives as here

        mined = here(pairs, model, relative_margin=margin, output_format="n-tuple", run=str(folder / "run"))
    else:
        from sentence_transformers.util import mine_hard_negatives as peer

        mined = peer(pairs, model, relative_margin=margin, output_format="n-tuple")
    digests = (xxhash.xxh3_64_intdigest(json.dumps(row).encode()) for row in mined)
    np.save(folder / f"{side}.npy", np.fromiter(digests, np.uint64, len(mined)))
    print(len(mined))


if __name__ == "__main__":
    main()
