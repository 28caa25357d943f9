"""The doctor's check of where the settings come from."""

from populace.cluster.doctor.checks import Check
from populace.settings.sources import Gathered

NAME = "configuration"


def check_configuration(found: Gathered) -> Check:
    """Name the file that was read, and where each value that is not the default comes from."""
    by_origin: dict[str, list[str]] = {}
    for name, origin in found.origins.items():
        by_origin.setdefault("the file" if origin == str(found.file) else origin, []).append(name)
    origins = [f"{', '.join(sorted(names))} from {origin}" for origin, names in by_origin.items()]
    file = "no configuration file" if found.file is None else str(found.file)
    detail = f"{file}; {'; '.join(origins) if origins else 'all settings are defaults'}"
    if found.exposed:
        detail = f"{file} has {', '.join(found.exposed)} and can be read by others; {'; '.join(origins)}"
        return Check(NAME, "warn", detail, f"chmod 600 {found.file}")
    return Check(NAME, "ok", detail)
