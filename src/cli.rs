//! The command line: flags, environment variables, subcommands.
