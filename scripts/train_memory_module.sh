#!/bin/sh
# Make the memory module of the default base from nothing: a module with gates, from episodes in people's own words.
#
#   scripts/train_memory_module.sh FOLDER
#
# Takes about an hour on two cores and 16 GiB. Run again after an interruption it trains the best module so far on.
set -eu
folder=${1:?"usage: scripts/train_memory_module.sh FOLDER"}
mkdir -p "$folder"
cd "$folder"

episodes() { # FILE OPTIONS...
    [ -f "$1" ] || populace memory corpus "$@" --own-words
}

episodes people.jsonl --episodes 9000 --seed 3
episodes others.jsonl --part held-out --episodes 200 --seed 4
first=
[ ! -f module.safetensors ] || first="--first module.safetensors"
# shellcheck disable=SC2086
populace memory train people.jsonl --held-out others.jsonl --to module.safetensors --gated --steps 1200 $first
