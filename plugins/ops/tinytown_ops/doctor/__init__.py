"""``tt doctor``, its checks, and the commands that repair a town."""
