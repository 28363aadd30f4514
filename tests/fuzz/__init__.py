"""A fuzzer with a brute-force oracle: sources, configurations, models and run directories that went wrong."""
