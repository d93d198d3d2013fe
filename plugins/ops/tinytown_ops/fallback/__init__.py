"""Tasks of agents that cannot work, or whose model cannot do them, go to agents of the kinds that the settings name."""
