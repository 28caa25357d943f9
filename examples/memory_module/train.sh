#!/bin/sh
# Make the memory module of the default base from nothing: a module with gates, from episodes in people's own words.
#
#   examples/memory_module/train.sh FOLDER
#
# Takes about an hour on two cores and 16 GiB. Run again after an interruption it trains the best module so far on.
set -eu
folder=${1:?"usage: examples/memory_module/train.sh FOLDER"}
mkdir -p "$folder"
folder=$(cd "$folder" && pwd)
cd "$(dirname "$0")/../.."

modules() { # ARGUMENTS...
    .venv/bin/python -m examples.memory_module "$@"
}
episodes() { # FILE OPTIONS...
    [ -f "$folder/$1" ] || modules corpus "$folder/$@" --own-words
}

episodes people.jsonl --episodes 9000 --seed 3
episodes others.jsonl --part held-out --episodes 200 --seed 4
first=
[ ! -f "$folder/module.safetensors" ] || first="--first $folder/module.safetensors"
# shellcheck disable=SC2086
modules train "$folder/people.jsonl" --held-out "$folder/others.jsonl" --to "$folder/module.safetensors" \
    --gated --steps 1200 $first
