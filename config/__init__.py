"""Data only: the catalogue that ships, and an example of a configuration file."""
