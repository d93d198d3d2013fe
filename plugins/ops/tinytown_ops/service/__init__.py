"""``tt service``: the kernel of a town as a service of the user's session, started at login and restarted after a crash."""
