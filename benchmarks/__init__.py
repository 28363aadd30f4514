"""What is measured, against what, with the result: each module is one command that writes one table."""
