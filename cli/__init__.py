"""The `assetq` command. `main` is the entry point; each group of commands is a module of its own,
loaded when it is called."""
