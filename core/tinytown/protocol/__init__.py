"""The mailbox protocol as values: key names, calls and the server-side functions. Pure, no IO."""
