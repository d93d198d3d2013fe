"""``tt costs`` and ``tt accounts``, and the ledger of what rounds cost."""
