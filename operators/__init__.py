"""What is done to a batch: operators over Arrow tables, which know no engine, no command line and no run directory."""
