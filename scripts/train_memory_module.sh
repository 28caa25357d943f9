#!/bin/sh
# Make the memory module of the default base from nothing: a module with gates, from episodes in people's own words.
#
#   scripts/train_memory_module.sh FOLDER
#
# Takes about an hour and a quarter on two cores and 14 GiB. Run again after an interruption it goes on from the last validation.
set -eu
folder=${1:?"usage: scripts/train_memory_module.sh FOLDER"}
mkdir -p "$folder"
cd "$folder"

episodes() { # FILE OPTIONS...
    [ -f "$1" ] || populace memory corpus "$@" --own-words
}

episodes people.jsonl --episodes 20000 --seed 3
episodes others.jsonl --part held-out --episodes 200 --seed 4

resume=
[ ! -f module.checkpoint ] || resume=--resume
# shellcheck disable=SC2086
populace memory train people.jsonl --held-out others.jsonl --to module.safetensors --gated \
    --probe-batches 560 --stored-steps 1200 --step-size 0.01 --steps 320 --validate-every 80 --last-stored-steps 400 $resume
