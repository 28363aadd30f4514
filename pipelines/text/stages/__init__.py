"""The stages of the text pipeline: what each reads, gives to its operator, and writes."""
