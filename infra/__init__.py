"""What runs around hardneg: each piece of it started by a test."""
