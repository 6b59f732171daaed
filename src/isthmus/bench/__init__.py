"""Benches: how fast real processes on this machine are, beside what else could be used."""
