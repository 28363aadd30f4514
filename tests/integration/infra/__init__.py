"""The files of infra/: parsed by what reads them, run by what runs them."""
