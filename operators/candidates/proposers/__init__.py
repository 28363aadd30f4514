"""The proposers, one in each module: the name of the module is that of the proposer."""
