"""The commands of the command line, a module each.

Each has `add(commands)`, which adds its parser to those of `cli.main`, and `run(options)`, which carries it out and
gives the exit code. Importing one imports neither bottle nor redis: `--help` does not wait for them.
"""
