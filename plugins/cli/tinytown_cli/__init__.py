"""The command line. `command_table` lists the essential commands, `framework` is what every command is built on."""
