#!/bin/sh
# system.sh ENGINE: what Populace needs of Debian, and a user of its own with its directories. As root.
set -eu
engine=$1

packages="tini libnuma1"
# Triton compiles its launchers when a kernel is first used.
[ "$engine" = gpu ] && packages="$packages gcc libc6-dev"
apt-get update -qq
DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $packages
rm -rf /var/lib/apt/lists/*

id populace >/dev/null 2>&1 || useradd --system --uid 10001 --user-group --create-home --shell /usr/sbin/nologin populace
install -d -m 0700 -o populace -g populace /var/lib/populace /var/cache/populace
