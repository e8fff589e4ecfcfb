"""Both configuration syntaxes, read into one frozen `Settings`."""
