"""The commands of ``tt``, a module for each family of commands; imported when one of them runs."""
