#!/bin/sh
# prepare.sh PREFIX: makes the base and the sentence encoder in POPULACE_CACHE, as the user who will serve.
set -eu
"$1/bin/python" - <<'END'
from populace.base.prepare import prepare_base
from populace.encoder.files import prepare_encoder
from populace.settings.settings import Settings

settings = Settings.from_environment()
print(prepare_base(settings.base, settings.cache, allow_hub=settings.base is not None).directory)
print(prepare_encoder(settings.encoder, settings.cache))
END
