"""Errors of settings and of the file that they are read from."""

from populace.storage.records.errors import PopulaceError


class SettingsError(PopulaceError):
    """A setting has a value that is not allowed, or a name that does not exist."""

    code = "settings_invalid"
    template = "The setting {variable} is {value!r}, which is not allowed: {allowed}."

    variable: str
    value: str | None
    allowed: str

    def __str__(self) -> str:
        if self.value is None:
            return f"The setting {self.variable} is not set: {self.allowed}."
        return super().__str__()


class ConfigFileInvalid(PopulaceError):
    """The file of settings cannot be read, or is no TOML."""

    code = "config_file_invalid"
    template = "The configuration file {path} cannot be used: {problem}."

    path: str
    problem: str


class MemoryTooSmall(PopulaceError):
    """A base, with what it is served with, does not fit into the memory of a GPU or of the machine."""

    code = "memory_too_small"
    template = "{place} has too little memory for {base}: {missing} are missing. {parts}. {remedy}."

    place: str
    base: str
    missing: str
    parts: str
    remedy: str


SETTINGS_REFUSED = (SettingsError, ConfigFileInvalid)
"""What reading the settings raises. Who must not fail because of them catches both."""
