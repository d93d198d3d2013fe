"""The brake on agents that only talk to each other."""
