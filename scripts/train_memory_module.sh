#!/bin/sh
# Make a memory module for the default base from nothing: episodes, easy ones first, then all, then hard ones.
#
#   scripts/train_memory_module.sh FOLDER
#
# Takes about three hours on two cores. Run again after an interruption it goes on where it was.
set -eu
folder=${1:?"usage: scripts/train_memory_module.sh FOLDER"}
mkdir -p "$folder"
cd "$folder"

episodes() { # FILE OPTIONS...
    [ -f "$1" ] || populace memory corpus "$@"
}

module() { # NAME OPTIONS...
    name=$1
    shift
    [ ! -f "$name.done" ] || return 0
    [ ! -f "$name.checkpoint" ] || set -- "$@" --resume
    populace memory train "$@" --to "$name.safetensors" --patience 20
    touch "$name.done"
}

episodes easy.jsonl --episodes 8000 --facts-max 2 --words-max 1 --seed 1
episodes easy-held-out.jsonl --part held-out --episodes 96 --facts-max 2 --words-max 1 --seed 4
episodes all.jsonl --episodes 20000 --seed 2
episodes all-held-out.jsonl --part held-out --episodes 160 --seed 3
episodes hard.jsonl --episodes 20000 --facts-min 2 --open-share 0.3 --seed 5
episodes hard-held-out.jsonl --part held-out --episodes 160 --facts-min 2 --open-share 0.3 --seed 6

module easy easy.jsonl --held-out easy-held-out.jsonl --steps 400
module all all.jsonl --held-out all-held-out.jsonl --steps 900 --step-size 0.02 --first easy.safetensors
module module hard.jsonl --held-out hard-held-out.jsonl --steps 900 --step-size 0.025 --first all.safetensors
