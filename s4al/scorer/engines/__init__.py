"""Engines: what runs an exported network. `engine` is the contract, `open` chooses."""
