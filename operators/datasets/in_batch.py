"""What a card says of data for losses that take the other rows of a batch for negatives."""

IN_BATCH = """`SentenceTransformerTrainer` trains on `train`. Several rows have the same query and positive: a
loss that takes the other rows of a batch for negatives (`MultipleNegativesRankingLoss` and its like) must not see two
of them in one batch, or it trains a query's own positive as a negative:

```python
from sentence_transformers import SentenceTransformerTrainingArguments

args = SentenceTransformerTrainingArguments(output_dir="trained", batch_sampler="no_duplicates")
```

`no_duplicates` (`BatchSamplers.NO_DUPLICATES`) puts no text twice into a batch. The rows of a query stand apart in
the files, but the sampler that is the default shuffles them."""
