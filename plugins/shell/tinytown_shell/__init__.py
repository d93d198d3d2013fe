"""Any command line as an agent of a town."""
