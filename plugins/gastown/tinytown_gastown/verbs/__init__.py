"""The words that people of Gastown type: thin commands over the town, with nothing of their own but notes.

`work` gives out work and ends it, `talk` says something to somebody, `graph` shows what can be done and what waits,
`notes` and `note_commands` are what agents are told in every prompt.
"""
