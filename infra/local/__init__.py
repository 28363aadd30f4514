"""A Ray cluster and an object store on one machine, for tests and the demo."""
