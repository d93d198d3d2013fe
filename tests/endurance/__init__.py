"""Eight agents of real coding CLIs at work for an hour of outages and kills: `python -m tests.endurance --help`."""
