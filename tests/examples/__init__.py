"""The examples of CONTRIBUTING.md, each in a file of its own."""
