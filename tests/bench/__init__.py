"""Benchmarks of Tinytown beside its peers: `python -m tests.bench`, or `nox -s bench`. Never collected by pytest."""
