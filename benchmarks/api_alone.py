"""Mine once with one of the two functions, for benchmarks/api.py: `api_alone SIDE FOLDER MARGIN`."""

import json
import sys
from pathlib import Path

import xxhash


def main() -> None:
    """Mine, and print how many rows are full and a digest of them."""
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
    digest = xxhash.xxh3_64()
    for row in mined.iter(1024):
        digest.update(json.dumps(row).encode())
    print(json.dumps({"pairs": len(mined), "digest": digest.hexdigest()}))


if __name__ == "__main__":
    main()
