"""The tests: unit/ mirrors operators/ and pipelines/; integration/ runs engines, storage and the command line."""
